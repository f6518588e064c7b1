"""Graphs of any size as flat arrays: what graph networks read, whatever the space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError

NORMALISATIONS = ("row", "symmetric", "sum")


class HasGraphs(Protocol):
    """What predictors learn from and rank: architectures that can be had as graphs.

    ``nprep.spaces.base.Members`` of any space, cells of NASBench-101, or graphs themselves.
    """

    def __len__(self) -> int:
        """The number of architectures N."""

    def graphs(self, normalisation: str, /) -> GraphBatch:
        """Their graphs, with the weights that a normalisation gives."""


class HasDigest(HasGraphs, Protocol):
    """Architectures that are told from others, so that what follows from them can be kept."""

    def digest(self) -> str:
        """Hex characters that no other architectures, or others in another order, have."""


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
        chain_length: Number of vertices of each graph where all of them are chains of one length,
            with row-normalised weights; else 0.
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
    chain_length: int = 0

    def graphs(self, normalisation: str) -> GraphBatch:
        """Itself: its weights are what they are."""
        return self

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


def check_normalisation(normalisation: str) -> None:
    """Refuses a name that is none of ``NORMALISATIONS``.

    Raises:
        SettingsError: If it is unknown.
    """
    if normalisation not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise SettingsError(f"normalisation {normalisation!r} is unknown; choose from {known}.")


def graphs_from_matrices(
    types: NDArray[np.integer],
    adjacency: NDArray[Any],
    num_types: int,
    normalisation: str = "row",
    present: NDArray[np.bool_] | None = None,
) -> GraphBatch:
    """Graphs from adjacency matrices, for spaces without a kernel of their own.

    Args:
        types: (N, n) integers below ``num_types``; the operation of each vertex.
        adjacency: (n, n), the same for all graphs, or (N, n, n); not 0 at [i, j] for an edge from
            i to j. The diagonal is ignored: a vertex always reads itself.
        num_types: Length of the one-hot node input.
        normalisation: Weight of the entry from i to j: "row": 1 / degree of i; "symmetric":
            1 / root of (degree of i times degree of j); "sum": 1. The degree of a vertex along a
            direction counts its neighbours in that direction and itself.
        present: (N, n) bool; the vertices that a graph has. None: all.

    Raises:
        SettingsError: If the normalisation is unknown.
    """
    check_normalisation(normalisation)
    count, size = types.shape
    there = np.ones((count, size), bool) if present is None else present
    edges = np.broadcast_to(np.asarray(adjacency) != 0, (count, size, size)).copy()
    edges[:, np.arange(size), np.arange(size)] = False
    edges &= there[:, :, None] & there[:, None, :]
    numbers = (np.cumsum(there.reshape(-1)) - 1).reshape(count, size).astype(np.int32)

    def lists(
        along: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        # Column 0 stands for the vertex itself, which comes first.
        slots = np.concatenate([there[:, :, None], along], axis=2)
        graph, vertex, column = np.nonzero(slots)
        other = np.where(column == 0, vertex, column - 1)
        starts = np.concatenate([[0], np.cumsum(slots.sum(axis=2)[there])]).astype(np.int32)
        own = 1.0 + along.sum(axis=2)[graph, vertex]
        if normalisation == "row":
            weights = 1.0 / own
        elif normalisation == "symmetric":
            weights = 1.0 / np.sqrt(own * (1.0 + along.sum(axis=1)[graph, other]))
        else:
            weights = np.ones(len(own))
        return starts, numbers[graph, other], weights.astype(np.float32)

    return GraphBatch(
        np.ascontiguousarray(types[there], np.uint8),
        num_types,
        np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32),
        *lists(edges),
        *lists(edges.transpose(0, 2, 1)),
    )
