"""One record of an official NASBench-101 file, decoded slowly and explained when it is wrong.

The compiled decoder (``nprep.kernels.nb101.record``) leaves to this module every record that
it does not recognise, and is tested against it.

Sources: https://github.com/google-research/nasbench (api.py, model_metrics.proto);
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
from dataclasses import dataclass
from itertools import pairwise

from nprep.kernels.nb101.record import NUM_EVALUATIONS, NUM_FIELDS

OPERATION_CODES = {
    "conv3x3-bn-relu": 0,
    "conv1x1-bn-relu": 1,
    "maxpool3x3": 2,
    "input": 3,
    "output": 4,
}
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class RecordError(ValueError):
    """What is wrong with a record: a clause without a full stop."""


@dataclass(frozen=True)
class Metrics:
    """A ModelMetrics message.

    Attributes:
        evaluations: For each evaluation the epoch, training seconds, and train, validation and
            test accuracy; NaN where a field is not set.
        parameters: Trainable parameters, or None if not set.
    """

    evaluations: tuple[tuple[float, ...], ...]
    parameters: int | None


@dataclass(frozen=True)
class Record:
    """A decoded record.

    Attributes:
        module_hash: The digest.
        epochs: Length of the training run.
        adjacency_bits: The cell's edges.
        operations: Codes of the vertices' operations.
        metrics: What was measured; exactly 3 evaluations in plausible ranges.
    """

    module_hash: bytes
    epochs: int
    adjacency_bits: int
    operations: tuple[int, ...]
    metrics: Metrics


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint and the place after it."""
    value = 0
    for i in range(10):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << 7 * i
        at += 1
        if data[at - 1] < 0x80:
            return value & (1 << 64) - 1, at
    raise RecordError("its metrics are no protobuf message: a varint does not end")


def _fields(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """The fields of a message: number, wire type and value (fixed sizes as bytes)."""
    fields: list[tuple[int, int, int | bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise RecordError("its metrics are no protobuf message: field number 0")
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            fields.append((number, wire, value))
            continue
        if wire == _LENGTH:
            size, at = _read_varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise RecordError(f"its metrics are no protobuf message: wire type {wire}")
        if size > len(data) - at:
            raise RecordError("its metrics are no protobuf message: a field is cut off")
        fields.append((number, wire, data[at : at + size]))
        at += size
    return fields


def _decode_evaluation(data: bytes) -> tuple[float, ...]:
    """Reads an EvaluationData message; NaN where a field is not set."""
    values = [math.nan] * NUM_FIELDS
    for number, wire, value in _fields(data):
        if number <= NUM_FIELDS:
            if wire != _FIXED64 or not isinstance(value, bytes):
                raise RecordError(f"field {number} of an evaluation is no double")
            (values[number - 1],) = struct.unpack("<d", value)
    return tuple(values)


def decode_metrics(data: bytes) -> Metrics:
    """Reads a ModelMetrics message.

    Args:
        data: The message in protobuf's wire format.

    Raises:
        RecordError: It is no such message.
    """
    evaluations = []
    parameters = None
    for number, wire, value in _fields(data):
        if number == 1:
            if not isinstance(value, bytes) or wire != _LENGTH:
                raise RecordError("an evaluation in its metrics is no message")
            evaluations.append(_decode_evaluation(value))
        elif number == 2:
            if not isinstance(value, int):
                raise RecordError("the parameter count in its metrics is no integer")
            # An int32 is sent as the 64 bits of its sign extension.
            parameters = (value & 0xFFFFFFFF) - (1 << 32 if value & 0x80000000 else 0)
    return Metrics(tuple(evaluations), parameters)


def check_metrics(metrics: Metrics) -> None:
    """Raises ``RecordError`` unless there are 3 evaluations in order with possible values."""
    count = len(metrics.evaluations)
    if count != NUM_EVALUATIONS:
        raise RecordError(f"it has {count} evaluations; 3 are due: at the start, half-way, final")
    epochs = [evaluation[0] for evaluation in metrics.evaluations]
    if any(later < earlier for earlier, later in pairwise(epochs)):
        raise RecordError(f"its evaluations are in the wrong order (epochs {epochs})")
    for evaluation in metrics.evaluations:
        if not (math.isnan(evaluation[1]) or 0.0 <= evaluation[1] < 1e9):
            raise RecordError(f"its training time is {evaluation[1]} seconds")
        for accuracy in evaluation[2:]:
            if not (math.isnan(accuracy) or 0.0 <= accuracy <= 1.0):
                raise RecordError(f"an accuracy is {accuracy}, outside 0 to 1")


def parse_adjacency(text: str) -> tuple[int, int]:
    """The adjacency bits and the number of vertices of a raw_adjacency.

    Raises:
        RecordError: It is no upper triangular matrix of 2 to 7 vertices.
    """
    vertices = math.isqrt(len(text))
    if not 2 <= vertices <= 7 or vertices**2 != len(text) or set(text) - {"0", "1"}:
        raise RecordError(f"its adjacency matrix is {text[:60]!r}")
    bits = 0
    for source in range(vertices):
        for target in range(vertices):
            if text[source * vertices + target] == "1":
                if target <= source:
                    raise RecordError("its adjacency matrix is not upper triangular")
                bits |= 1 << (source * (13 - source) // 2 + target - source - 1)
    return bits, vertices


def parse_operations(text: str, vertices: int) -> tuple[int, ...]:
    """The operation codes of a raw_operations.

    Raises:
        RecordError: A name is unknown or their number is not ``vertices``.
    """
    names = text.split(",")
    for name in names:
        if name not in OPERATION_CODES:
            raise RecordError(f"it has the unknown operation {name[:40]!r}")
    if len(names) != vertices:
        raise RecordError(f"it has {len(names)} operations for {vertices} vertices")
    return tuple(OPERATION_CODES[name] for name in names)


def decode_record(payload: bytes) -> Record:
    """Decodes the payload of a record.

    Args:
        payload: UTF-8 JSON: module hash, epochs, raw adjacency, raw operations, raw metrics.

    Raises:
        RecordError: It is not a record of NASBench-101.
    """
    try:
        content = json.loads(payload.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise RecordError("it is no JSON text, so this is no file of NASBench-101") from error
    if not isinstance(content, list) or len(content) != 5:
        raise RecordError("it is no list of 5 values, so this is no file of NASBench-101")
    module_hash, epochs, adjacency, operations, raw_metrics = content
    texts = (module_hash, adjacency, operations, raw_metrics)
    if type(epochs) is not int or not all(isinstance(text, str) for text in texts):
        raise RecordError(
            "its values are not, in this order, module hash, epochs, adjacency, operations, metrics"
        )
    if not re.fullmatch("[0-9a-f]{32}", module_hash):
        raise RecordError(f"its module hash is {module_hash[:40]!r}")
    bits, vertices = parse_adjacency(adjacency)
    try:
        raw = base64.b64decode(raw_metrics)
    except (binascii.Error, ValueError) as error:
        raise RecordError("its metrics are no base64 text") from error
    metrics = decode_metrics(raw)
    check_metrics(metrics)
    return Record(
        module_hash=bytes.fromhex(module_hash),
        epochs=epochs,
        adjacency_bits=bits,
        operations=parse_operations(operations, vertices),
        metrics=metrics,
    )
