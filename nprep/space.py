"""The NASBench-101 space: cells, specs and what can be computed from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CellBatch:
    """Many cells as arrays.

    Attributes:
        adjacency_bits: (N,) uint32; bit k is the k-th pair of (0,1),(0,2),..,(0,6),(1,2),..,(5,6)
            of the upper triangle; a cell with n < 7 vertices uses the leading n x n block.
        operations: (N, 7) uint8; 0 conv3x3, 1 conv1x1, 2 maxpool3x3, 3 input, 4 output, 255 unused.
        num_vertices: (N,) uint8; 2 to 7.
    """

    adjacency_bits: NDArray[np.uint32]
    operations: NDArray[np.uint8]
    num_vertices: NDArray[np.uint8]

    def __len__(self) -> int:
        """The number of cells."""
        return len(self.adjacency_bits)

    def take(self, rows: NDArray[np.integer]) -> CellBatch:
        """The cells at ``rows``, in that order."""
        return CellBatch(self.adjacency_bits[rows], self.operations[rows], self.num_vertices[rows])
