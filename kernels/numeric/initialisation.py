"""Random numbers of the trainers: initial weights and dropout masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.numeric.rng import next_u64, random_double


@kernel
def fill_uniform(
    state: NDArray[np.uint64], out: NDArray[np.float32], start: int, stop: int, bound: float
) -> None:
    """Draws ``out[start:stop]`` uniformly from [-bound, bound).

    Args:
        state: (4,) generator state, advanced.
        out: Receives the numbers.
        start: First element.
        stop: End.
        bound: Half the width of the range.
    """
    for k in range(start, stop):
        out[k] = np.float32((2.0 * random_double(state) - 1.0) * bound)


@kernel
def fill_mask(state: NDArray[np.uint64], mask: NDArray[np.float32], size: int, rate: float) -> None:
    """Draws a dropout mask: 0 with probability ``rate``, else 1 / (1 - rate).

    Four elements share one 64-bit number, so ``rate`` is kept to 1 / 65,536.

    Args:
        state: (4,) generator state, advanced.
        mask: Receives the mask in its first ``size`` elements.
        size: Number of elements.
        rate: Probability of dropping an element, in [0, 1).
    """
    limit = np.uint64(np.round(rate * 65536.0))
    kept = np.float32(1.0 / (1.0 - rate))
    dropped = np.float32(0.0)
    low = np.uint64(0xFFFF)
    for start in range(0, size, 4):
        bits = next_u64(state)
        for k in range(start, min(start + 4, size)):
            mask[k] = dropped if (bits & low) < limit else kept
            bits >>= np.uint64(16)
