"""MD5 on 16 messages at a time, one in each lane of a vector.

MD5 is a chain of dependent 32-bit operations, so one message cannot be computed faster, but a
vector of 16 lanes can hold 16 messages. Word w of the message in lane l lies at 16 * w + l.

Source: RFC 1321.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

LANES = 16

_SHIFTS = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_SINES = tuple(int(abs(math.sin(i + 1)) * 2**32) & 0xFFFFFFFF for i in range(64))
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
START_WORDS = np.repeat(np.array(_START, np.uint32), LANES)


def _step(builder: Any, i: int, b: Any, c: Any, d: Any) -> Any:
    """Emits the Boolean function of step ``i``."""
    ones = ir.Constant(b.type, [0xFFFFFFFF] * LANES)
    if i < 16:
        return builder.xor(d, builder.and_(b, builder.xor(c, d)))
    if i < 32:
        return builder.xor(c, builder.and_(d, builder.xor(b, c)))
    if i < 48:
        return builder.xor(builder.xor(b, c), d)
    return builder.xor(c, builder.or_(b, builder.xor(d, ones)))


def _compress_lanes(typing_context: Any, words: Any, start: Any, state: Any) -> Any:
    """Feeds one block of each of 16 messages to MD5.

    ``words`` is a flat uint32 array with word w of lane l at ``start + 16 * w + l``; ``state`` is
    (64,) uint32, word w of lane l at 16 * w + l, and is updated.
    """
    signature = types.void(words, types.intp, state)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, start, state = arguments
        vector = ir.VectorType(ir.IntType(32), LANES)
        words_data = context.make_array(signature.args[0])(context, builder, words).data
        state_data = context.make_array(signature.args[2])(context, builder, state).data

        def pointer(data: Any, offset: Any) -> Any:
            return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())

        def constant(value: int) -> Any:
            return ir.Constant(vector, [value] * LANES)

        def load(at: Any) -> Any:
            value = builder.load(at)
            value.align = 4
            return value

        block = []
        for w in range(16):
            offset = builder.add(start, ir.Constant(ir.IntType(64), w * LANES))
            block.append(load(pointer(words_data, offset)))
        places = [pointer(state_data, ir.Constant(ir.IntType(64), w * LANES)) for w in range(4)]
        before = [load(place) for place in places]
        a, b, c, d = before
        for i in range(64):
            word = (i, 5 * i + 1, 3 * i + 5, 7 * i)[i // 16] % 16
            shift = _SHIFTS[i // 16][i % 4]
            total = builder.add(builder.add(a, constant(_SINES[i])), block[word])
            total = builder.add(total, _step(builder, i, b, c, d))
            turned = builder.or_(
                builder.shl(total, constant(shift)), builder.lshr(total, constant(32 - shift))
            )
            a, d, c, b = d, c, b, builder.add(b, turned)
        for place, old, new in zip(places, before, (a, b, c, d), strict=True):
            builder.store(builder.add(old, new), place).align = 4
        return context.get_dummy_value()

    return signature, generate


compress: Callable[..., None] = intrinsic(_compress_lanes)


@kernel
def hex_word(word: Integer) -> Integer:
    """The 8 hex characters of 4 digest bytes, both in little-endian order."""
    x = np.uint64(word)
    x = (x | (x << np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    x = (x | (x << np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    low = np.uint64(0x000F000F000F000F)
    nibbles = ((x >> np.uint64(4)) & low) | ((x & low) << np.uint64(8))
    letters = ((nibbles + np.uint64(0x0606060606060606)) >> np.uint64(4)) & np.uint64(
        0x0101010101010101
    )
    return nibbles + np.uint64(0x3030303030303030) + letters * np.uint64(39)


@kernel
def swap_bytes(word: Integer) -> Integer:
    """The 4 bytes of a uint32, reversed, as a uint64."""
    x = np.uint64(word)
    x = ((x & np.uint64(0x00FF00FF)) << np.uint64(8)) | (
        (x >> np.uint64(8)) & np.uint64(0x00FF00FF)
    )
    return ((x << np.uint64(16)) | (x >> np.uint64(16))) & np.uint64(0xFFFFFFFF)


@kernel
def emit(words: NDArray[np.uint32], position: Integer, word: Integer) -> Integer:
    """Writes 8 bytes of one lane's message at element ``position``; returns the next position."""
    words[position] = np.uint32(word & np.uint64(0xFFFFFFFF))
    words[position + LANES] = np.uint32(word >> np.uint64(32))
    return position + 2 * LANES


@kernel
def finish(
    words: NDArray[np.uint32], position: Integer, first: Integer, blocks: Integer, length: Integer
) -> None:
    """Pads a message of ``length`` bytes, whose end mark is written, with zeros and its length.

    ``first`` is the element with the message's first word.
    """
    end = first + (16 * blocks - 2) * LANES
    while position < end:
        words[position] = 0
        position += LANES
    words[end] = 8 * length
    words[end + LANES] = 0
