"""Walks through the opcodes of a pickle without doing what they say.

A few bytes may tell the standard library's unpickler to keep an object at place 4,000,000,000 of
its memo, for which it sets aside 64 GB. A sound pickle numbers its objects one after the other, so
no place is beyond its number of bytes.
"""

from __future__ import annotations

import pickle
import pickletools

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

# How the arguments of an opcode lie in the file: so many bytes, or one of these.
_UNKNOWN = -1
_LINE = -2
_TWO_LINES = -3
_LENGTH_1 = -4  # A length of 1 byte, and so many bytes.
_LENGTH_4 = -5
_LENGTH_8 = -6

_PUT, _BINPUT, _LONG_BINPUT, _STOP = (
    ord(code) for code in (pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.STOP)
)
_DIGITS = 18  # So many digits fit into an int64.


def _layouts() -> NDArray[np.int8]:
    """(256,) int8: how the arguments of each opcode lie."""
    by_count = {
        pickletools.UP_TO_NEWLINE: _LINE,
        pickletools.TAKEN_FROM_ARGUMENT1: _LENGTH_1,
        pickletools.TAKEN_FROM_ARGUMENT4: _LENGTH_4,
        pickletools.TAKEN_FROM_ARGUMENT4U: _LENGTH_4,
        pickletools.TAKEN_FROM_ARGUMENT8U: _LENGTH_8,
    }
    layouts = np.full(256, _UNKNOWN, np.int8)
    for opcode in pickletools.opcodes:
        argument = opcode.arg
        if argument is None:
            layout = 0
        elif argument is pickletools.stringnl_noescape_pair:
            layout = _TWO_LINES
        else:
            layout = by_count.get(argument.n, argument.n)
        layouts[ord(opcode.code)] = layout
    return layouts


_LAYOUTS = _layouts()


@kernel
def _number(data: NDArray[np.uint8], at: Integer, size: Integer) -> Integer:
    """The little-endian number of ``size`` bytes at ``at``, at most 2^62."""
    value = np.uint64(0)
    for i in range(size):
        value |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return np.int64(min(value, np.uint64(1) << np.uint64(62)))


@kernel
def _line_end(data: NDArray[np.uint8], at: Integer) -> Integer:
    """The place after the next line break."""
    while at < len(data) and data[at] != 0x0A:
        at += 1
    return at + 1


@kernel
def _last_place(data: NDArray[np.uint8], layouts: NDArray[np.int8]) -> Integer:
    place = np.int64(-1)
    at = np.int64(0)
    while at < len(data):
        code = data[at]
        layout = np.int64(layouts[code])
        at += 1
        if code == _STOP or layout == _UNKNOWN:
            break
        if layout in (_LINE, _TWO_LINES):
            first = at
            at = _line_end(data, at)
            if layout == _TWO_LINES:
                at = _line_end(data, at)
            if code == _PUT:
                value = np.int64(0)
                digits = 0
                for i in range(first, min(at, len(data))):
                    if 0x30 <= data[i] <= 0x39:
                        value = 10 * value + np.int64(data[i]) - 0x30
                        digits += 1
                    if digits == _DIGITS:
                        break
                place = max(place, value)
            continue
        size = layout
        if layout == _LENGTH_1:
            size = np.int64(1)
        elif layout == _LENGTH_4:
            size = np.int64(4)
        elif layout == _LENGTH_8:
            size = np.int64(8)
        if at + size > len(data):
            break
        if code in (_BINPUT, _LONG_BINPUT):
            place = max(place, _number(data, at, size))
        if layout < 0:
            # Not added up first: a length may be anything.
            length = _number(data, at, size)
            if length > len(data) - at - size:
                break
            at += length
        at += size
    return place


def last_memo_place(data: bytes) -> int:
    """The highest place of the memo that a pickle writes to by number, or -1.

    The walk ends where an unpickler would stop: at the end of the pickle, at an unknown opcode, or
    at an argument that is cut off.
    """
    return int(_last_place(np.frombuffer(data, np.uint8).copy(), _LAYOUTS))
