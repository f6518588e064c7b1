"""The order in which a plan computes the layers of some graphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Schedule:
    """What is computed for some graphs, chunk by chunk, and where it stays.

    Sums of all layers are numbered together, those of the first layer first; their lists come
    before the lists of the graphs' nodes, which have two each (along the edges, and against them).

    Attributes:
        cells: (n,) int32; the graphs, in the order in which they are handled.
        cell_bounds: (C + 1,) int32; where each chunk's graphs begin.
        cell_lists: (n + 1,) int32; first list of each graph.
        starts: int32; first entry of each list, and the end of the last.
        entries: uint32; slot of a row below (for the first layer: its node type), and from bit 16
            on the number of the entry's weight.
        sum_bounds: (L - 1, 2 C + 1) int32; for each layer but the last, where each chunk's sums
            along and against the edges begin.
        sum_slots: (S,) uint16; where the product of each sum goes.
        pair_bounds: (L - 1, C + 1) int32; where each chunk's pairs begin.
        pairs: (P, 3) uint16; slots of the two products, and of the row that is their sum.
        pair_rows: (P,) int32; number of that row among all distinct rows of its layer.
        slots: (L - 1, 2) int32; how many slots the products and the rows of each layer take.
    """

    cells: NDArray[np.int32]
    cell_bounds: NDArray[np.int32]
    cell_lists: NDArray[np.int32]
    starts: NDArray[np.int32]
    entries: NDArray[np.uint32]
    sum_bounds: NDArray[np.int32]
    sum_slots: NDArray[np.uint16]
    pair_bounds: NDArray[np.int32]
    pairs: NDArray[np.uint16]
    pair_rows: NDArray[np.int32]
    slots: NDArray[np.int32]
