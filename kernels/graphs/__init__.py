"""Kernels that train and evaluate graph convolutional networks on graphs of any kind."""
