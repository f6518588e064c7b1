"""Native kernels: plain arrays in, plain arrays out; nothing here reads a file or runs a search.

``numeric`` knows numbers, ``graphs`` networks on graphs, ``nb101`` NASBench-101 cells, ``search``
compiled search methods, ``cuda`` the same on a GPU (each source beside the Python that launches
it).
"""
