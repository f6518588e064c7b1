"""The rows of a batch of graphs, and what training does with them beside gathering.

V' = 1/2 ReLU(A V W+ + b+) + 1/2 ReLU(A' V W- + b-): A averages over a vertex and the heads of its
edges, A' over it and the tails. W+ and W- stand side by side in one (C, 2 D) matrix, so that both
directions are one product. The rows of a batch are the vertices of its graphs in the order drawn;
``nodes`` gives each row's vertex, and rows of one graph follow each other as its vertices do, so
that neighbour u of vertex v is ``u - v`` rows away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel


@kernel
def add_scaled(
    out: NDArray[np.float32], values: NDArray[np.float32], weight: np.float32, first: bool
) -> None:
    """``out = weight * values`` (first) or ``out += weight * values``, for vectors."""
    if first:
        for j in range(out.shape[0]):
            out[j] = weight * values[j]
    else:
        for j in range(out.shape[0]):
            out[j] += weight * values[j]


class BatchLists(NamedTuple):
    """What the rows of a batch gather in one direction (see ``nprep.kernels.graphs.gather``).

    Attributes:
        starts: (rows + 1,) int32; first entry of each row.
        rows: int32; entries: rows of the batch.
        types: int32; entries: their node types.
        weights: float32; entries: weights.
        back_weights: float32; entries: the weight with which, in the other direction, the entry
            reads this row.
    """

    starts: NDArray[np.int32]
    rows: NDArray[np.int32]
    types: NDArray[np.int32]
    weights: NDArray[np.float32]
    back_weights: NDArray[np.float32]


@kernel
def empty_lists(rows: int, starts: NDArray[np.int32]) -> BatchLists:
    """Room for the lists of a batch.

    Args:
        rows: Most rows of a batch.
        starts: (V + 1,) first entry of each vertex of the graphs.

    Returns:
        Lists with whatever was in memory.
    """
    largest: Integer = 0
    for vertex in range(len(starts) - 1):
        largest = max(largest, np.int64(starts[vertex + 1] - starts[vertex]))
    entries = rows * largest
    return BatchLists(
        np.empty(rows + 1, np.int32),
        np.empty(entries, np.int32),
        np.empty(entries, np.int32),
        np.empty(entries, np.float32),
        np.empty(entries, np.float32),
    )


@kernel
def fill_lists(
    nodes: NDArray[np.int32],
    rows: int,
    types: NDArray[np.uint8],
    starts: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    back_weights: NDArray[np.float32],
    lists: BatchLists,
) -> None:
    """Writes the lists of a batch in one direction.

    Args:
        nodes: (rows,) vertex of each row.
        rows: Number of rows.
        types: (V,) node types.
        starts: (V + 1,) first entry of each vertex.
        neighbours: Entries: vertices.
        weights: Entries: weights.
        back_weights: Entries: weights of the transpose.
        lists: Overwritten.
    """
    position = 0
    for row in range(rows):
        lists.starts[row] = position
        node = nodes[row]
        for entry in range(starts[node], starts[node + 1]):
            other = neighbours[entry]
            lists.rows[position] = row + other - node
            lists.types[position] = types[other]
            lists.weights[position] = weights[entry]
            lists.back_weights[position] = back_weights[entry]
            position += 1
    lists.starts[rows] = position


@kernel
def turned_weights(
    starts: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    other_starts: NDArray[np.int32],
    other_neighbours: NDArray[np.int32],
) -> NDArray[np.float32]:
    """The weights of one direction in the order of the other direction's entries.

    Args:
        starts: (V + 1,) first entry of each vertex.
        neighbours: Entries: the vertices that it reads.
        weights: Entries: with these weights.
        other_starts: Likewise of the other direction.
        other_neighbours: Likewise of the other direction.

    Returns:
        For the other direction's entry "u has v", the weight with which v reads u.
    """
    turned = np.empty(len(other_neighbours), np.float32)
    for u in range(len(other_starts) - 1):
        for entry in range(other_starts[u], other_starts[u + 1]):
            v = other_neighbours[entry]
            for place in range(starts[v], starts[v + 1]):
                if neighbours[place] == u:
                    turned[entry] = weights[place]
    return turned


@kernel
def split_deltas(
    sums: NDArray[np.float32],
    deltas: NDArray[np.float32],
    rows: int,
    width: int,
    out: NDArray[np.float32],
) -> None:
    """Gradient of the sums from the gradient of the states.

    Args:
        sums: (rows, 2 D) before rectifying, the biases added.
        deltas: (rows, D) gradients of the states.
        rows: Number of rows.
        width: D.
        out: (rows, 2 D), written.
    """
    zero = np.float32(0.0)
    half = np.float32(0.5)
    for row in range(rows):
        left, right = sums[row, :width], sums[row, width:]
        delta = deltas[row]
        out_left, out_right = out[row, :width], out[row, width:]
        for j in range(width):
            slope = half * delta[j]
            out_left[j] = slope if left[j] > zero else zero
            out_right[j] = slope if right[j] > zero else zero
