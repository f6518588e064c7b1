"""Counting of pairs in disorder, in O(n log n)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel


@kernel
def count_inversions(values: NDArray[np.float64]) -> Integer:
    """The number of pairs i < j with ``values[i] > values[j]``, by a merge sort.

    Args:
        values: (N,) without NaN; left as they are.
    """
    count = len(values)
    source = values.copy()
    target = np.empty_like(source)
    inversions = np.int64(0)
    width = 1
    while width < count:
        start = 0
        while start < count:
            middle = min(start + width, count)
            stop = min(start + 2 * width, count)
            left, right = start, middle
            for place in range(start, stop):
                if left < middle and (right >= stop or source[left] <= source[right]):
                    target[place] = source[left]
                    left += 1
                else:
                    # It passes all that is left of the left half.
                    inversions += middle - left
                    target[place] = source[right]
                    right += 1
            start = stop
        source, target = target, source
        width *= 2
    return inversions
