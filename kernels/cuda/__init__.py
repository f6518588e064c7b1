"""CUDA kernels: each ``.cu`` source lies beside the Python module that launches it."""
