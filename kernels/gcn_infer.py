"""The cheap half of GCN inference: gather products by the plan's lists, rectify, average."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels._jit import Integer, kernel
from nprep.kernels.gcn_layers import add_scaled


@kernel
def _sum_entries(
    products: NDArray[np.float32],
    column: Integer,
    starts: NDArray[np.int32],
    sources: NDArray[np.int32],
    weights: NDArray[np.float32],
    row: Integer,
    out: NDArray[np.float32],
) -> None:
    """``out`` = weighted sum of half-rows of the products, those that ``row`` gathers."""
    begin, end = starts[row], starts[row + 1]
    width = out.shape[0]
    end_column = column + width
    one = products[sources[begin], column:end_column]
    w1 = weights[begin]
    # Most rows gather one to three others: one pass over the columns for all of them.
    if end - begin == 1:
        for j in range(width):
            out[j] = w1 * one[j]
        return
    two = products[sources[begin + 1], column:end_column]
    w2 = weights[begin + 1]
    if end - begin == 2:
        for j in range(width):
            out[j] = w1 * one[j] + w2 * two[j]
        return
    three = products[sources[begin + 2], column:end_column]
    w3 = weights[begin + 2]
    for j in range(width):
        out[j] = w1 * one[j] + w2 * two[j] + w3 * three[j]
    for entry in range(begin + 3, end):
        add_scaled(out, products[sources[entry], column:end_column], weights[entry], False)


@kernel
def gather_states(
    products: NDArray[np.float32],
    out_starts: NDArray[np.int32],
    out_sources: NDArray[np.int32],
    out_weights: NDArray[np.float32],
    in_starts: NDArray[np.int32],
    in_sources: NDArray[np.int32],
    in_weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    first: Integer,
    last: Integer,
    states: NDArray[np.float32],
) -> None:
    """States of rows ``first`` to ``last`` of a layer.

    Args:
        products: (R, 2 D) rows below times [W+ | W-].
        out_starts: First entry of each row, along the edges.
        out_sources: Entries: rows of ``products``.
        out_weights: Entries: weights.
        in_starts: Likewise against the edges.
        in_sources: Likewise against the edges.
        in_weights: Likewise against the edges.
        bias: (2 D,).
        first: First row.
        last: End of the rows.
        states: (last - first, D), written.
    """
    zero = np.float32(0.0)
    half = np.float32(0.5)
    width = states.shape[1]
    left = np.empty(width, np.float32)
    right = np.empty(width, np.float32)
    bias_left, bias_right = bias[:width], bias[width:]
    for row in range(first, last):
        _sum_entries(products, 0, out_starts, out_sources, out_weights, row, left)
        _sum_entries(products, width, in_starts, in_sources, in_weights, row, right)
        out = states[row - first]
        for j in range(width):
            one = max(left[j] + bias_left[j], zero)
            out[j] = half * (one + max(right[j] + bias_right[j], zero))


@kernel
def gather_means(
    products: NDArray[np.float32],
    out_starts: NDArray[np.int32],
    out_sources: NDArray[np.int32],
    out_weights: NDArray[np.float32],
    in_starts: NDArray[np.int32],
    in_sources: NDArray[np.int32],
    in_weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    cell_starts: NDArray[np.int32],
    first: Integer,
    last: Integer,
    means: NDArray[np.float32],
) -> None:
    """Means over the nodes of cells ``first`` to ``last`` after the last layer.

    Args:
        products: As in :func:`gather_states`, as the next 7.
        out_starts: One row per node of the cells.
        out_sources: Entries.
        out_weights: Entries.
        in_starts: One row per node.
        in_sources: Entries.
        in_weights: Entries.
        bias: (2 D,).
        cell_starts: (N + 1,) first node of each cell.
        first: First cell.
        last: End of the cells.
        means: (last - first, D), written.
    """
    zero = np.float32(0.0)
    width = means.shape[1]
    left = np.empty(width, np.float32)
    right = np.empty(width, np.float32)
    bias_left, bias_right = bias[:width], bias[width:]
    for cell in range(first, last):
        out = means[cell - first]
        out[:] = zero
        begin, end = cell_starts[cell], cell_starts[cell + 1]
        share = np.float32(0.5 / (end - begin))
        for node in range(begin, end):
            _sum_entries(products, 0, out_starts, out_sources, out_weights, node, left)
            _sum_entries(products, width, in_starts, in_sources, in_weights, node, right)
            for j in range(width):
                one = max(left[j] + bias_left[j], zero)
                out[j] += share * (one + max(right[j] + bias_right[j], zero))


@kernel
def finish_dense(values: NDArray[np.float32], bias: NDArray[np.float32], rectify: bool) -> None:
    """Adds biases to (rows, H) values in place, and rectifies them if asked."""
    zero = np.float32(0.0)
    for row in range(values.shape[0]):
        line = values[row]
        for j in range(bias.shape[0]):
            value = line[j] + bias[j]
            line[j] = max(value, zero) if rectify else value


@kernel
def output_dot(
    values: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: np.float32,
    out: NDArray[np.float32],
) -> None:
    """``out`` = values weights + bias, for the single output."""
    width = weights.shape[0]
    whole = width - width % 8
    lanes = np.zeros(8, np.float32)
    for row in range(values.shape[0]):
        line = values[row]
        # Eight partial sums: a fixed order that the compiler may vectorise.
        lanes[:] = np.float32(0.0)
        for start in range(0, whole, 8):
            for k in range(8):
                lanes[k] += line[start + k] * weights[start + k]
        total = bias
        for k in range(8):
            total += lanes[k]
        for k in range(whole, width):
            total += line[k] * weights[k]
        out[row] = total
