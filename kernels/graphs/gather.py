"""The cheap half of a GCN layer: sums over neighbours, in registers from the first to the last.

Rows gather other rows by lists: ``starts`` (R + 1,) int32 gives each row's entries, ``sources``
int32 the rows that it reads and ``weights`` float32 their weights; every row has an entry, itself.
A layer has one set of lists along the edges (``out_``) and one against them (``in_``): the first
reads the left halves of the rows of ``products`` (R', 2 D), the second the right halves. ``order``
(n,) int32 names the rows that are computed: number r of the output belongs to row ``order[r]``.
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
from nprep.kernels.numeric.vector import LANES, VECTOR, ZEROS, Emitter
from nprep.kernels.simd import SIMD

# Vectors of 16 columns of a wide tile: those of two sums fit the registers. The paper's widths are
# multiples of 48 but for one.
VECTORS = {"avx512": 3, "avx2": 2, "neon": 2, "plain": 1}
_VECTORS = VECTORS[SIMD]
_COLUMNS = _VECTORS * LANES


def _weighted_sum(
    emitter: Emitter, products: Any, stride: Any, lists: tuple[Any, Any, Any], row: Any, count: int
) -> list[Any]:
    """Emits the sum over a row's entries of ``count`` vectors from ``products`` on."""
    builder = emitter.builder
    starts, sources, weights = lists
    pointer = emitter.at(starts, row)
    begin = emitter.load_index(pointer)
    end = emitter.load_index(emitter.at(pointer, emitter.integer(1)))

    def body(entry: Any, sums: list[Any]) -> list[Any]:
        source = emitter.load_index(emitter.at(sources, entry))
        values = emitter.at(products, builder.mul(source, stride))
        weight = emitter.spread(builder.load(emitter.at(weights, entry)))
        return [
            emitter.multiply_add(
                weight, emitter.load(emitter.at(values, emitter.integer(j))), total
            )
            for j, total in zip(range(0, LANES * count, LANES), sums, strict=True)
        ]

    return emitter.loop(begin, end, [ZEROS] * count, body)


def _layer_tile(vectors: int) -> Callable[..., None]:
    """Builds ``1/2 ReLU(left + bias) + 1/2 ReLU(right + bias)`` of a row, some columns.

    Args:
        vectors: Columns, in vectors of 16.

    Returns:
        An intrinsic ``(products, stride, column, width, out_starts, out_sources, out_weights,
        in_starts, in_sources, in_weights, bias, row, out, out_start, sums, sums_start)``, all
        arrays 1-D, which stores what it rectifies too; ``column`` is added to both starts.
    """

    @intrinsic
    def tile(
        typing_context: Any, products: Any, stride: Any, column: Any, width: Any, out_starts: Any,
        out_sources: Any, out_weights: Any, in_starts: Any, in_sources: Any, in_weights: Any,
        bias: Any, row: Any, out: Any, out_start: Any, sums: Any, sums_start: Any,
    ) -> Any:  # fmt: skip
        index = types.intp
        signature = types.void(
            products, index, index, index, out_starts, out_sources, out_weights, in_starts,
            in_sources, in_weights, bias, index, out, index, sums, index,
        )  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitter = Emitter(context, builder, signature, arguments)
            emit_layer(emitter, arguments, vectors)
            return context.get_dummy_value()

        return signature, generate

    built: Callable[..., None] = tile
    return built


def emit_layer(emitter: Emitter, arguments: Any, vectors: int) -> None:
    """Emits the LLVM IR of ``_layer_tile``."""
    builder = emitter.builder
    stride, column, width = arguments[1:4]
    row, out_start, sums_start = (arguments[k] for k in (11, 13, 15))
    left_products = emitter.at(emitter.data(0), column)
    right_products = emitter.at(left_products, width)
    out_lists = emitter.data(4), emitter.data(5), emitter.data(6)
    in_lists = emitter.data(7), emitter.data(8), emitter.data(9)
    left_bias = emitter.at(emitter.data(10), column)
    right_bias = emitter.at(left_bias, width)
    places = [emitter.integer(LANES * j) for j in range(vectors)]
    sums = emitter.at(emitter.data(14), sums_start, column)
    sides: list[list[Any]] = []
    for products, lists, bias, kept in (
        (left_products, out_lists, left_bias, sums),
        (right_products, in_lists, right_bias, emitter.at(sums, width)),
    ):
        values = _weighted_sum(emitter, products, stride, lists, row, vectors)
        sides.append([])
        for value, place in zip(values, places, strict=True):
            total = builder.fadd(value, emitter.load(emitter.at(bias, place)))
            emitter.store(total, emitter.at(kept, place))
            sides[-1].append(emitter.rectify(total))
    out = emitter.at(emitter.data(12), out_start, column)
    half = ir.Constant(VECTOR, [0.5] * LANES)
    for left, right, place in zip(*sides, places, strict=True):
        emitter.store(builder.fmul(builder.fadd(left, right), half), emitter.at(out, place))


def _sum_tile(vectors: int) -> Callable[..., None]:
    """Builds the weighted sum of some columns of the rows that a row gathers.

    Args:
        vectors: Columns, in vectors of 16.

    Returns:
        An intrinsic ``(products, stride, column, starts, sources, weights, row, out, out_start)``;
        ``column`` is added to both starts.
    """

    @intrinsic
    def tile(
        typing_context: Any, products: Any, stride: Any, column: Any, starts: Any, sources: Any,
        weights: Any, row: Any, out: Any, out_start: Any,
    ) -> Any:  # fmt: skip
        index = types.intp
        signature = types.void(products, index, index, starts, sources, weights, index, out, index)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitter = Emitter(context, builder, signature, arguments)
            stride, column, row, out_start = (arguments[k] for k in (1, 2, 6, 8))
            lists = emitter.data(3), emitter.data(4), emitter.data(5)
            products = emitter.at(emitter.data(0), column)
            sums = _weighted_sum(emitter, products, stride, lists, row, vectors)
            out = emitter.at(emitter.data(7), out_start, column)
            for j, total in enumerate(sums):
                emitter.store(total, emitter.at(out, emitter.integer(LANES * j)))
            return context.get_dummy_value()

        return signature, generate

    built: Callable[..., None] = tile
    return built


_wide_layer = _layer_tile(_VECTORS)
_narrow_layer = _layer_tile(1)
_wide_sum = _sum_tile(_VECTORS)
_narrow_sum = _sum_tile(1)


@kernel
def _scalar_sum(
    products: NDArray[np.float32],
    place: Integer,
    stride: Integer,
    starts: NDArray[np.int32],
    sources: NDArray[np.int32],
    weights: NDArray[np.float32],
    row: Integer,
) -> np.float32:
    """One element of a gathered row: for widths below 16."""
    total = np.float32(0.0)
    for entry in range(starts[row], starts[row + 1]):
        total += weights[entry] * products[sources[entry] * stride + place]
    return total


# The loops over rows are inside the kernels below: handing a dozen arrays to a function costs more
# than a row.


@kernel
def gather_kept(
    products: NDArray[np.float32],
    out_starts: NDArray[np.int32],
    out_sources: NDArray[np.int32],
    out_weights: NDArray[np.float32],
    in_starts: NDArray[np.int32],
    in_sources: NDArray[np.int32],
    in_weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    order: NDArray[np.int32],
    states: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """States of a layer's rows: 1/2 ReLU(left) + 1/2 ReLU(right); keeps what was rectified.

    Args:
        products: (R', 2 D) rows below times [W+ | W-].
        out_starts: Lists along the edges (see the module), as the next two.
        out_sources: Entries.
        out_weights: Entries.
        in_starts: Lists against the edges, as the next two.
        in_sources: Entries.
        in_weights: Entries.
        bias: (2 D,), added before rectifying.
        order: (n,) rows.
        states: (n or more, D), written.
        sums: (n or more, 2 D), written: left and right halves before ReLU, biases added.
    """
    half, zero = np.float32(0.5), np.float32(0.0)
    width = states.shape[1]
    flat, out, kept = products.reshape(-1), states.reshape(-1), sums.reshape(-1)
    for number in range(len(order)):
        row = np.int64(order[number])
        place = number * width
        j = 0
        while j + _COLUMNS <= width:
            _wide_layer(
                flat, 2 * width, j, width, out_starts, out_sources, out_weights, in_starts,
                in_sources, in_weights, bias, row, out, place, kept, 2 * place,
            )  # fmt: skip
            j += _COLUMNS
        while j < width and width >= LANES:
            j = min(j, width - LANES)
            _narrow_layer(
                flat, 2 * width, j, width, out_starts, out_sources, out_weights, in_starts,
                in_sources, in_weights, bias, row, out, place, kept, 2 * place,
            )  # fmt: skip
            j += LANES
        while j < width:
            left = _scalar_sum(flat, j, 2 * width, out_starts, out_sources, out_weights, row)
            right = _scalar_sum(flat, width + j, 2 * width, in_starts, in_sources, in_weights, row)
            left += bias[j]
            right += bias[width + j]
            kept[2 * place + j] = left
            kept[2 * place + width + j] = right
            out[place + j] = half * (max(left, zero) + max(right, zero))
            j += 1


@kernel
def gather_half(
    products: NDArray[np.float32],
    column: Integer,
    starts: NDArray[np.int32],
    sources: NDArray[np.int32],
    weights: NDArray[np.float32],
    order: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """Weighted sums of half-rows: ``out[r, column : column + D]`` for row ``order[r]``.

    Args:
        products: (R', 2 D).
        column: 0 for the left halves, D for the right ones.
        starts: Lists (see the module), as the next two.
        sources: Entries.
        weights: Entries.
        order: (n,) rows.
        out: (n or more, 2 D), one half written.
    """
    stride = products.shape[1]
    width = stride // 2
    flat, flat_out = products.reshape(-1)[column:], out.reshape(-1)[column:]
    for number in range(len(order)):
        row = np.int64(order[number])
        place = number * stride
        j = 0
        while j + _COLUMNS <= width:
            _wide_sum(flat, stride, j, starts, sources, weights, row, flat_out, place)
            j += _COLUMNS
        while j < width and width >= LANES:
            j = min(j, width - LANES)
            _narrow_sum(flat, stride, j, starts, sources, weights, row, flat_out, place)
            j += LANES
        while j < width:
            flat_out[place + j] = _scalar_sum(flat, j, stride, starts, sources, weights, row)
            j += 1
