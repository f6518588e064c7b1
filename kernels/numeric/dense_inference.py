"""What a dense layer does after its matrix product: biases, ReLU, the single output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel


@kernel
def finish_dense(values: NDArray[np.float32], bias: NDArray[np.float32], rectify: bool) -> None:
    """Adds biases to (rows, H) values in place, and rectifies them if asked."""
    zero = np.float32(0.0)
    for row in range(values.shape[0]):
        line = values[row]
        for j in range(bias.shape[0]):
            value = line[j] + bias[j]
            line[j] = max(value, zero) if rectify else value


@kernel
def output_dot(
    values: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: np.float32,
    out: NDArray[np.float32],
) -> None:
    """``out`` = values weights + bias, for the single output."""
    width = weights.shape[0]
    whole = width - width % 8
    lanes = np.zeros(8, np.float32)
    for row in range(values.shape[0]):
        line = values[row]
        # Eight partial sums: a fixed order that the compiler may vectorise.
        lanes[:] = np.float32(0.0)
        for start in range(0, whole, 8):
            for k in range(8):
                lanes[k] += line[start + k] * weights[start + k]
        total = bias
        for k in range(8):
            total += lanes[k]
        for k in range(whole, width):
            total += line[k] * weights[k]
        out[row] = total
