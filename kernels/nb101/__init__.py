"""Kernels that know NASBench-101 cells: keys, hashes, encodings, enumeration, sampling, records."""
