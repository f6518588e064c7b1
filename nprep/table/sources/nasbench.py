"""The official files, nasbench_only108.tfrecord and nasbench_full.tfrecord.

A file is read once, in a stream: frames are found and the file's SHA-256 is computed while threads
verify checksums and decode the records. Repeats are numbered in the order of the file, as in the
official API. What the file holds is kept as it is, failed runs (accuracies near 10 %) and equal
runs too. Of more than 3 runs of one cell and budget the first 3 are kept, as the official API never
returns another; runs that are missing stay missing. Both are counted and reported.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError, TableError
from nprep.kernels.nb101.cells import keep_mask, key_scalar
from nprep.kernels.nb101.md5 import module_hash_batch
from nprep.kernels.nb101.parameters import parameters_batch
from nprep.kernels.nb101.record import (
    BAD_CHECKSUM,
    UNDECIDED,
    decode_records,
    place_runs,
)
from nprep.kernels.numeric.lookup import find_key
from nprep.spaces.nb101.facts import BUDGETS, CITATION
from nprep.table._progress import ByteProgress
from nprep.table.schema import Content
from nprep.table.sources._nasbench_record import Record, RecordError, decode_record
from nprep.table.sources._runs import Runs, SpaceRows, empty_values, load_space, to_content
from nprep.table.sources.tfrecord import CHUNK_BYTES, Chunk, read_chunks, record_error

OFFICIAL_SHA256 = {
    "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c": "nasbench_full.tfrecord",
    "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1": "nasbench_only108.tfrecord",
}


@dataclass(frozen=True)
class _Decoded:
    """The records of one chunk."""

    rows: NDArray[np.int32]
    budget: NDArray[np.uint8]
    values: NDArray[np.float32]
    rounded: int
    isomorphic: int


def _pack(record: Record) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
    """A record's cell as arrays of one row."""
    operations = np.full((1, 7), 255, np.uint8)
    operations[0, : len(record.operations)] = record.operations
    return (
        np.array([record.adjacency_bits], np.uint32),
        operations,
        np.array([len(record.operations)], np.uint8),
    )


def _find_row(record: Record, space: SpaceRows) -> int:
    """The row of a record's cell, once its hash and parameter count are found to be right.

    Raises:
        RecordError: The cell is unknown, or the record says something else of it.
    """
    bits, operations, vertices = _pack(record)
    size = len(record.operations)
    if keep_mask(bits[0], size) != (1 << size) - 1:
        raise RecordError("its cell has vertices that lead nowhere: the official files have none")
    key = np.uint64(key_scalar(bits[0], operations[0], size))
    row = int(find_key(space.index.slot_keys, space.index.slot_rows, key))
    if row < 0:
        raise RecordError(
            f"its cell (hash {record.module_hash.hex()}) is none of the {len(space)} of the space"
        )
    computed = module_hash_batch(bits, operations, vertices)[0].tobytes()
    if computed != record.module_hash:
        raise RecordError(
            f"its module hash is {record.module_hash.hex()}, but that of its cell is "
            f"{computed.hex()}"
        )
    expected = int(parameters_batch(bits, operations, vertices)[0])
    if record.metrics.parameters != expected:
        raise RecordError(
            f"it states {record.metrics.parameters} trainable parameters, but its cell has "
            f"{expected}"
        )
    return row


def _decode_chunk(path: Path, chunk: Chunk, space: SpaceRows) -> _Decoded:
    """Verifies and decodes the records of a chunk.

    Raises:
        TableError: The first record that is wrong.
    """
    count = len(chunk.starts)
    status = np.empty(count, np.uint8)
    rows = np.empty(count, np.int32)
    budget = np.empty(count, np.uint8)
    values = np.empty((count, 8), np.float32)
    rounded = decode_records(
        chunk.data,
        chunk.starts,
        chunk.lengths,
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
    isomorphic = 0
    for i in np.flatnonzero(status).tolist():
        record_number, byte = chunk.where(i)
        if status[i] == BAD_CHECKSUM:
            raise record_error(
                path,
                record_number,
                byte,
                "the checksum of its payload is wrong: the file is damaged, download it again",
            )
        assert status[i] == UNDECIDED
        try:
            record = decode_record(chunk.payload(i))
            if record.epochs not in BUDGETS:
                raise RecordError(
                    f"it was trained for {record.epochs} epochs, not 4, 12, 36 or 108"
                )
            row = _find_row(record, space)
        except RecordError as error:
            raise record_error(path, record_number, byte, str(error)) from error
        exact = np.array([entry[1:] for entry in record.metrics.evaluations[1:]]).reshape(-1)
        rows[i] = row
        budget[i] = BUDGETS.index(record.epochs)
        values[i] = exact
        rounded += int(np.count_nonzero((values[i] != exact) & ~np.isnan(exact)))
        own = tuple(space.cells.operations[row, : len(record.operations)].tolist())
        same = own == record.operations
        isomorphic += not (same and record.adjacency_bits == space.cells.adjacency_bits[row])
    return _Decoded(rows, budget, values, int(rounded), isomorphic)


def _in_order(
    chunks: Iterator[Chunk], work: Callable[[Chunk], _Decoded], pool: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[Chunk, _Decoded]]:
    """Yields each chunk with its result, in order, with at most ``ahead`` in memory.

    An error in a chunk comes before one that reading further has met.
    """
    pending: deque[tuple[Chunk, Future[_Decoded]]] = deque()
    failure: TableError | None = None
    try:
        while True:
            try:
                chunk = next(chunks, None) if failure is None else None
            except TableError as error:
                failure = error
                continue
            if chunk is not None:
                pending.append((chunk, pool.submit(work, chunk)))
            if not pending:
                break
            if chunk is None or len(pending) >= ahead:
                first, future = pending.popleft()
                yield first, future.result()
    finally:
        for _, future in pending:
            future.cancel()
    if failure is not None:
        raise failure


def _report(counts: NDArray[np.uint16], isomorphic: int, rounded: int) -> list[str]:
    """Sentences about what is unusual in a file."""
    sentences = []
    used = counts[:, counts.any(axis=0)]
    missing = int(np.maximum(3 - used.astype(np.int64), 0).sum())
    extra = int(np.maximum(used.astype(np.int64) - 3, 0).sum())
    if missing:
        cells = int((used < 3).any(axis=1).sum())
        sentences.append(f"{missing} runs of {cells} cells are missing; they stay missing.")
    if extra:
        cells = int((used > 3).any(axis=1).sum())
        sentences.append(
            f"{extra} runs of {cells} cells come after a third of the same budget; they are left "
            "out, as the official API never returns them."
        )
    if isomorphic:
        sentences.append(f"{isomorphic} records hold an isomorphic matrix of their cell.")
    if rounded:
        sentences.append(f"{rounded} values were rounded to 32-bit floats.")
    return sentences


def read_nasbench(
    path: Path,
    space: SpaceRows,
    *,
    jobs: int = 2,
    any_order: bool = False,
    allow_missing: bool = False,
    progress: Callable[[int, int], object] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Runs:
    """Reads an official file, or one of the same format.

    Args:
        path: The file.
        space: What to join it to.
        jobs: Threads that decode.
        any_order: Whether to accept a file other than the official ones in which the cells do not
            appear in the order of their hashes. Its repeats may be numbered otherwise than theirs.
        allow_missing: Whether to accept a file without any run of some cells at some budget that
            it has.
        progress: Called with the bytes done and the size of the file.
        chunk_bytes: How much is read and decoded at a time.

    Returns:
        The runs. Memory: 163 MB for their values and 2 ``jobs`` + 2 chunks.

    Raises:
        TableError: The file is damaged, cut off, of another kind, contradicts the space, or is not
            in order; names the record and the byte.
    """
    digest = hashlib.sha256()
    values = empty_values(len(space))
    flat = values.reshape(*values.shape[:3], -1)
    counts = np.zeros((len(space), len(BUDGETS)), np.uint16)
    newest = np.full(1, -1, np.int64)
    disorder: tuple[int, int] | None = None
    records = rounded = isomorphic = 0
    try:
        size = path.stat().st_size
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror or error}).") from error
    with ThreadPoolExecutor(jobs) as pool, ThreadPoolExecutor(1) as digester:
        hashing: deque[Future[None]] = deque()

        def hash_bytes(data: memoryview) -> None:
            # Digests are computed in order on a thread of their own; a few buffers may wait.
            hashing.append(digester.submit(digest.update, data))
            if len(hashing) > 2:
                hashing.popleft().result()

        chunks = read_chunks(path, chunk_bytes, hash_bytes)
        work = _in_order(chunks, lambda chunk: _decode_chunk(path, chunk, space), pool, 2 * jobs)
        for chunk, decoded in work:
            place = int(
                place_runs(decoded.rows, decoded.budget, decoded.values, counts, newest, flat)
            )
            if place >= 0 and disorder is None:
                disorder = chunk.where(place)
            records += len(decoded.rows)
            rounded += decoded.rounded
            isomorphic += decoded.isomorphic
            if progress is not None:
                progress(chunk.stop, size)
        for waiting in hashing:
            waiting.result()
    sha256 = digest.hexdigest()
    official = OFFICIAL_SHA256.get(sha256)
    if disorder is not None and official is None and not any_order:
        raise record_error(
            path,
            *disorder,
            "its cell comes after one with a greater hash, so the records are not in the official "
            "order and repeats cannot be told apart; accept their order with --any-order",
        )
    used = counts.any(axis=0)
    absent = int((counts[:, used] == 0).any(axis=1).sum())
    if absent and not allow_missing:
        raise TableError(
            f"{path}: after {records} records, {absent} of the {len(space)} cells have no run at "
            "some budget; get the whole file, or accept that with --allow-missing."
        )
    attributes: dict[str, str | int | float] = {
        "file": path.name,
        "sha256": sha256,
        "official": official or "no: the SHA-256 is not that of an official file",
        "citation": CITATION,
        "records": records,
        "missing_runs": int(np.maximum(3 - counts[:, used].astype(np.int64), 0).sum()),
        "extra_runs": int(np.maximum(counts.astype(np.int64) - 3, 0).sum()),
        "isomorphic_records": isomorphic,
        "rounded_values": rounded,
    }
    return Runs(values, attributes, tuple(_report(counts, isomorphic, rounded)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument("input", type=Path, help="nasbench_only108.tfrecord or nasbench_full")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="threads (default: processors)"
    )
    parser.add_argument(
        "--any-order",
        action="store_true",
        help="accept a file, other than the official ones, that is not in their order",
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="accept a file that lacks cells"
    )


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Reads an official file.

    Raises:
        TableError: If the file is not what it should be.
    """
    if arguments.jobs < 1:
        raise SettingsError(f"--jobs is {arguments.jobs}: give a number from 1 on.")
    progress("enumerating the space")
    space = load_space(arguments.jobs)
    bar = ByteProgress(f"reading {arguments.input}")
    try:
        runs = read_nasbench(
            arguments.input,
            space,
            jobs=arguments.jobs,
            any_order=arguments.any_order,
            allow_missing=arguments.allow_missing,
            progress=bar,
        )
    finally:
        bar.close()
    for warning in runs.warnings:
        progress(f"note: {warning}")
    return to_content("nasbench", runs, space)
