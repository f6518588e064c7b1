"""Single-precision matrix products for the small and tall shapes of the predictors.

One call per product costs a general BLAS more than the product itself at these sizes (a step of
training multiplies about 70 x 144 by 144 x 144), and a threaded BLAS makes results depend on the
number of threads. The micro-kernel here holds a tile of C in vector registers and is written as
LLVM IR with 16-wide vectors, which the compiler maps to whatever the processor has (two AVX2
registers, one AVX-512 register, four NEON registers). The order of the additions is fixed, so a
product gives the same bits wherever and in whatever company it is computed on one machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nprep.kernels._jit import kernel

_WIDE = 16
_HALF = 8
# Rows of A handled together: with K = 144 they take 55 kB, which stays in a second-level cache
# while the panels of B pass over them.
_ROW_BLOCK = 96


def _micro_kernel(rows: int, lanes: int) -> Callable[..., None]:
    """Builds the kernel of one tile: ``rows`` x ``lanes`` of C over the whole depth of the product.

    Args:
        rows: Rows of C in the tile; with 16 lanes, 6 rows fill the 16 registers of AVX2.
        lanes: Columns of C in the tile.

    Returns:
        An intrinsic ``(a, a_start, a_row_stride, a_depth_stride, b, b_start, b_stride, c, c_start,
        c_stride, depth, accumulate)`` on 1-D float32 arrays; strides and starts in elements.
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
        accumulate: Any,
    ) -> Any:
        index = types.intp
        signature = types.void(
            a, index, index, index, b, index, index, c, index, index, index, types.boolean
        )

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _emit_tile(context, builder, signature, arguments, rows, lanes)
            return context.get_dummy_value()

        return signature, generate

    built: Callable[..., None] = micro
    return built


def _emit_tile(
    context: Any, builder: Any, signature: Any, arguments: Any, rows: int, lanes: int
) -> None:
    """Emits the LLVM IR of one tile (see :func:`_micro_kernel`)."""
    a, a_start, a_row, a_depth, b, b_start, b_stride, c, c_start, c_stride, depth, accumulate = (
        arguments
    )
    integer, lane_index, real = ir.IntType(64), ir.IntType(32), ir.FloatType()
    vector = ir.VectorType(real, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    splat = ir.Constant(ir.VectorType(lane_index, lanes), [0] * lanes)
    zeros = ir.Constant(vector, [0.0] * lanes)

    def data(position: int, value: Any, start: Any) -> Any:
        array = context.make_array(signature.args[position])(context, builder, value)
        return builder.gep(array.data, [start])

    def load(pointer: Any) -> Any:
        value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        value.align = 4
        return value

    def at_row(pointer: Any, stride: Any, row: int) -> Any:
        return builder.gep(pointer, [builder.mul(stride, ir.Constant(integer, row))])

    a_data, b_data, c_data = data(0, a, a_start), data(4, b, b_start), data(7, c, c_start)
    a_rows = [at_row(a_data, a_row, row) for row in range(rows)]
    c_rows = [at_row(c_data, c_stride, row) for row in range(rows)]
    flag = builder.trunc(accumulate, ir.IntType(1))
    start = [builder.select(flag, load(pointer), zeros) for pointer in c_rows]

    entry = builder.block
    loop, end = builder.append_basic_block("depth"), builder.append_basic_block("store")
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(integer)
    step.add_incoming(ir.Constant(integer, 0), entry)
    sums = [builder.phi(vector) for _ in range(rows)]
    b_vector = load(builder.gep(b_data, [builder.mul(step, b_stride)]))
    a_offset = builder.mul(step, a_depth)
    updated = []
    for row in range(rows):
        scalar = builder.load(builder.gep(a_rows[row], [a_offset]))
        lane = builder.insert_element(undefined, scalar, ir.Constant(lane_index, 0))
        spread = builder.shuffle_vector(lane, undefined, splat)
        # "contract" lets the processor's fused multiply-add be used where there is one.
        product = builder.fmul(spread, b_vector, flags=("contract",))
        updated.append(builder.fadd(product, sums[row], flags=("contract",)))
    following = builder.add(step, ir.Constant(integer, 1))
    step.add_incoming(following, loop)
    for row in range(rows):
        sums[row].add_incoming(start[row], entry)
        sums[row].add_incoming(updated[row], loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, end)
    builder.position_at_end(end)
    for row in range(rows):
        stored = builder.store(updated[row], builder.bitcast(c_rows[row], vector.as_pointer()))
        stored.align = 4


_tile_6x16 = _micro_kernel(6, _WIDE)
_tile_4x16 = _micro_kernel(4, _WIDE)
_tile_1x16 = _micro_kernel(1, _WIDE)
_tile_6x8 = _micro_kernel(6, _HALF)
_tile_1x8 = _micro_kernel(1, _HALF)


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
    accumulate: bool,
) -> None:
    """C = A B, or C += A B, on flat float32 arrays; ``depth`` must be at least 1.

    Args:
        a: Holds A; element (i, k) is at ``a_start + i * a_row + k * a_depth``, so that a transposed
            A costs nothing.
        a_start: Offset of A.
        a_row: Stride of A's rows.
        a_depth: Stride of A along the depth.
        b: Holds B; element (k, j) is at ``b_start + k * b_stride + j``.
        b_start: Offset of B.
        b_stride: Stride of B's rows.
        c: Receives C; element (i, j) is at ``c_start + i * c_stride + j``.
        c_start: Offset of C.
        c_stride: Stride of C's rows.
        rows: Rows of C.
        columns: Columns of C; multiples of 16 are fastest, of 8 fast.
        depth: The inner dimension.
        accumulate: Whether C is added to rather than overwritten.
    """
    for block in range(0, rows, _ROW_BLOCK):
        stop = min(rows, block + _ROW_BLOCK)
        j = 0
        while j + _WIDE <= columns:
            i = block
            while i + 6 <= stop:
                _tile_6x16(
                    a, a_start + i * a_row, a_row, a_depth, b, b_start + j, b_stride,
                    c, c_start + i * c_stride + j, c_stride, depth, accumulate,
                )  # fmt: skip
                i += 6
            if i + 4 <= stop:
                _tile_4x16(
                    a, a_start + i * a_row, a_row, a_depth, b, b_start + j, b_stride,
                    c, c_start + i * c_stride + j, c_stride, depth, accumulate,
                )  # fmt: skip
                i += 4
            while i < stop:
                _tile_1x16(
                    a, a_start + i * a_row, a_row, a_depth, b, b_start + j, b_stride,
                    c, c_start + i * c_stride + j, c_stride, depth, accumulate,
                )  # fmt: skip
                i += 1
            j += _WIDE
        if j + _HALF <= columns:
            i = block
            while i + 6 <= stop:
                _tile_6x8(
                    a, a_start + i * a_row, a_row, a_depth, b, b_start + j, b_stride,
                    c, c_start + i * c_stride + j, c_stride, depth, accumulate,
                )  # fmt: skip
                i += 6
            while i < stop:
                _tile_1x8(
                    a, a_start + i * a_row, a_row, a_depth, b, b_start + j, b_stride,
                    c, c_start + i * c_stride + j, c_stride, depth, accumulate,
                )  # fmt: skip
                i += 1
            j += _HALF
        while j < columns:
            for i in range(block, stop):
                target = c_start + i * c_stride + j
                total = c[target] if accumulate else np.float32(0.0)
                for k in range(depth):
                    total += a[a_start + i * a_row + k * a_depth] * b[b_start + k * b_stride + j]
                c[target] = total
            j += 1


@kernel
def gemm(
    a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32], accumulate: bool
) -> None:
    """C = A B (or C += A B) for C-contiguous float32 matrices.

    Args:
        a: (M, K).
        b: (K, N).
        c: (M, N), overwritten or added to.
        accumulate: Whether to add to ``c``.
    """
    rows, depth = a.shape
    columns = b.shape[1]
    strided_gemm(
        a.reshape(-1), 0, depth, 1, b.reshape(-1), 0, columns, c.reshape(-1), 0, columns,
        rows, columns, depth, accumulate,
    )  # fmt: skip


@kernel
def gemm_tn(
    a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32], accumulate: bool
) -> None:
    """C = A^T B (or C += A^T B) for C-contiguous float32 matrices: a weight gradient.

    Args:
        a: (K, M).
        b: (K, N).
        c: (M, N), overwritten or added to.
        accumulate: Whether to add to ``c``.
    """
    depth, rows = a.shape
    columns = b.shape[1]
    strided_gemm(
        a.reshape(-1), 0, 1, rows, b.reshape(-1), 0, columns, c.reshape(-1), 0, columns,
        rows, columns, depth, accumulate,
    )  # fmt: skip


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
def transpose(a: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Writes A^T for a C-contiguous float32 matrix, tile by tile.

    Args:
        a: (M, N).
        out: (N, M), overwritten.
    """
    rows, columns = a.shape
    flat, flat_out = a.reshape(-1), out.reshape(-1)
    whole_rows, whole_columns = rows - rows % 8, columns - columns % 8
    for row in range(0, whole_rows, 8):
        for column in range(0, whole_columns, 8):
            _turn_tile(flat, row * columns + column, columns, flat_out, column * rows + row, rows)
        for i in range(row, row + 8):
            for j in range(whole_columns, columns):
                out[j, i] = a[i, j]
    for i in range(whole_rows, rows):
        for j in range(columns):
            out[j, i] = a[i, j]
