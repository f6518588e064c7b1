"""The rows of a batch of graphs, and what training does with them beside gathering.

V' = 1/2 ReLU(A V W+ + b+) + 1/2 ReLU(A' V W- + b-): A averages over a vertex and the heads of its
edges, A' over it and the tails. W+ and W- stand side by side in one (C, 2 D) matrix, so that both
directions are one product. The rows of a batch are the vertices of its graphs in the order drawn:
rows of one graph follow each other as its vertices do, so that neighbour u of vertex v is ``u - v``
rows away.

The first layer reads types alone, so that vertices that gather the same types with the same weights
have the same state after it: of the 68 rows of a batch of ten cells of NASBench-101, 58 differ.
What happens to such states until they are gathered is computed once: in the *order* of a batch the
rows with new states come first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nprep.kernels.graphs.plan import distinct_lists, distinct_pairs, weight_codes
from nprep.kernels.jit import Integer, kernel
from nprep.kernels.numeric.vector import LANES, ZEROS, Emitter, floats


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
        states: int32; entries: numbers of their states after the first layer.
        weights: float32; entries: weights.
        back_weights: float32; entries: the weight with which, in the other direction, the entry
            reads this row.
    """

    starts: NDArray[np.int32]
    rows: NDArray[np.int32]
    types: NDArray[np.int32]
    states: NDArray[np.int32]
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
        np.empty(entries, np.int32),
        np.empty(entries, np.float32),
        np.empty(entries, np.float32),
    )


@kernel
def fill_lists(
    cells: NDArray[np.int32],
    cell_starts: NDArray[np.int32],
    rows: NDArray[np.int64],
    numbers: NDArray[np.int32],
    starts: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    types: NDArray[np.int32],
    weights: NDArray[np.float32],
    back_weights: NDArray[np.float32],
    lists: BatchLists,
) -> None:
    """Writes the lists of a batch in one direction.

    Args:
        cells: (n,) graphs of the batch.
        cell_starts: (N + 1,) first vertex of each graph.
        rows: (n,) first row of each graph of the batch.
        numbers: (rows,) number of each row's state after the first layer.
        starts: (V + 1,) first entry of each vertex.
        neighbours: Entries: vertices.
        types: Entries: their types.
        weights: Entries: weights.
        back_weights: Entries: weights of the transpose.
        lists: Overwritten.
    """
    position = np.int32(0)
    for k in range(len(cells)):
        first, last = cell_starts[cells[k]], cell_starts[cells[k] + 1]
        begin = starts[first]
        count = np.int64(starts[last] - begin)
        # Rows and entries of a graph follow each other as its vertices and their entries do.
        some = lists.starts[rows[k] : rows[k] + (last - first) + 1]
        lower = starts[first : last + 1]
        for i in range(len(some)):
            some[i] = lower[i] + (position - begin)
        shift = np.int32(rows[k] - first)
        sources, states = lists.rows[position:], lists.states[position:]
        for i in range(count):
            sources[i] = neighbours[begin + i] + shift
        for i in range(count):
            states[i] = numbers[sources[i]]
        lists.types[position : position + count] = types[begin : begin + count]
        lists.weights[position : position + count] = weights[begin : begin + count]
        lists.back_weights[position : position + count] = back_weights[begin : begin + count]
        position += np.int32(count)


@kernel
def state_classes(
    types: NDArray[np.uint8],
    out_starts: NDArray[np.int32],
    out_nodes: NDArray[np.int32],
    out_weights: NDArray[np.float32],
    in_starts: NDArray[np.int32],
    in_nodes: NDArray[np.int32],
    in_weights: NDArray[np.float32],
) -> NDArray[np.int32]:
    """Which vertices have the same state after the first layer.

    Args:
        types: (V,) node types.
        out_starts: (V + 1,) first entry of each vertex along the edges.
        out_nodes: Entries.
        out_weights: Entries.
        in_starts: Likewise, against the edges.
        in_nodes: Entries.
        in_weights: Entries.

    Returns:
        (V,) int32, below V: a number for each class. With more than 65,536 distinct weights every
        vertex has a class of its own.
    """
    vertices = len(types)
    members = np.arange(vertices).astype(np.int32)
    palette = np.empty(min(1 << 16, len(out_nodes) + len(in_nodes)), np.float32)
    out_codes = np.empty(len(out_nodes), np.uint16)
    in_codes = np.empty(len(in_nodes), np.uint16)
    known = weight_codes(out_weights, palette, 0, out_codes)
    if known >= 0:
        known = weight_codes(in_weights, palette, known, in_codes)
    if known < 0:
        return members
    lower = types.astype(np.int32)
    along, against = np.empty(vertices, np.int32), np.empty(vertices, np.int32)
    distinct_lists(members, lower, out_starts, out_nodes, out_codes, 0, along)
    distinct_lists(members, lower, in_starts, in_nodes, in_codes, 0, against)
    classes = np.empty(vertices, np.int32)
    distinct_pairs(members, along, against, classes)
    return classes


@kernel
def order_rows(
    nodes: NDArray[np.int32],
    rows: Integer,
    classes: NDArray[np.int32],
    seen: NDArray[np.int32],
    order: NDArray[np.int32],
    numbers: NDArray[np.int32],
) -> int:
    """Puts the rows of a batch that have a new state after the first layer first.

    Args:
        nodes: (rows,) vertex of each row.
        rows: Number of rows.
        classes: (V,) class of each vertex (``state_classes``).
        seen: (V,) scratch, all -1 before and after.
        order: (rows,) written: rows with a new state, then those that repeat one.
        numbers: (rows,) written: the place in ``order`` of the row whose state each row has.

    Returns:
        How many rows have a new state.
    """
    count = 0
    repeated = 0
    for row in range(rows):
        kind = classes[nodes[row]]
        if seen[kind] < 0:
            seen[kind] = count
            order[count] = row
            count += 1
        else:
            repeated += 1
            order[rows - repeated] = row
        numbers[row] = seen[kind]
    for k in range(count):
        seen[classes[nodes[order[k]]]] = -1
    return count


@kernel
def add_repeated(
    order: NDArray[np.int32],
    numbers: NDArray[np.int32],
    count: Integer,
    rows: Integer,
    gradients: NDArray[np.float32],
) -> None:
    """Adds the gradients of rows that repeat a state to that state's.

    Args:
        order: See ``order_rows``.
        numbers: Likewise.
        count: How many rows have a new state.
        rows: Number of rows.
        gradients: (rows, C) in that order; the first ``count`` are changed.
    """
    for k in range(count, rows):
        add_scaled(gradients[numbers[order[k]]], gradients[k], np.float32(1.0), False)


@kernel
def type_gradients(
    lists: BatchLists,
    order: NDArray[np.int32],
    sums: NDArray[np.float32],
    column: Integer,
    width: Integer,
    out: NDArray[np.float32],
) -> None:
    """Adds up one half of the gradient of the first layer's matrix, which one-hot rows multiply.

    Args:
        lists: Of the direction.
        order: (n,) rows.
        sums: (n or more, 2 D) gradients of what the rows gathered.
        column: 0 for the left halves, D for the right ones.
        width: D.
        out: (C, 2 D), one half added to.
    """
    for number in range(len(order)):
        row = order[number]
        values = sums[number, column : column + width]
        for entry in range(lists.starts[row], lists.starts[row + 1]):
            target = out[lists.types[entry], column : column + width]
            add_scaled(target, values, lists.weights[entry], False)


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


@intrinsic
def _split_vector(
    typing_context: Any, sums: Any, place: Any, width: Any, deltas: Any, delta_place: Any
) -> Any:
    """16 columns of ``split_deltas``."""
    index = types.intp
    signature = types.void(sums, index, index, deltas, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(context, builder, signature, arguments)
        delta = emitter.load(emitter.at(emitter.data(3), arguments[4]))
        slope = builder.fmul(delta, floats(0.5))
        left = emitter.at(emitter.data(0), arguments[1])
        for pointer in (left, emitter.at(left, arguments[2])):
            above = builder.fcmp_ordered(">", emitter.load(pointer), ZEROS)
            emitter.store(builder.select(above, slope, ZEROS), pointer)
        return context.get_dummy_value()

    return signature, generate


# A typed name: what numba makes of an intrinsic hides its own argument.
_split_columns = cast(Callable[..., None], _split_vector)


@kernel
def split_deltas(
    sums: NDArray[np.float32], deltas: NDArray[np.float32], rows: int, width: int
) -> None:
    """Gradient of the sums from the gradient of the states, in the place of the sums.

    Args:
        sums: (rows or more, 2 D) before rectifying, the biases added; overwritten.
        deltas: (rows or more, D) gradients of the states.
        rows: Number of rows.
        width: D.
    """
    zero = np.float32(0.0)
    half = np.float32(0.5)
    flat, flat_deltas = sums.reshape(-1), deltas.reshape(-1)
    for row in range(rows):
        place = row * width
        j = 0
        while j + LANES <= width:
            _split_columns(flat, 2 * place + j, width, flat_deltas, place + j)
            j += LANES
        while j < width:
            slope = half * flat_deltas[place + j]
            for k in (2 * place + j, 2 * place + width + j):
                flat[k] = slope if flat[k] > zero else zero
            j += 1
