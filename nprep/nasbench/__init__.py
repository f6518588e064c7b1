"""A drop-in for the official nasbench package."""
