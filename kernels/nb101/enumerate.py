"""All cells of the space, from first principles.

A matrix is a candidate if every vertex lies on a path from the first to the last and it has at most
9 edges. Relabelling the operations of two isomorphic matrices gives isomorphic cells, so one matrix
is kept of each class of candidates whose vertices all carry the same operation; each is labelled in
all ways, and a labelling is kept if its key is new: 451,000 labellings in place of the 1,293,000
of all candidates.

Matrices and labellings are visited in the order of the official generator, which keeps the first
member of each class, so the matrices equal those of the published files. This matters:
parameter counts depend on the order of the vertices (see ``nprep.kernels.nb101.parameters``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import (
    INPUT,
    MAX_EDGES,
    MAX_VERTICES,
    NUM_OPERATIONS,
    OUTPUT,
    UNUSED,
    count_bits,
    keep_mask,
    key_scalar,
)
from nprep.kernels.numeric.lookup import insert_key

# Slots for the keys of matrices and of cells; the tables grow no further, as the space is finite:
# less than 2^12 classes of matrices and 2^19 cells, so neither is more than 41 % full.
_CLASS_SLOTS = 1 << 13
_CELL_SLOTS = 1 << 20
_CELLS = 1 << 19


@kernel
def _official_order(num_vertices: Integer) -> NDArray[np.int64]:
    """The place in the adjacency bits of each bit of the official generator's bit masks.

    Bit x + y (y - 1) / 2 of such a mask is the edge from x to y.
    """
    places = np.empty(num_vertices * (num_vertices - 1) // 2, np.int64)
    for y in range(1, num_vertices):
        for x in range(y):
            places[x + y * (y - 1) // 2] = x * (13 - x) // 2 + y - x - 1
    return places


@kernel
def _label_vertices(
    labelling: Integer, num_vertices: Integer, operations: NDArray[np.uint8]
) -> None:
    """Writes the labelling whose digits in base 3 are the operations, the last changing fastest."""
    operations[:] = UNUSED
    operations[0] = INPUT
    operations[num_vertices - 1] = OUTPUT
    for vertex in range(num_vertices - 2, 0, -1):
        operations[vertex] = labelling % NUM_OPERATIONS
        labelling //= NUM_OPERATIONS


@kernel
def _matrix_classes(
    num_vertices: Integer, slot_keys: NDArray[np.uint64], slot_rows: NDArray[np.int32]
) -> NDArray[np.uint32]:
    """The first candidate matrix of each class, as adjacency bits; the slots must be empty."""
    places = _official_order(num_vertices)
    pairs = len(places)
    # The bits are gathered from two tables, of the low and the high half of the mask.
    half = pairs // 2
    low = np.zeros(1 << half, np.int64)
    high = np.zeros(1 << (pairs - half), np.int64)
    for i in range(half):
        for mask in range(1 << i):
            low[mask | (1 << i)] = low[mask] | (1 << places[i])
    for i in range(pairs - half):
        for mask in range(1 << i):
            high[mask | (1 << i)] = high[mask] | (1 << places[half + i])
    operations = np.empty(MAX_VERTICES, np.uint8)
    _label_vertices(0, num_vertices, operations)
    everything = (1 << num_vertices) - 1
    classes = np.empty(_CLASS_SLOTS, np.uint32)
    found = 0
    for mask in range(1 << pairs):
        bits = low[mask & ((1 << half) - 1)] | high[mask >> half]
        if count_bits(bits) > MAX_EDGES or keep_mask(bits, num_vertices) != everything:
            continue
        key = key_scalar(bits, operations, num_vertices)
        if insert_key(slot_keys, slot_rows, key, found):
            classes[found] = bits
            found += 1
    return classes[:found]


@kernel
def enumerate_cells() -> tuple[
    NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint64]
]:
    """All 423,624 cells, in the order in which the official generator finds them.

    Returns:
        Adjacency bits (N,) uint32, operations (N, 7) uint8, vertex counts (N,) uint8, which ascend,
        and keys (N,) uint64.
    """
    adjacency_bits = np.empty(_CELLS, np.uint32)
    operations = np.empty((_CELLS, MAX_VERTICES), np.uint8)
    sizes = np.empty(_CELLS, np.uint8)
    keys = np.empty(_CELLS, np.uint64)
    slot_keys = np.zeros(_CELL_SLOTS, np.uint64)
    slot_rows = np.empty(_CELL_SLOTS, np.int32)
    found = 0
    for num_vertices in range(2, MAX_VERTICES + 1):
        classes = _matrix_classes(
            num_vertices, np.zeros(_CLASS_SLOTS, np.uint64), np.empty(_CLASS_SLOTS, np.int32)
        )
        for bits in classes:
            for labelling in range(NUM_OPERATIONS ** (num_vertices - 2)):
                _label_vertices(labelling, num_vertices, operations[found])
                key = key_scalar(bits, operations[found], num_vertices)
                if insert_key(slot_keys, slot_rows, key, found):
                    adjacency_bits[found] = bits
                    sizes[found] = num_vertices
                    keys[found] = key
                    found += 1
    return adjacency_bits[:found], operations[:found], sizes[:found], keys[:found]
