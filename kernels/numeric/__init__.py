"""Kernels that know nothing but numbers: products, random numbers, hash tables, dense networks."""
