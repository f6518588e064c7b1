"""Payloads of the official NASBench-101 files: JSON, base64 and protobuf in one pass.

A record's payload is a JSON list: module hash, epochs, adjacency matrix, operations, and the base64
text of a ``ModelMetrics`` message. The kernels read the layout that Python's ``json`` writes (with
any white space) and give up on everything else: the caller then decodes that record with the
standard library, which either understands it or says what is wrong. So nothing here has to explain
an error.

Sources: https://github.com/google-research/nasbench (api.py, model_metrics.proto);
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import MAX_VERTICES, UNUSED

NUM_EVALUATIONS = 3
NUM_FIELDS = 5  # Epoch, training seconds, train, validation and test accuracy.

_QUOTE = 0x22
_COMMA = 0x2C
_BACKSLASH = 0x5C

_NAMES = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "input", "output")
_NAME_BYTES = np.frombuffer("".join(_NAMES).encode(), np.uint8).copy()
_NAME_STARTS = np.cumsum([0] + [len(name) for name in _NAMES])

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SEXTETS = np.full(256, 255, np.uint8)
_SEXTETS[np.frombuffer(_ALPHABET.encode(), np.uint8)] = np.arange(64)
_NIBBLES = np.full(256, 255, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


@kernel
def read_uint(data: NDArray[np.uint8], start: Integer, size: Integer) -> Integer:
    """The unsigned little-endian integer of ``size`` bytes at ``start``."""
    value = np.uint64(0)
    for i in range(size):
        value |= np.uint64(data[start + i]) << np.uint64(8 * i)
    return value


@kernel
def _skip_space(data: NDArray[np.uint8], at: Integer, stop: Integer) -> Integer:
    """The first byte at or after ``at`` that is no JSON white space."""
    while at < stop:
        byte = data[at]
        if byte != 0x20 and byte != 0x09 and byte != 0x0A and byte != 0x0D:
            break
        at += 1
    return at


@kernel
def _expect(data: NDArray[np.uint8], at: Integer, stop: Integer, byte: Integer) -> Integer:
    """The place after ``byte``, which may follow white space; -1 if something else does."""
    if at < 0:
        return -1
    at = _skip_space(data, at, stop)
    if at >= stop or data[at] != byte:
        return -1
    return at + 1


@kernel
def _read_epochs(data: NDArray[np.uint8], at: Integer, stop: Integer) -> tuple[Integer, Integer]:
    """A JSON integer of at most 6 digits and the place after it; (-1, -1) if there is none."""
    value = np.int64(0)
    first = at
    while at < stop and at - first < 6 and 0x30 <= data[at] <= 0x39:
        value = 10 * value + np.int64(data[at]) - 0x30
        at += 1
    # JSON allows no leading zero.
    if at == first or (data[first] == 0x30 and at > first + 1):
        return -1, -1
    return value, at


@kernel
def _read_matrix(
    data: NDArray[np.uint8], at: Integer, stop: Integer
) -> tuple[Integer, Integer, Integer]:
    """Adjacency bits, number of vertices and the place after the closing quote; -1 if unusual."""
    first = at
    while at < stop and (data[at] == 0x30 or data[at] == 0x31):
        at += 1
    if at >= stop or data[at] != _QUOTE:
        return 0, 0, -1
    vertices = 2
    while vertices * vertices < at - first:
        vertices += 1
    if vertices > MAX_VERTICES or vertices * vertices != at - first:
        return 0, 0, -1
    bits = 0
    for source in range(vertices):
        for target in range(vertices):
            if data[first + source * vertices + target] == 0x31:
                if target <= source:
                    return 0, 0, -1
                bits |= 1 << (source * (13 - source) // 2 + target - source - 1)
    return bits, vertices, at + 1


@kernel
def _read_operations(
    data: NDArray[np.uint8],
    at: Integer,
    stop: Integer,
    vertices: Integer,
    operations: NDArray[np.uint8],
) -> Integer:
    """Reads ``vertices`` names up to a quote into ``operations``; the place after it, or -1."""
    for vertex in range(MAX_VERTICES):
        operations[vertex] = UNUSED
    for vertex in range(vertices):
        first = at
        while at < stop and data[at] != _COMMA and data[at] != _QUOTE:
            at += 1
        if at >= stop or (data[at] == _QUOTE) != (vertex == vertices - 1):
            return -1
        for code in range(5):
            start = _NAME_STARTS[code]
            size = _NAME_STARTS[code + 1] - start
            if size != at - first:
                continue
            same = True
            for i in range(size):
                same &= data[first + i] == _NAME_BYTES[start + i]
            if same:
                operations[vertex] = code
        if operations[vertex] == UNUSED:
            return -1
        at += 1
    return at


@kernel
def _read_base64(
    data: NDArray[np.uint8], at: Integer, stop: Integer, scratch: NDArray[np.uint8]
) -> tuple[Integer, Integer]:
    """Decodes up to a quote into ``scratch``: the number of bytes and the place after the quote.

    The place is -1 for anything but plain base64 text; escaped slashes and line breaks are read.
    """
    size = 0
    word: Integer = 0
    sextets = 0
    padding = 0
    while at < stop:
        # Whole groups of plain characters first: nearly all of the text.
        while at + 4 <= stop and size + 3 <= len(scratch) and sextets % 4 == 0 and padding == 0:
            a, b = _SEXTETS[data[at]], _SEXTETS[data[at + 1]]
            c, d = _SEXTETS[data[at + 2]], _SEXTETS[data[at + 3]]
            if (a | b | c | d) > 63:
                break
            word = np.int64(a) << 18 | np.int64(b) << 12 | np.int64(c) << 6 | np.int64(d)
            scratch[size] = word >> 16
            scratch[size + 1] = (word >> 8) & 0xFF
            scratch[size + 2] = word & 0xFF
            size += 3
            sextets += 4
            at += 4
        if at >= stop:
            break
        byte = data[at]
        if byte == _QUOTE:
            # 4 characters stand for 3 bytes; the last 4 may end in padding.
            if (sextets + padding) % 4 != 0 or padding > 2:
                return 0, -1
            return size, at + 1
        if byte == _BACKSLASH:
            at += 1
            if at >= stop:
                return 0, -1
            if data[at] == 0x6E:  # \n
                at += 1
                continue
            byte = data[at]
            if byte != 0x2F:
                return 0, -1
        if byte == 0x3D:
            padding += 1
            at += 1
            continue
        sextet = np.int64(_SEXTETS[byte])
        if sextet == 255 or padding > 0 or size + 1 > len(scratch):
            return 0, -1
        word = ((word << 6) | sextet) & 0xFFFFFF
        # The second, third and fourth character of a group complete a byte each.
        part = sextets % 4
        if part > 0:
            scratch[size] = (word >> (6 - 2 * part)) & 0xFF
            size += 1
        sextets += 1
        at += 1
    return 0, -1


@kernel
def _read_varint(data: NDArray[np.uint8], at: Integer, stop: Integer) -> tuple[Integer, Integer]:
    """A protobuf varint as uint64 and the place after it, -1 if it does not end."""
    value = np.uint64(0)
    for i in range(10):
        if at >= stop:
            return value, -1
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(0x7F)) << np.uint64(7 * i)
        if byte < np.uint64(0x80):
            return value, at
    return value, -1


@kernel
def _skip_field(data: NDArray[np.uint8], at: Integer, stop: Integer, wire: Integer) -> Integer:
    """The place after a field of the given wire type, or -1."""
    if wire == 0:
        _, at = _read_varint(data, at, stop)
    elif wire == 1:
        at += 8
    elif wire == 5:
        at += 4
    elif wire == 2:
        size, at = _read_varint(data, at, stop)
        if at < 0 or size > np.uint64(stop - at):
            return -1
        at += np.int64(size)
    else:
        return -1
    return at if at <= stop else -1


@kernel
def _read_evaluation(
    data: NDArray[np.uint8],
    at: Integer,
    stop: Integer,
    fields: NDArray[np.float64],
    place: Integer,
    word: NDArray[np.uint64],
    real: NDArray[np.float64],
) -> bool:
    """Reads an EvaluationData message into ``fields[place : place + 5]``, NaN where not set."""
    for i in range(NUM_FIELDS):
        fields[place + i] = np.nan
    while at < stop:
        tag, at = _read_varint(data, at, stop)
        if at < 0:
            return False
        number = np.int64(tag >> np.uint64(3))
        wire = np.int64(tag & np.uint64(7))
        if 1 <= number <= NUM_FIELDS:
            if wire != 1 or at + 8 > stop:
                return False
            word[0] = read_uint(data, at, 8)
            fields[place + number - 1] = real[0]
            at += 8
        elif number < 1:
            return False
        else:
            at = _skip_field(data, at, stop, wire)
            if at < 0:
                return False
    return True


@kernel
def _read_metrics(
    data: NDArray[np.uint8],
    size: Integer,
    fields: NDArray[np.float64],
    word: NDArray[np.uint64],
    real: NDArray[np.float64],
) -> tuple[Integer, Integer]:
    """Reads a ModelMetrics message: the number of evaluations (-1: bad) and the parameters."""
    at = np.int64(0)
    stop = np.int64(size)
    evaluations = 0
    parameters = np.int64(-1)
    while at < stop:
        tag, at = _read_varint(data, at, stop)
        if at < 0:
            return -1, -1
        number = np.int64(tag >> np.uint64(3))
        wire = np.int64(tag & np.uint64(7))
        if number == 1:
            if wire != 2 or evaluations >= NUM_EVALUATIONS:
                return -1, -1
            length, at = _read_varint(data, at, stop)
            if at < 0 or length > np.uint64(stop - at):
                return -1, -1
            end = at + np.int64(length)
            if not _read_evaluation(data, at, end, fields, evaluations * NUM_FIELDS, word, real):
                return -1, -1
            evaluations += 1
            at = end
        elif number == 2:
            value, at = _read_varint(data, at, stop)
            if wire != 0 or at < 0 or value > np.uint64(0x7FFFFFFF):
                return -1, -1
            parameters = np.int64(value)
        elif number < 1:
            return -1, -1
        else:
            at = _skip_field(data, at, stop, wire)
            if at < 0:
                return -1, -1
    return evaluations, parameters


@kernel
def decode_payload(
    data: NDArray[np.uint8],
    start: Integer,
    stop: Integer,
    digest: NDArray[np.uint8],
    operations: NDArray[np.uint8],
    scratch: NDArray[np.uint8],
    fields: NDArray[np.float64],
    word: NDArray[np.uint64],
    real: NDArray[np.float64],
) -> tuple[Integer, Integer, Integer, Integer]:
    """Reads one payload: epochs (-1: not understood), adjacency bits, vertices and parameters."""
    at = _expect(data, start, stop, 0x5B)
    at = _expect(data, at, stop, _QUOTE)
    if at < 0 or at + 33 > stop:
        return -1, 0, 0, 0
    for i in range(16):
        high = _NIBBLES[data[at + 2 * i]]
        low = _NIBBLES[data[at + 2 * i + 1]]
        if high == 255 or low == 255:
            return -1, 0, 0, 0
        digest[i] = (high << 4) | low
    if data[at + 32] != _QUOTE:
        return -1, 0, 0, 0
    at = _expect(data, at + 33, stop, _COMMA)
    if at < 0:
        return -1, 0, 0, 0
    epochs, at = _read_epochs(data, _skip_space(data, at, stop), stop)
    at = _expect(data, at, stop, _COMMA)
    at = _expect(data, at, stop, _QUOTE)
    if at < 0:
        return -1, 0, 0, 0
    bits, vertices, at = _read_matrix(data, at, stop)
    at = _expect(data, at, stop, _COMMA)
    at = _expect(data, at, stop, _QUOTE)
    if at < 0:
        return -1, 0, 0, 0
    at = _read_operations(data, at, stop, vertices, operations)
    at = _expect(data, at, stop, _COMMA)
    at = _expect(data, at, stop, _QUOTE)
    if at < 0:
        return -1, 0, 0, 0
    size, at = _read_base64(data, at, stop, scratch)
    at = _expect(data, at, stop, 0x5D)
    if at < 0 or _skip_space(data, at, stop) != stop:
        return -1, 0, 0, 0
    evaluations, parameters = _read_metrics(scratch, size, fields, word, real)
    if evaluations != NUM_EVALUATIONS:
        return -1, 0, 0, 0
    return epochs, bits, vertices, parameters
