"""GCN inference by a schedule: sums, their products, rows, and means, chunk by chunk.

Notation: a *sum* is what a node gathers in one direction from the rows below, plus the bias,
rectified and halved: 1/2 ReLU(A V W+ + b+) or 1/2 ReLU(A' V W- + b-). A node's state is the sum
along the edges plus the sum against them, so the product of a state with the next layer's
[W+ | W-] is the *row* that adds the products of two sums; there are far fewer sums than states.
Products of sums lie in slots of one buffer a layer, rows in slots of another
(``nprep.kernels.graphs.schedule``). A list's entries hold the slot of a row in their low 16 bits
and the number of a weight in the high ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.numeric.dense_inference import finish_dense, output_dot
from nprep.kernels.numeric.gemm import gemm
from nprep.kernels.numeric.gemm_bfloat16 import gemm_bfloat16, pair_columns
from nprep.kernels.numeric.vector import LANES, ZEROS, Emitter
from nprep.kernels.simd import HAS_BFLOAT16, SIMD

# Vectors of 16 columns of a wide tile: those of two sums and of their total fit the registers. The
# paper's widths are multiples of 48 but for one.
VECTORS = {"avx512": 3, "avx2": 2, "neon": 2, "plain": 1}
_VECTORS = VECTORS[SIMD]
_COLUMNS = _VECTORS * LANES
# Sums multiplied at once.
ROWS = 192
_WORD = ir.IntType(32)


def _list_sum(
    emitter: Emitter,
    table: Any,
    stride: Any,
    lists: tuple[Any, Any, Any],
    number: Any,
    count: int,
) -> list[Any]:
    """Emits a list's weighted sum of ``count`` vectors of rows from ``table`` on."""
    builder = emitter.builder
    starts, entries, palette = lists
    pointer = emitter.at(starts, number)
    begin = emitter.load_index(pointer)
    end = emitter.load_index(emitter.at(pointer, emitter.integer(1)))

    def body(entry: Any, sums: list[Any]) -> list[Any]:
        word = builder.load(emitter.at(entries, entry))
        slot = builder.zext(builder.and_(word, ir.Constant(_WORD, 0xFFFF)), ir.IntType(64))
        code = builder.zext(builder.lshr(word, ir.Constant(_WORD, 16)), ir.IntType(64))
        values = emitter.at(table, builder.mul(slot, stride))
        weight = emitter.spread(builder.load(emitter.at(palette, code)))
        return [
            emitter.multiply_add(
                weight, emitter.load(emitter.at(values, emitter.integer(LANES * j))), total
            )
            for j, total in enumerate(sums)
        ]

    return emitter.loop(begin, end, [ZEROS] * count, body)


def _rectified(emitter: Emitter, values: list[Any], bias: Any) -> list[Any]:
    """Emits ``ReLU(values + bias)``."""
    return [
        emitter.rectify(
            emitter.builder.fadd(value, emitter.load(emitter.at(bias, emitter.integer(LANES * j))))
        )
        for j, value in enumerate(values)
    ]


def _sum_tile(vectors: int) -> Callable[..., None]:
    """Builds ``1/2 ReLU(sum + bias)`` of some columns of one list.

    Args:
        vectors: Columns, in vectors of 16.

    Returns:
        An intrinsic ``(table, table_start, stride, starts, entries, palette, number, bias,
        bias_start, out, out_start)``, all arrays 1-D, starts in elements.
    """

    @intrinsic
    def tile(
        typing_context: Any, table: Any, table_start: Any, stride: Any, starts: Any, entries: Any,
        palette: Any, number: Any, bias: Any, bias_start: Any, out: Any, out_start: Any,
    ) -> Any:  # fmt: skip
        index = types.intp
        signature = types.void(
            table, index, index, starts, entries, palette, index, bias, index, out, index
        )

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitter = Emitter(context, builder, signature, arguments)
            table = emitter.at(emitter.data(0), arguments[1])
            lists = emitter.data(3), emitter.data(4), emitter.data(5)
            values = _list_sum(emitter, table, arguments[2], lists, arguments[6], vectors)
            half = ir.Constant(ZEROS.type, [0.5] * LANES)
            out = emitter.at(emitter.data(9), arguments[10])
            bias = emitter.at(emitter.data(7), arguments[8])
            for j, value in enumerate(_rectified(emitter, values, bias)):
                place = emitter.at(out, emitter.integer(LANES * j))
                emitter.store(builder.fmul(value, half), place)
            return context.get_dummy_value()

        return signature, generate

    built: Callable[..., None] = tile
    return built


def _mean_tile(vectors: int) -> Callable[..., None]:
    """Builds ``scale * sum over nodes of (ReLU(left + bias) + ReLU(right + bias))``, some columns.

    Args:
        vectors: Columns, in vectors of 16.

    Returns:
        An intrinsic ``(table, table_start, width, starts, entries, palette, first, last, bias,
        bias_start, scale, out, out_start)``: node k's lists are 2 k and 2 k + 1 counted from
        ``first`` (the number of the first node's first list) up to ``last``.
    """

    @intrinsic
    def tile(
        typing_context: Any, table: Any, table_start: Any, width: Any, starts: Any, entries: Any,
        palette: Any, first: Any, last: Any, bias: Any, bias_start: Any, scale: Any, out: Any,
        out_start: Any,
    ) -> Any:  # fmt: skip
        index = types.intp
        signature = types.void(
            table, index, index, starts, entries, palette, index, index, bias, index,
            types.float32, out, index,
        )  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitter = Emitter(context, builder, signature, arguments)
            emit_mean(emitter, arguments, vectors)
            return context.get_dummy_value()

        return signature, generate

    built: Callable[..., None] = tile
    return built


def emit_mean(emitter: Emitter, arguments: Any, vectors: int) -> None:
    """Emits the LLVM IR of ``_mean_tile``."""
    builder = emitter.builder
    width, first, last = arguments[2], arguments[6], arguments[7]
    left_table = emitter.at(emitter.data(0), arguments[1])
    right_table = emitter.at(left_table, width)
    stride = builder.add(width, width)
    lists = emitter.data(3), emitter.data(4), emitter.data(5)
    left_bias = emitter.at(emitter.data(8), arguments[9])
    right_bias = emitter.at(left_bias, width)
    one = emitter.integer(1)

    def body(node: Any, totals: list[Any]) -> list[Any]:
        number = builder.add(first, builder.add(node, node))
        left = _list_sum(emitter, left_table, stride, lists, number, vectors)
        left = _rectified(emitter, left, left_bias)
        right = _list_sum(emitter, right_table, stride, lists, builder.add(number, one), vectors)
        right = _rectified(emitter, right, right_bias)
        return [
            builder.fadd(total, builder.fadd(a, b))
            for total, a, b in zip(totals, left, right, strict=True)
        ]

    nodes = builder.ashr(builder.sub(last, first), one)
    totals = emitter.loop(emitter.integer(0), nodes, [ZEROS] * vectors, body)
    out = emitter.at(emitter.data(11), arguments[12])
    factor = emitter.spread(arguments[10])
    for j, total in enumerate(totals):
        emitter.store(builder.fmul(total, factor), emitter.at(out, emitter.integer(LANES * j)))


_wide_sum = _sum_tile(_VECTORS)
_narrow_sum = _sum_tile(1)
_wide_mean = _mean_tile(_VECTORS)
_narrow_mean = _mean_tile(1)


@kernel
def _scalar_sum(
    table: NDArray[np.float32],
    place: Integer,
    stride: Integer,
    starts: NDArray[np.int32],
    entries: NDArray[np.uint32],
    palette: NDArray[np.float32],
    number: Integer,
    bias: np.float32,
) -> np.float32:
    """One element of ``ReLU(sum + bias)``: for widths below 16."""
    total = np.float32(0.0)
    for entry in range(starts[number], starts[number + 1]):
        word = np.int64(entries[entry])
        total += palette[word >> 16] * table[(word & 0xFFFF) * stride + place]
    return max(total + bias, np.float32(0.0))


# The loops over rows are inside the kernels below: handing a dozen arrays to a function costs more
# than a row.


@kernel
def gather_sums(
    table: NDArray[np.float32],
    side: Integer,
    starts: NDArray[np.int32],
    entries: NDArray[np.uint32],
    palette: NDArray[np.float32],
    bias: NDArray[np.float32],
    first: Integer,
    last: Integer,
    out: NDArray[np.float32],
) -> None:
    """Sums of lists ``first`` to ``last`` in one direction.

    Args:
        table: (S, 2 D), flat: the rows below.
        side: 0 along the edges, D against them.
        starts: First entry of each list, and the end of the last.
        entries: See the module.
        palette: The weights.
        bias: (2 D,).
        first: First list.
        last: End of the lists.
        out: (last - first, D), written.
    """
    half = np.float32(0.5)
    width = out.shape[1]
    flat = out.reshape(-1)
    for number in range(first, last):
        place = (number - first) * width
        j = 0
        while j + _COLUMNS <= width:
            _wide_sum(
                table, side + j, 2 * width, starts, entries, palette, number, bias, side + j,
                flat, place + j,
            )  # fmt: skip
            j += _COLUMNS
        while j < width and width >= LANES:
            # The last tile may overlap the one before it; elements get the same bits again.
            j = min(j, width - LANES)
            _narrow_sum(
                table, side + j, 2 * width, starts, entries, palette, number, bias, side + j,
                flat, place + j,
            )  # fmt: skip
            j += LANES
        while j < width:
            flat[place + j] = half * _scalar_sum(
                table, side + j, 2 * width, starts, entries, palette, number, bias[side + j]
            )
            j += 1


@kernel
def gather_means(
    table: NDArray[np.float32],
    starts: NDArray[np.int32],
    entries: NDArray[np.uint32],
    palette: NDArray[np.float32],
    bias: NDArray[np.float32],
    cell_lists: NDArray[np.int32],
    first: Integer,
    last: Integer,
    means: NDArray[np.float32],
) -> None:
    """Means over the nodes of graphs ``first`` to ``last`` after the last layer.

    Args:
        table: (S, 2 D), flat: the rows below.
        starts: First entry of each list, and the end of the last.
        entries: See the module.
        palette: The weights.
        bias: (2 D,).
        cell_lists: (n + 1,) first list of each graph; a node has two, along the edges and against.
        first: First graph.
        last: End of the graphs.
        means: (last - first or more, D), written.
    """
    width = means.shape[1]
    flat = means.reshape(-1)
    for cell in range(first, last):
        place = (cell - first) * width
        begin, end = np.int64(cell_lists[cell]), np.int64(cell_lists[cell + 1])
        share = np.float32(1.0 / (end - begin))
        j = 0
        while j + _COLUMNS <= width:
            _wide_mean(
                table, j, width, starts, entries, palette, begin, end, bias, j, share, flat,
                place + j,
            )  # fmt: skip
            j += _COLUMNS
        while j < width and width >= LANES:
            j = min(j, width - LANES)
            _narrow_mean(
                table, j, width, starts, entries, palette, begin, end, bias, j, share, flat,
                place + j,
            )  # fmt: skip
            j += LANES
        while j < width:
            total = np.float32(0.0)
            for number in range(begin, end, 2):
                left = _scalar_sum(table, j, 2 * width, starts, entries, palette, number, bias[j])
                total += left + _scalar_sum(
                    table, width + j, 2 * width, starts, entries, palette, number + 1,
                    bias[width + j],
                )  # fmt: skip
            flat[place + j] = total * share
            j += 1


@kernel
def _put_rows(
    block: NDArray[np.float32],
    slots: NDArray[np.uint16],
    first: Integer,
    rows: Integer,
    size: Integer,
    table: NDArray[np.float32],
) -> None:
    """Copies the first rows of a block into slots ``slots[first:]`` of a flat table."""
    for i in range(rows):
        target = np.int64(slots[first + i]) * size
        for j in range(size):
            table[target + j] = block[i, j]


@kernel
def _add_products(
    pairs: NDArray[np.uint16],
    first: Integer,
    last: Integer,
    size: Integer,
    products: NDArray[np.float32],
    table: NDArray[np.float32],
) -> None:
    """Adds two products for each pair from ``first`` to ``last``: (along, against, row) slots."""
    for row in range(first, last):
        one = np.int64(pairs[row, 0]) * size
        two = np.int64(pairs[row, 1]) * size
        target = np.int64(pairs[row, 2]) * size
        left, right = products[one : one + size], products[two : two + size]
        out = table[target : target + size]
        for j in range(size):
            out[j] = left[j] + right[j]


@kernel
def run_schedule(
    starts: NDArray[np.int32],
    entries: NDArray[np.uint32],
    palette: NDArray[np.float32],
    sum_slots: NDArray[np.uint16],
    sum_bounds: NDArray[np.int32],
    pairs: NDArray[np.uint16],
    pair_bounds: NDArray[np.int32],
    cell_bounds: NDArray[np.int32],
    cell_lists: NDArray[np.int32],
    parameters: NDArray[np.float32],
    num_types: int,
    width: int,
    head: NDArray[np.int64],
    rectify: bool,
    halved: bool,
    paired: NDArray[np.uint32],
    product_starts: NDArray[np.int64],
    products: NDArray[np.float32],
    row_starts: NDArray[np.int64],
    rows: NDArray[np.float32],
    sums: NDArray[np.float32],
    block: NDArray[np.float32],
    values: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """The raw outputs of a predictor for all graphs of a schedule, in its order.

    Args:
        starts: See ``nprep.predictor.schedule.Schedule`` for this and the next 8.
        entries: Entries of all lists.
        palette: The weights.
        sum_slots: Slot of each sum's product.
        sum_bounds: (L - 1, 2 C + 1).
        pairs: (P, 3).
        pair_bounds: (L - 1, C + 1).
        cell_bounds: (C + 1,).
        cell_lists: (n + 1,).
        parameters: Flat parameters (``nprep.kernels.graphs.train``).
        num_types: Number of node types.
        width: D.
        head: (k + 2,) sizes of the dense stack: D, hidden sizes, 1.
        rectify: Whether its hidden layers end in ReLU.
        halved: Whether products take bfloat16 operands.
        paired: Then the paired matrices of layers 1 to L - 1, one after the other.
        product_starts: (L - 1,) where each layer's buffer begins in ``products``.
        products: Scratch: slots of 2 D for products of sums.
        row_starts: (L,) where each layer's rows begin in ``rows``; for layer 0 unused.
        rows: Scratch: slots of 2 D for rows.
        sums: (ROWS, D) scratch.
        block: (ROWS, 2 D) scratch; its beginning also holds paired sums.
        values: Scratch for the dense stack: as many rows as a chunk has graphs of all sizes.
        out: (n,), written.
    """
    layers = len(sum_bounds) + 1
    double = 2 * width
    pair_depth = (width + 1) // 2
    most: Integer = 0
    for chunk in range(len(cell_bounds) - 1):
        most = max(most, np.int64(cell_bounds[chunk + 1] - cell_bounds[chunk]))
    for chunk in range(len(cell_bounds) - 1):
        offset = num_types * double
        table, bias = parameters[:offset], parameters[offset : offset + double]
        offset += double
        for layer in range(layers - 1):
            matrix = parameters[offset : offset + width * double].reshape(width, double)
            offset += width * double
            held = products[product_starts[layer] :]
            begin, end = (
                np.int64(sum_bounds[layer, 2 * chunk]),
                np.int64(sum_bounds[layer, 2 * chunk + 2]),
            )
            turn = np.int64(sum_bounds[layer, 2 * chunk + 1])
            for first in range(begin, end, ROWS):
                last: Integer = min(first + ROWS, end)
                cut: Integer = min(max(first, turn), last)
                some, product = sums[: last - first], block[: last - first]
                gather_sums(
                    table, 0, starts, entries, palette, bias, first, cut, some[: cut - first]
                )
                gather_sums(
                    table, width, starts, entries, palette, bias, cut, last, some[cut - first :]
                )
                if HAS_BFLOAT16 and halved:
                    size = pair_depth * double
                    right = paired[layer * size : (layer + 1) * size]
                    left = np.empty((last - first, pair_depth), np.uint32)
                    pair_columns(some.view(np.uint32), left)
                    gemm_bfloat16(left, right.reshape(pair_depth, double), product)
                else:
                    gemm(some, matrix, product)
                _put_rows(product, sum_slots, first, last - first, double, held)
            table = rows[row_starts[layer + 1] :]
            _add_products(
                pairs, pair_bounds[layer, chunk], pair_bounds[layer, chunk + 1], double, held, table
            )
            bias = parameters[offset : offset + double]
            offset += double
        first, last = cell_bounds[chunk], cell_bounds[chunk + 1]
        count = np.int64(last - first)
        current = values[: count * width].reshape(count, width)
        gather_means(table, starts, entries, palette, bias, cell_lists, first, last, current)
        place = most * width
        for number in range(len(head) - 2):
            size, height = head[number], head[number + 1]
            matrix = parameters[offset : offset + size * height].reshape(size, height)
            offset += size * height
            following = values[place : place + count * height].reshape(count, height)
            gemm(current, matrix, following)
            finish_dense(following, parameters[offset : offset + height], rectify)
            offset += height
            place += most * height
            current = following
        size = head[len(head) - 2]
        output_dot(
            current, parameters[offset : offset + size], parameters[offset + size], out[first:last]
        )
