"""One bidirectional graph-convolution layer, forward and backward, for a batch of graphs.

V' = 1/2 ReLU(A V W+ + b+) + 1/2 ReLU(A' V W- + b-): A averages over a vertex and the heads of its
edges, A' over it and the tails. W+ and W- stand side by side in one (C, 2 D) matrix, so that both
directions are one product. The rows of a batch are the vertices of its graphs in the order drawn;
``nodes`` gives each row's vertex, and rows of one graph follow each other as its vertices do, so
that neighbour u of vertex v is ``u - v`` rows away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels._jit import kernel


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


@kernel
def gather_rows(
    products: NDArray[np.float32],
    by_type: bool,
    types: NDArray[np.uint8],
    nodes: NDArray[np.int32],
    rows: int,
    column: int,
    width: int,
    starts: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """``sums[r, column:column+width]`` = weighted sum of the products of r's neighbours.

    Args:
        products: (rows, 2 D), or (types, 2 D) for the layer that reads one-hot inputs.
        by_type: Whether ``products`` has a row per node type.
        types: (V,) node types.
        nodes: (rows,) vertex of each row.
        rows: Number of rows.
        column: 0 for the direction along the edges, D for the other.
        width: D.
        starts: (V + 1,) first entry of each vertex.
        neighbours: Entries: vertices.
        weights: Entries: weights.
        sums: (rows, 2 D), half of it written.
    """
    for row in range(rows):
        node = nodes[row]
        out = sums[row, column : column + width]
        begin = starts[node]
        for entry in range(begin, starts[node + 1]):
            other = neighbours[entry]
            source = np.int64(types[other]) if by_type else np.int64(row + other - node)
            values = products[source, column : column + width]
            add_scaled(out, values, weights[entry], entry == begin)


@kernel
def scatter_rows(
    deltas: NDArray[np.float32],
    by_type: bool,
    types: NDArray[np.uint8],
    nodes: NDArray[np.int32],
    rows: int,
    column: int,
    width: int,
    starts: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    back: NDArray[np.float32],
) -> None:
    """The transpose of :func:`gather_rows`: adds each row's gradient to those of its neighbours.

    Args:
        deltas: (rows, 2 D) gradients of the sums.
        by_type: As in :func:`gather_rows`.
        types: (V,).
        nodes: (rows,).
        rows: Number of rows.
        column: 0 or D.
        width: D.
        starts: (V + 1,).
        neighbours: Entries.
        weights: Entries.
        back: (rows, 2 D) or (types, 2 D), added to.
    """
    for row in range(rows):
        node = nodes[row]
        values = deltas[row, column : column + width]
        for entry in range(starts[node], starts[node + 1]):
            other = neighbours[entry]
            source = np.int64(types[other]) if by_type else np.int64(row + other - node)
            add_scaled(back[source, column : column + width], values, weights[entry], False)


@kernel
def rectify_and_average(
    sums: NDArray[np.float32],
    bias: NDArray[np.float32],
    biased: bool,
    rows: int,
    width: int,
    states: NDArray[np.float32],
) -> None:
    """``states`` = 1/2 ReLU(left half of sums + bias) + 1/2 ReLU(right half + bias).

    Args:
        sums: (rows, 2 D); the biases stay added.
        bias: (2 D,).
        biased: Whether biases are added.
        rows: Number of rows.
        width: D.
        states: (rows, D), written.
    """
    zero = np.float32(0.0)
    half = np.float32(0.5)
    for row in range(rows):
        values = sums[row]
        if biased:
            for j in range(2 * width):
                values[j] += bias[j]
        left, right, out = values[:width], values[width:], states[row]
        for j in range(width):
            out[j] = half * (max(left[j], zero) + max(right[j], zero))


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
        sums: (rows, 2 D) as :func:`rectify_and_average` left them.
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
