"""A schedule's slots back into the numbers of rows (see ``nprep.kernels.graphs.schedule``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel


@kernel
def sources_of(
    starts: NDArray[np.int32],
    entries: NDArray[np.uint32],
    bounds: NDArray[np.int32],
    pairs: NDArray[np.uint16],
    pair_rows: NDArray[np.int32],
    pair_bounds: NDArray[np.int32],
) -> NDArray[np.int32]:
    """The rows below that the lists of a layer gather.

    Args:
        starts: First entry of each list.
        entries: Entries with slots.
        bounds: (C + 1,) first list of each chunk.
        pairs: (P, 3) slots; the last is the row's.
        pair_rows: (P,) numbers of rows.
        pair_bounds: (C + 1,) where each chunk's pairs of the layer below begin; empty for the first
            layer, whose slots are node types.

    Returns:
        int32: the row of each entry, from the first list's first entry on.
    """
    begin = starts[bounds[0]]
    sources = np.empty(starts[bounds[-1]] - begin, np.int32)
    owner = np.arange(1 << 16).astype(np.int32)
    for chunk in range(len(bounds) - 1):
        if len(pair_bounds) > 0:
            for pair in range(pair_bounds[chunk], pair_bounds[chunk + 1]):
                owner[pairs[pair, 2]] = pair_rows[pair]
        for entry in range(starts[bounds[chunk]], starts[bounds[chunk + 1]]):
            sources[entry - begin] = owner[entries[entry] & np.uint32(0xFFFF)]
    return sources


@kernel
def sums_of_rows(
    sum_bounds: NDArray[np.int32],
    sum_slots: NDArray[np.uint16],
    pairs: NDArray[np.uint16],
    pair_rows: NDArray[np.int32],
    pair_bounds: NDArray[np.int32],
) -> NDArray[np.int32]:
    """The two sums, by number, of every distinct row of a layer.

    Args:
        sum_bounds: (2 C + 1,) where each chunk's sums begin.
        sum_slots: (S,) slots of products.
        pairs: (P, 3) slots.
        pair_rows: (P,) numbers of rows.
        pair_bounds: (C + 1,) where each chunk's pairs begin.

    Returns:
        (R, 2) int32.
    """
    rows: Integer = 0
    for pair in range(pair_bounds[0], pair_bounds[-1]):
        rows = max(rows, np.int64(pair_rows[pair]) + 1)
    sums = np.full((rows, 2), -1, np.int32)
    owner = np.full(1 << 16, -1, np.int32)
    for chunk in range(len(pair_bounds) - 1):
        for number in range(sum_bounds[2 * chunk], sum_bounds[2 * chunk + 2]):
            owner[sum_slots[number]] = number
        for pair in range(pair_bounds[chunk], pair_bounds[chunk + 1]):
            sums[pair_rows[pair], 0] = owner[pairs[pair, 0]]
            sums[pair_rows[pair], 1] = owner[pairs[pair, 1]]
    return sums


@kernel
def plain_lists(
    numbers: NDArray[np.int32],
    starts: NDArray[np.int32],
    entries: NDArray[np.uint32],
    palette: NDArray[np.float32],
    sources: NDArray[np.int32],
    begin: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Some lists as first entries, rows and weights.

    Args:
        numbers: (R,) numbers of lists.
        starts: First entry of each list.
        entries: Entries.
        palette: Weights.
        sources: Rows of the entries from ``begin`` on.
        begin: An entry.

    Returns:
        (R + 1,) int32, int32, float32.
    """
    list_starts = np.empty(len(numbers) + 1, np.int32)
    total = 0
    for i in range(len(numbers)):
        list_starts[i] = total
        total += starts[numbers[i] + 1] - starts[numbers[i]]
    list_starts[len(numbers)] = total
    rows = np.empty(total, np.int32)
    weights = np.empty(total, np.float32)
    place = 0
    for i in range(len(numbers)):
        for entry in range(starts[numbers[i]], starts[numbers[i] + 1]):
            rows[place] = sources[entry - begin]
            weights[place] = palette[entries[entry] >> np.uint32(16)]
            place += 1
    return list_starts, rows, weights
