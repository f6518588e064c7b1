"""Small matrix products inside compiled loops: no calls out, no threads, no allocation.

One call per product costs a general BLAS more than the product itself at these sizes (a step of
training multiplies about 70 x 144 by 144 x 288), and a threaded BLAS makes results depend on the
number of threads. The micro-kernel here holds a tile of C in vector registers. Every element of C
is summed in the order of the depth, whatever tile it falls into, so a product gives the same bits
wherever and in whatever company it is computed on one machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.numeric.vector import LANES, ZEROS, Emitter
from nprep.kernels.simd import SIMD

# Rows of the tiles, and columns of the widest, in vectors of 16. The largest takes 24 of the 32
# registers of AVX-512 for C and 2 for B; of the 16 of AVX2 12 and 2; of the 32 of NEON 24 and 4; of
# 16 short ones 12 and, one after the other, 1.
TILES = {
    "avx512": (12, 8, 4, 2),
    "avx2": (6, 4, 4, 1),
    "neon": (6, 4, 4, 1),
    "plain": (3, 2, 2, 1),
}
_TALL, _MIDDLE, _LOW, _VECTORS = TILES[SIMD]
_WIDE = _VECTORS * LANES
# Rows of A handled together: with K = 144 they take 55 kB, which stays in a second-level cache
# while the panels of B pass over them.
_ROW_BLOCK = 96


def _micro_kernel(rows: int, vectors: int) -> Callable[..., None]:
    """Builds the kernel of one tile: ``rows`` x 16 ``vectors`` of C over the depth of the product.

    Args:
        rows: Rows of C in the tile.
        vectors: Its columns, in vectors of 16.

    Returns:
        An intrinsic ``(a, a_start, a_row_stride, a_depth_stride, b, b_start, b_stride, c, c_start,
        c_stride, depth)`` on 1-D float32 arrays; strides and starts in elements.
    """

    @intrinsic
    def micro(
        typing_context: Any,
        a: Any,
        a_start: Any,
        a_row_stride: Any,
        a_depth_stride: Any,
        b: Any,
        b_start: Any,
        b_stride: Any,
        c: Any,
        c_start: Any,
        c_stride: Any,
        depth: Any,
    ) -> Any:
        index = types.intp
        signature = types.void(a, index, index, index, b, index, index, c, index, index, index)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitter = Emitter(context, builder, signature, arguments)
            emit_tile(emitter, arguments, rows, vectors)
            return context.get_dummy_value()

        return signature, generate

    built: Callable[..., None] = micro
    return built


def emit_tile(emitter: Emitter, arguments: Any, rows: int, vectors: int) -> None:
    """Emits the LLVM IR of one tile (see ``_micro_kernel``)."""
    builder, integer = emitter.builder, emitter.integer
    _, a_start, a_row, a_depth, _, b_start, b_stride, _, c_start, c_stride, depth = arguments
    a_data, b_data = emitter.at(emitter.data(0), a_start), emitter.at(emitter.data(4), b_start)
    c_data = emitter.at(emitter.data(7), c_start)
    a_rows = [emitter.at(a_data, builder.mul(a_row, integer(row))) for row in range(rows)]

    def body(step: Any, sums: list[Any]) -> list[Any]:
        b_row = emitter.at(b_data, builder.mul(step, b_stride))
        right = [emitter.load(emitter.at(b_row, integer(LANES * j))) for j in range(vectors)]
        offset = builder.mul(step, a_depth)
        updated = []
        for row in range(rows):
            left = emitter.spread(builder.load(emitter.at(a_rows[row], offset)))
            for j in range(vectors):
                total = sums[row * vectors + j]
                updated.append(emitter.multiply_add(left, right[j], total))
        return updated

    sums = emitter.loop(integer(0), depth, [ZEROS] * (rows * vectors), body)
    for row in range(rows):
        c_row = emitter.at(c_data, builder.mul(c_stride, integer(row)))
        for j in range(vectors):
            emitter.store(sums[row * vectors + j], emitter.at(c_row, integer(LANES * j)))


_tall_wide = _micro_kernel(_TALL, _VECTORS)
_middle_wide = _micro_kernel(_MIDDLE, _VECTORS)
_low_wide = _micro_kernel(_LOW, _VECTORS)
_one_wide = _micro_kernel(1, _VECTORS)
_tall_narrow = _micro_kernel(_TALL, 1)
_middle_narrow = _micro_kernel(_MIDDLE, 1)
_low_narrow = _micro_kernel(_LOW, 1)
_one_narrow = _micro_kernel(1, 1)


@kernel
def _wide_panel(
    a: NDArray[np.float32],
    a_start: int,
    a_row: int,
    a_depth: int,
    b: NDArray[np.float32],
    b_start: int,
    b_stride: int,
    c: NDArray[np.float32],
    c_start: int,
    c_stride: int,
    first: int,
    stop: int,
    depth: int,
) -> None:
    """Rows ``first`` to ``stop`` of one panel of ``_WIDE`` columns (see ``strided_gemm``).

    Rows that fill no tall tile are covered by one that overlaps rows done before, which get the
    same bits again.
    """
    i = first
    while i < stop:
        left = stop - i
        if left >= _TALL or (left > _MIDDLE and stop >= _TALL):
            i = min(i, stop - _TALL)
            _tall_wide(
                a, a_start + i * a_row, a_row, a_depth, b, b_start, b_stride,
                c, c_start + i * c_stride, c_stride, depth,
            )  # fmt: skip
            i += _TALL
        elif left >= _MIDDLE or (left > _LOW and stop >= _MIDDLE):
            i = min(i, stop - _MIDDLE)
            _middle_wide(
                a, a_start + i * a_row, a_row, a_depth, b, b_start, b_stride,
                c, c_start + i * c_stride, c_stride, depth,
            )  # fmt: skip
            i += _MIDDLE
        elif stop >= _LOW:
            i = min(i, stop - _LOW)
            _low_wide(
                a, a_start + i * a_row, a_row, a_depth, b, b_start, b_stride,
                c, c_start + i * c_stride, c_stride, depth,
            )  # fmt: skip
            i += _LOW
        else:
            _one_wide(
                a, a_start + i * a_row, a_row, a_depth, b, b_start, b_stride,
                c, c_start + i * c_stride, c_stride, depth,
            )  # fmt: skip
            i += 1


@kernel
def _narrow_panel(
    a: NDArray[np.float32],
    a_start: int,
    a_row: int,
    a_depth: int,
    b: NDArray[np.float32],
    b_start: int,
    b_stride: int,
    c: NDArray[np.float32],
    c_start: int,
    c_stride: int,
    first: int,
    stop: int,
    depth: int,
) -> None:
    """Rows ``first`` to ``stop`` of one panel of 16 columns (see ``_wide_panel``)."""
    i = first
    while i < stop:
        left = stop - i
        if left >= _TALL or (left > _MIDDLE and stop >= _TALL):
            i = min(i, stop - _TALL)
            _tall_narrow(
                a, a_start + i * a_row, a_row, a_depth, b, b_start, b_stride,
                c, c_start + i * c_stride, c_stride, depth,
            )  # fmt: skip
            i += _TALL
        elif left >= _MIDDLE or (left > _LOW and stop >= _MIDDLE):
            i = min(i, stop - _MIDDLE)
            _middle_narrow(
                a, a_start + i * a_row, a_row, a_depth, b, b_start, b_stride,
                c, c_start + i * c_stride, c_stride, depth,
            )  # fmt: skip
            i += _MIDDLE
        elif stop >= _LOW:
            i = min(i, stop - _LOW)
            _low_narrow(
                a, a_start + i * a_row, a_row, a_depth, b, b_start, b_stride,
                c, c_start + i * c_stride, c_stride, depth,
            )  # fmt: skip
            i += _LOW
        else:
            _one_narrow(
                a, a_start + i * a_row, a_row, a_depth, b, b_start, b_stride,
                c, c_start + i * c_stride, c_stride, depth,
            )  # fmt: skip
            i += 1


@kernel
def _scalar_panel(
    a: NDArray[np.float32],
    a_start: int,
    a_row: int,
    a_depth: int,
    b: NDArray[np.float32],
    b_start: int,
    b_stride: int,
    c: NDArray[np.float32],
    c_start: int,
    c_stride: int,
    rows: int,
    columns: int,
    depth: int,
) -> None:
    """A product with fewer than 16 columns."""
    for i in range(rows):
        for j in range(columns):
            c[c_start + i * c_stride + j] = np.float32(0.0)
    # The depth comes first, so that no sum waits for its last term.
    for k in range(depth):
        for i in range(rows):
            left = a[a_start + i * a_row + k * a_depth]
            for j in range(columns):
                c[c_start + i * c_stride + j] += left * b[b_start + k * b_stride + j]


@kernel
def strided_gemm(
    a: NDArray[np.float32],
    a_start: int,
    a_row: int,
    a_depth: int,
    b: NDArray[np.float32],
    b_start: int,
    b_stride: int,
    c: NDArray[np.float32],
    c_start: int,
    c_stride: int,
    rows: int,
    columns: int,
    depth: int,
) -> None:
    """C = A B on flat float32 arrays; ``depth`` must be at least 1.

    Args:
        a: Holds A; element (i, k) is at ``a_start + i * a_row + k * a_depth``, so that a transposed
            A costs nothing.
        a_start: Offset of A.
        a_row: Stride of A's rows.
        a_depth: Stride of A along the depth.
        b: Holds B; element (k, j) is at ``b_start + k * b_stride + j``.
        b_start: Offset of B.
        b_stride: Stride of B's rows.
        c: Receives C, which must not overlap A or B; element (i, j) is at
            ``c_start + i * c_stride + j``.
        c_start: Offset of C.
        c_stride: Stride of C's rows.
        rows: Rows of C.
        columns: Columns of C; multiples of 16 are fastest, few are slow.
        depth: The inner dimension.
    """
    if columns < LANES:
        _scalar_panel(
            a, a_start, a_row, a_depth, b, b_start, b_stride, c, c_start, c_stride,
            rows, columns, depth,
        )  # fmt: skip
        return
    for block in range(0, rows, _ROW_BLOCK):
        stop = min(rows, block + _ROW_BLOCK)
        j = 0
        while j + _WIDE <= columns:
            _wide_panel(
                a, a_start, a_row, a_depth, b, b_start + j, b_stride, c, c_start + j, c_stride,
                block, stop, depth,
            )  # fmt: skip
            j += _WIDE
        while j < columns:
            # The last panel may overlap the one before it; elements get the same bits again.
            j = min(j, columns - LANES)
            _narrow_panel(
                a, a_start, a_row, a_depth, b, b_start + j, b_stride, c, c_start + j, c_stride,
                block, stop, depth,
            )  # fmt: skip
            j += LANES


@kernel
def gemm(a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> None:
    """C = A B for C-contiguous float32 matrices.

    Args:
        a: (M, K).
        b: (K, N).
        c: (M, N), overwritten; must not overlap the others.
    """
    rows, depth = a.shape
    columns = b.shape[1]
    strided_gemm(
        a.reshape(-1), 0, depth, 1, b.reshape(-1), 0, columns, c.reshape(-1), 0, columns,
        rows, columns, depth,
    )  # fmt: skip


@kernel
def gemm_tn(a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> None:
    """C = A^T B for C-contiguous float32 matrices: a weight gradient.

    Args:
        a: (K, M).
        b: (K, N).
        c: (M, N), overwritten; must not overlap the others.
    """
    depth, rows = a.shape
    columns = b.shape[1]
    strided_gemm(
        a.reshape(-1), 0, 1, rows, b.reshape(-1), 0, columns, c.reshape(-1), 0, columns,
        rows, columns, depth,
    )  # fmt: skip


@kernel
def gemm_nt(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
    panel: NDArray[np.float32],
) -> None:
    """C = A B^T for C-contiguous float32 matrices: the gradient of what a matrix multiplied.

    B is transposed some columns of C at a time, which stay in a first-level cache.

    Args:
        a: (M, K).
        b: (N, K).
        c: (M, N), overwritten; must not overlap the others.
        panel: Scratch for as many elements as B has.
    """
    rows, depth = a.shape
    columns = b.shape[0]
    left, right, out = a.reshape(-1), b.reshape(-1), c.reshape(-1)
    j = 0
    while j < columns:
        # The last columns may overlap those before them; elements get the same bits again.
        count = _WIDE if j + _WIDE <= columns else min(LANES, columns)
        j = min(j, columns - count)
        transpose_part(right, j * depth, depth, count, depth, panel)
        strided_gemm(left, 0, depth, 1, panel, 0, count, out, j, columns, rows, count, depth)
        j += count


@intrinsic
def _transpose_8x8(
    typing_context: Any, a: Any, a_start: Any, a_stride: Any, b: Any, b_start: Any, b_stride: Any
) -> Any:
    """Transposes one 8 x 8 tile between flat float32 arrays, in registers."""
    index = types.intp
    signature = types.void(a, index, index, b, index, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_start, a_stride, b, b_start, b_stride = arguments
        integer, lane_index = ir.IntType(64), ir.IntType(32)
        vector = ir.VectorType(ir.FloatType(), 8)
        a_data = context.make_array(signature.args[0])(context, builder, a).data
        b_data = context.make_array(signature.args[3])(context, builder, b).data

        def row(data: Any, start: Any, stride: Any, number: int) -> Any:
            offset = builder.add(start, builder.mul(stride, ir.Constant(integer, number)))
            return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())

        def shuffle(first: Any, second: Any, lanes: list[int]) -> Any:
            mask = ir.Constant(ir.VectorType(lane_index, 8), lanes)
            return builder.shuffle_vector(first, second, mask)

        rows = []
        for number in range(8):
            value = builder.load(row(a_data, a_start, a_stride, number))
            value.align = 4
            rows.append(value)
        # Interleave neighbours, then pairs, then halves: three rounds of swaps transpose 8 x 8.
        low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
        pairs = [shuffle(rows[i], rows[i + 1], m) for i in (0, 2, 4, 6) for m in (low, high)]
        low, high = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
        quads = []
        for i in (0, 1, 4, 5):
            quads += [shuffle(pairs[i], pairs[i + 2], m) for m in (low, high)]
        low, high = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
        columns = [shuffle(quads[i], quads[i + 4], low) for i in range(4)]
        columns += [shuffle(quads[i], quads[i + 4], high) for i in range(4)]
        for number, value in enumerate(columns):
            builder.store(value, row(b_data, b_start, b_stride, number)).align = 4
        return context.get_dummy_value()

    return signature, generate


# A typed name: what numba makes of an intrinsic hides its own argument.
_turn_tile = cast(Callable[..., None], _transpose_8x8)


@kernel
def transpose_part(
    flat: NDArray[np.float32],
    start: Integer,
    stride: Integer,
    rows: Integer,
    columns: Integer,
    out: NDArray[np.float32],
) -> None:
    """Writes the transpose of a part of a matrix, tile by tile.

    Args:
        flat: Holds the matrix.
        start: First element of the part.
        stride: Between rows of the matrix.
        rows: Of the part.
        columns: Of the part.
        out: Flat; its first ``columns * rows`` elements are overwritten.
    """
    whole_rows, whole_columns = rows - rows % 8, columns - columns % 8
    for row in range(0, whole_rows, 8):
        for column in range(0, whole_columns, 8):
            _turn_tile(flat, start + row * stride + column, stride, out, column * rows + row, rows)
        for i in range(row, row + 8):
            for j in range(whole_columns, columns):
                out[j * rows + i] = flat[start + i * stride + j]
    for i in range(whole_rows, rows):
        for j in range(columns):
            out[j * rows + i] = flat[start + i * stride + j]
