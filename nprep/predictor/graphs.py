"""Graphs of any size as flat arrays: the input of the GCN predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.nb101.graphs import ROW, SUM, SYMMETRIC, count_entries, fill_graphs
from nprep.spaces.nb101.cells import CellBatch

NORMALISATIONS = {"row": ROW, "symmetric": SYMMETRIC, "sum": SUM}
CELL_TYPES = 5


@dataclass(frozen=True)
class GraphBatch:
    """N directed graphs with V vertices in all; vertices of one graph are consecutive.

    Attributes:
        types: (V,) uint8; the operation of each vertex, below ``num_types``.
        num_types: Length of the one-hot node input.
        cell_starts: (N + 1,) int32; first vertex of each graph.
        out_starts: (V + 1,) int32; first entry of each vertex in ``out_nodes``.
        out_nodes: int32; the vertex itself, then the heads of its edges.
        out_weights: float32; the normalised weight of each entry.
        in_starts: Likewise, for the tails of the edges that end at the vertex.
        in_nodes: Likewise, for the tails of the edges that end at the vertex.
        in_weights: Likewise, for the tails of the edges that end at the vertex.
    """

    types: NDArray[np.uint8]
    num_types: int
    cell_starts: NDArray[np.int32]
    out_starts: NDArray[np.int32]
    out_nodes: NDArray[np.int32]
    out_weights: NDArray[np.float32]
    in_starts: NDArray[np.int32]
    in_nodes: NDArray[np.int32]
    in_weights: NDArray[np.float32]

    def __len__(self) -> int:
        """The number of graphs N."""
        return len(self.cell_starts) - 1

    @property
    def num_nodes(self) -> int:
        """The number of vertices V."""
        return len(self.types)

    @property
    def largest(self) -> int:
        """The number of vertices of the largest graph."""
        return int(np.diff(self.cell_starts).max(initial=0))

    @classmethod
    def concatenate(cls, batches: Sequence[GraphBatch]) -> GraphBatch:
        """One batch of the graphs of several, in order.

        Args:
            batches: At least one; their graphs must have the same number of node types.
        """
        nodes = np.cumsum([0, *(batch.num_nodes for batch in batches)], dtype=np.int32)

        def starts(name: str, shifts: NDArray[np.int32]) -> NDArray[np.int32]:
            parts = [
                getattr(batch, name)[:-1] + shift
                for batch, shift in zip(batches, shifts[:-1], strict=True)
            ]
            return np.append(np.concatenate(parts), shifts[-1]).astype(np.int32)

        def lists(side: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
            entries = [getattr(batch, f"{side}_nodes") for batch in batches]
            shifts = np.cumsum([0, *map(len, entries)], dtype=np.int32)
            moved = [e + shift for e, shift in zip(entries, nodes[:-1], strict=True)]
            weights = [getattr(batch, f"{side}_weights") for batch in batches]
            return starts(f"{side}_starts", shifts), np.concatenate(moved), np.concatenate(weights)

        return cls(
            np.concatenate([batch.types for batch in batches]),
            batches[0].num_types,
            starts("cell_starts", nodes),
            *lists("out"),
            *lists("in"),
        )

    @classmethod
    def from_cells(cls, cells: CellBatch, normalisation: str = "row") -> GraphBatch:
        """Builds the graphs of NASBench-101 cells.

        Args:
            cells: The cells.
            normalisation: "row", "symmetric" or "sum" (see ``nprep.kernels.nb101.graphs``).

        Returns:
            The graphs; a node's type is the operation code of the cell.

        Raises:
            SettingsError: If the normalisation is unknown.
        """
        if normalisation not in NORMALISATIONS:
            known = ", ".join(NORMALISATIONS)
            raise SettingsError(f"normalisation {normalisation!r} is unknown; choose from {known}")
        nodes, edges = count_entries(cells.adjacency_bits, cells.num_vertices)
        graphs = cls(
            types=np.empty(nodes, np.uint8),
            num_types=CELL_TYPES,
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
            NORMALISATIONS[normalisation],
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
