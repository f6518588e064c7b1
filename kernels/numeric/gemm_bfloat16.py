"""Matrix products of bfloat16 numbers with float32 sums, where the processor multiplies such pairs.

A number keeps the first 16 bits of a float32, rounded to nearest even. Operands hold pairs along
the depth in one uint32, the first number in its low half: A is (M, P) with element (i, p) =
(A[i, 2p], A[i, 2p + 1]), B is (P, N) likewise along its rows; an odd depth ends in a zero. One
instruction of AVX-512 BF16 multiplies 32 pairs of numbers, twice as many as in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.numeric.vector import LANES, ZEROS, Emitter
from nprep.kernels.simd import HAS_BFLOAT16

# Whether the products below can run here.
AVAILABLE = HAS_BFLOAT16
if AVAILABLE:
    # The instruction is written as assembly, since llvmlite has no type for its operands.
    binding.initialize_native_asmparser()

_TALL, _LOW = 12, 4
_WIDE = 2 * LANES
_ROW_BLOCK = 96
_PAIRS = ir.VectorType(ir.IntType(32), LANES)


def _micro_kernel(rows: int, vectors: int) -> Callable[..., None]:
    """Builds the kernel of a tile of ``rows`` x 16 ``vectors``, as in ``gemm.py``.

    Returns:
        An intrinsic ``(a, a_start, a_stride, b, b_start, b_stride, c, c_start, c_stride, pairs)``
        on 1-D arrays.
    """

    @intrinsic
    def micro(
        typing_context: Any, a: Any, a_start: Any, a_stride: Any, b: Any, b_start: Any,
        b_stride: Any, c: Any, c_start: Any, c_stride: Any, pairs: Any,
    ) -> Any:  # fmt: skip
        index = types.intp
        signature = types.void(a, index, index, b, index, index, c, index, index, index)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitter = Emitter(context, builder, signature, arguments)
            _emit_tile(emitter, arguments, rows, vectors)
            return context.get_dummy_value()

        return signature, generate

    built: Callable[..., None] = micro
    return built


def _emit_tile(emitter: Emitter, arguments: Any, rows: int, vectors: int) -> None:
    """Emits the LLVM IR of one tile (see ``_micro_kernel``)."""
    builder, integer = emitter.builder, emitter.integer
    _, a_start, a_stride, _, b_start, b_stride, _, c_start, c_stride, pairs = arguments
    a_data, b_data = emitter.at(emitter.data(0), a_start), emitter.at(emitter.data(3), b_start)
    c_data = emitter.at(emitter.data(6), c_start)
    a_rows = [emitter.at(a_data, builder.mul(a_stride, integer(row))) for row in range(rows)]
    lane = ir.IntType(32)
    undefined = ir.Constant(_PAIRS, ir.Undefined)
    places = ir.Constant(_PAIRS, [0] * LANES)
    product = ir.FunctionType(ZEROS.type, [ZEROS.type, _PAIRS, _PAIRS])

    def load(pointer: Any) -> Any:
        value = builder.load(builder.bitcast(pointer, _PAIRS.as_pointer()))
        value.align = 4
        return value

    def body(step: Any, sums: list[Any]) -> list[Any]:
        b_row = emitter.at(b_data, builder.mul(step, b_stride))
        right = [load(emitter.at(b_row, integer(LANES * j))) for j in range(vectors)]
        updated = []
        for row in range(rows):
            pair = builder.load(emitter.at(a_rows[row], step))
            first = builder.insert_element(undefined, pair, ir.Constant(lane, 0))
            left = builder.shuffle_vector(first, undefined, places)
            updated += [
                builder.asm(
                    product,
                    "vdpbf16ps $3, $2, $0",
                    "=v,0,v,v",
                    [sums[row * vectors + j], left, right[j]],
                    False,
                )
                for j in range(vectors)
            ]
        return updated

    sums = emitter.loop(integer(0), pairs, [ZEROS] * (rows * vectors), body)
    for row in range(rows):
        c_row = emitter.at(c_data, builder.mul(c_stride, integer(row)))
        for j in range(vectors):
            emitter.store(sums[row * vectors + j], emitter.at(c_row, integer(LANES * j)))


_tall_wide = _micro_kernel(_TALL, 2)
_low_wide = _micro_kernel(_LOW, 2)
_one_wide = _micro_kernel(1, 2)
_tall_narrow = _micro_kernel(_TALL, 1)
_low_narrow = _micro_kernel(_LOW, 1)
_one_narrow = _micro_kernel(1, 1)


@kernel
def gemm_bfloat16(a: NDArray[np.uint32], b: NDArray[np.uint32], c: NDArray[np.float32]) -> None:
    """C = A B for C-contiguous matrices of pairs (see the module).

    Args:
        a: (M, P).
        b: (P, N), N at least 16.
        c: (M, N) float32, overwritten.
    """
    rows, pairs = a.shape
    columns = b.shape[1]
    left, right, out = a.reshape(-1), b.reshape(-1), c.reshape(-1)
    for block in range(0, rows, _ROW_BLOCK):
        stop = min(rows, block + _ROW_BLOCK)
        j = 0
        while j < columns:
            wide = j + _WIDE <= columns
            # The last tiles may overlap those before; elements get the same bits again.
            j = j if wide else min(j, columns - LANES)
            i = block
            while i < stop:
                if stop - i >= _TALL or (stop - i > _LOW and stop >= _TALL):
                    i = min(i, stop - _TALL)
                    step = _TALL
                elif stop >= _LOW:
                    i = min(i, stop - _LOW)
                    step = _LOW
                else:
                    step = 1
                a_start, c_start = i * pairs, i * columns + j
                if step == _TALL and wide:
                    _tall_wide(
                        left, a_start, pairs, right, j, columns, out, c_start, columns, pairs
                    )
                elif step == _TALL:
                    _tall_narrow(
                        left, a_start, pairs, right, j, columns, out, c_start, columns, pairs
                    )
                elif step == _LOW and wide:
                    _low_wide(left, a_start, pairs, right, j, columns, out, c_start, columns, pairs)
                elif step == _LOW:
                    _low_narrow(
                        left, a_start, pairs, right, j, columns, out, c_start, columns, pairs
                    )
                elif wide:
                    _one_wide(left, a_start, pairs, right, j, columns, out, c_start, columns, pairs)
                else:
                    _one_narrow(
                        left, a_start, pairs, right, j, columns, out, c_start, columns, pairs
                    )
                i += step
            j += _WIDE if wide else LANES


@kernel
def _rounded(bits: Integer) -> Integer:
    """The upper half of a finite float32's bits, rounded to nearest even."""
    bits = np.uint32(bits)
    return (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


@kernel
def pair_columns(values: NDArray[np.uint32], out: NDArray[np.uint32]) -> None:
    """Pairs of an A operand.

    Args:
        values: (M, K) float32, viewed as uint32.
        out: (M, ceil(K / 2)), overwritten.
    """
    rows, depth = values.shape
    for i in range(rows):
        line, pairs = values[i], out[i]
        for p in range(depth // 2):
            pairs[p] = _rounded(line[2 * p]) | (_rounded(line[2 * p + 1]) << np.uint32(16))
        if depth % 2:
            pairs[depth // 2] = _rounded(line[depth - 1])


def pair_rows(matrix: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Pairs of a B operand: (ceil(K / 2), N) uint32 from (K, N) float32."""
    depth, columns = matrix.shape
    padded = np.zeros((depth + depth % 2, columns), np.float32)
    padded[:depth] = matrix
    bits = padded.view(np.uint32)
    halves = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    return np.ascontiguousarray(halves[0::2] | (halves[1::2] << 16))
