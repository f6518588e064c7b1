"""Official files of made-up records, and the compiled decoder on one record alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nprep.kernels.nb101.record import decode_records
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources._runs import SpaceRows
from tests import tfrecord_writer as writer


def write(path: Path, payloads: list[bytes]) -> Path:
    writer.write(path, payloads)
    return path


def kernel_decode(payload: bytes, space: SpaceRows) -> tuple[int, int, int, np.ndarray]:
    """Status, row, budget and values of one record, from the compiled decoder alone."""
    data = np.frombuffer(bytearray(writer.frame(payload)), np.uint8)
    status, rows = np.full(1, 77, np.uint8), np.full(1, -5, np.int32)
    budget, values = np.full(1, 77, np.uint8), np.full((1, 8), -5, np.float32)
    decode_records(
        data,
        np.array([12], np.int64),
        np.array([len(payload)], np.int64),
        np.array(BUDGETS, np.int64),
        space.index.slot_keys,
        space.index.slot_rows,
        space.module_hash,
        space.cells.adjacency_bits,
        space.cells.operations,
        space.trainable_parameters,
        status,
        rows,
        budget,
        values,
    )
    return int(status[0]), int(rows[0]), int(budget[0]), values[0]
