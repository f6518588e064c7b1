"""Many cells as arrays, and as the graphs that predictors read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.nb101.graphs import ROW, SUM, SYMMETRIC, count_entries, fill_graphs
from nprep.spaces.graphs import GraphBatch, check_normalisation
from nprep.spaces.nb101.spec import OPERATION_NAMES

_CODES = {"row": ROW, "symmetric": SYMMETRIC, "sum": SUM}


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

    def graphs(self, normalisation: str) -> GraphBatch:
        """The cells as graphs, which is what predictors read; see ``cell_graphs``."""
        return cell_graphs(self, normalisation)

    def codes(self) -> NDArray[np.uint8]:
        """(N, 11) uint8: adjacency bits, most significant byte first, then operations."""
        bits = np.ascontiguousarray(self.adjacency_bits, np.uint32).astype(">u4")
        return np.concatenate([bits.view(np.uint8).reshape(-1, 4), self.operations], axis=1)

    def digest(self) -> str:
        """Hex characters that no other cells, or others in another order, have."""
        codes = np.ascontiguousarray(self.codes())
        return hashlib.sha256(f"nb101 {codes.shape}".encode() + codes.tobytes()).hexdigest()


def cell_graphs(cells: CellBatch, normalisation: str = "row") -> GraphBatch:
    """Builds the graphs of cells.

    Args:
        cells: The cells.
        normalisation: "row", "symmetric" or "sum" (see ``nprep.kernels.nb101.graphs``).

    Returns:
        The graphs; a node's type is the operation code of the cell.

    Raises:
        SettingsError: If the normalisation is unknown.
    """
    check_normalisation(normalisation)
    nodes, edges = count_entries(cells.adjacency_bits, cells.num_vertices)
    graphs = GraphBatch(
        types=np.empty(nodes, np.uint8),
        num_types=len(OPERATION_NAMES),
        cell_starts=np.empty(len(cells) + 1, np.int32),
        out_starts=np.empty(nodes + 1, np.int32),
        out_nodes=np.empty(nodes + edges, np.int32),
        out_weights=np.empty(nodes + edges, np.float32),
        in_starts=np.empty(nodes + 1, np.int32),
        in_nodes=np.empty(nodes + edges, np.int32),
        in_weights=np.empty(nodes + edges, np.float32),
    )
    fill_graphs(
        cells.adjacency_bits,
        cells.operations,
        cells.num_vertices,
        _CODES[normalisation],
        graphs.types,
        graphs.cell_starts,
        graphs.out_starts,
        graphs.out_nodes,
        graphs.out_weights,
        graphs.in_starts,
        graphs.in_nodes,
        graphs.in_weights,
    )
    return graphs
