"""Writes NASBench-101 files in the official format, sharing no code with the reader."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "input", "output")


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C, a byte at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    """The checksum as TFRecord files store it."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes, checksum: Callable[[bytes], int] = crc32c) -> bytes:
    """A record of a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    header = length + struct.pack("<I", mask(checksum(length)))
    return header + payload + struct.pack("<I", mask(checksum(payload)))


def varint(value: int) -> bytes:
    """A protobuf varint; negative numbers take 10 bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def evaluation(fields: Sequence[float | None], checkpoint: str | None = None) -> bytes:
    """An EvaluationData message; None leaves a field unset.

    Args:
        fields: Epoch, training seconds, train, validation and test accuracy.
        checkpoint: The checkpoint_path.
    """
    out = b""
    for number, value in enumerate(fields, start=1):
        if value is not None:
            out += bytes([number << 3 | 1]) + struct.pack("<d", value)
    if checkpoint is not None:
        out += b"\x32" + varint(len(checkpoint.encode())) + checkpoint.encode()
    return out


def model_metrics(
    evaluations: Iterable[bytes], parameters: int | None, total_time: float | None = 0.0
) -> bytes:
    """A ModelMetrics message."""
    out = b"".join(b"\x0a" + varint(len(message)) + message for message in evaluations)
    if parameters is not None:
        out += b"\x10" + varint(parameters)
    if total_time is not None:
        out += b"\x19" + struct.pack("<d", total_time)
    return out


def run_metrics(
    epochs: int, half_way: Sequence[float | None], final: Sequence[float | None], parameters: int
) -> bytes:
    """The ModelMetrics of a run, from training seconds, train, validation and test accuracy."""
    total = (final[0] or 0.0) * 1.25
    return model_metrics(
        [
            evaluation((0.0, 0.0, 0.1, 0.1, 0.1)),
            evaluation((epochs / 2, *half_way)),
            evaluation((float(epochs), *final)),
        ],
        parameters,
        total,
    )


def payload(
    module_hash: str, epochs: int, adjacency: str, operations: str, metrics: bytes
) -> bytes:
    """A record's JSON, as the official files have it."""
    encoded = base64.b64encode(metrics).decode()
    return json.dumps([module_hash, epochs, adjacency, operations, encoded]).encode()


def cell_texts(adjacency_bits: int, operations: Sequence[int], vertices: int) -> tuple[str, str]:
    """The raw_adjacency and raw_operations of a cell."""
    pairs = [(x, y) for x in range(7) for y in range(x + 1, 7)]
    edges = {pair for k, pair in enumerate(pairs) if adjacency_bits >> k & 1}
    matrix = "".join(str(int((x, y) in edges)) for x in range(vertices) for y in range(vertices))
    return matrix, ",".join(OPERATIONS[code] for code in operations[:vertices])


def write(path: Path, payloads: Iterable[bytes], checksum: Callable[[bytes], int] = crc32c) -> None:
    """Writes a TFRecord file."""
    with path.open("wb") as file:
        for data in payloads:
            file.write(frame(data, checksum))
