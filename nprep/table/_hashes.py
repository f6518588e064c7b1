"""From module hashes to rows, by the order of the rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

_PREFIX_BITS = 16


@kernel
def _compare(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Integer:
    """Negative, zero or positive as hash ``a`` is below, equal to or above ``b``."""
    for k in range(len(a)):
        if a[k] != b[k]:
            return np.int64(a[k]) - np.int64(b[k])
    return 0


@kernel
def first_rows(hashes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The first row whose hash begins with each prefix of 16 bits.

    Args:
        hashes: (N, 16) uint8, ascending.

    Returns:
        (65537,) int32; the rows of prefix p are starts[p] to starts[p + 1] - 1.
    """
    starts = np.empty((1 << _PREFIX_BITS) + 1, np.int32)
    filled = 0
    for row in range(len(hashes)):
        prefix = (np.int64(hashes[row, 0]) << 8) | np.int64(hashes[row, 1])
        while filled <= prefix:
            starts[filled] = row
            filled += 1
    starts[filled:] = len(hashes)
    return starts


@kernel
def find_hashes(
    hashes: NDArray[np.uint8], starts: NDArray[np.int32], wanted: NDArray[np.uint8]
) -> NDArray[np.int32]:
    """The row of each wanted hash, -1 where there is none.

    Args:
        hashes: (N, 16) uint8, ascending.
        starts: Of ``first_rows``.
        wanted: (M, 16) uint8.
    """
    rows = np.full(len(wanted), -1, np.int32)
    for i in range(len(wanted)):
        prefix = (np.int64(wanted[i, 0]) << 8) | np.int64(wanted[i, 1])
        low = np.int64(starts[prefix])
        high = np.int64(starts[prefix + 1])
        while low < high:
            middle = (low + high) // 2
            order = _compare(hashes[middle], wanted[i])
            if order == 0:
                rows[i] = middle
                break
            if order < 0:
                low = middle + 1
            else:
                high = middle
    return rows
