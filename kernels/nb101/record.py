"""Records of the official NASBench-101 files: their frames, the cells that they are of, their runs.

Sources: https://github.com/google-research/nasbench (api.py);
https://www.tensorflow.org/tutorials/load_data/tfrecord (the frames of a TFRecord file).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import MAX_VERTICES, keep_mask, key_scalar
from nprep.kernels.nb101.payload import NUM_EVALUATIONS, NUM_FIELDS, decode_payload, read_uint
from nprep.kernels.numeric.crc32c import masked_crc32c
from nprep.kernels.numeric.lookup import find_key

# What became of a record.
DECODED = 0
UNDECIDED = 1  # Not in the usual layout, or something is wrong with it.
BAD_CHECKSUM = 2

# Why the scan of the frames stopped.
SCANNED = 0
BAD_LENGTH = 1

HEADER_BYTES = 12
FOOTER_BYTES = 4

_SCRATCH_BYTES = 4096  # For the longest message.


@kernel
def scan_frames(
    data: NDArray[np.uint8],
    size: Integer,
    max_length: Integer,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> tuple[Integer, Integer, Integer]:
    """Finds the records that lie whole in ``data[:size]``, whose first byte begins a record.

    Args:
        data: Bytes of a TFRecord file.
        size: How many of them to look at.
        max_length: Longest payload accepted.
        starts: Receives where the payloads begin; the scan also stops when it is full.
        lengths: Receives the lengths of the payloads.

    Returns:
        SCANNED or BAD_LENGTH (a length whose checksum is wrong or that is too long), the number of
        records, and the first byte after them.
    """
    at = np.int64(0)
    found = np.int64(0)
    while found < len(starts) and at + HEADER_BYTES <= size:
        if np.uint64(masked_crc32c(data, at, at + 8)) != read_uint(data, at + 8, 4):
            return BAD_LENGTH, found, at
        length = read_uint(data, at, 8)
        if length > np.uint64(max_length):
            return BAD_LENGTH, found, at
        end = at + HEADER_BYTES + np.int64(length) + FOOTER_BYTES
        if end > size:
            break
        starts[found] = at + HEADER_BYTES
        lengths[found] = np.int64(length)
        found += 1
        at = end
    return SCANNED, found, at


@kernel
def _plausible(fields: NDArray[np.float64]) -> bool:
    """Whether the evaluations are in order and their values in range (NaN: not set)."""
    for evaluation in range(NUM_EVALUATIONS):
        place = evaluation * NUM_FIELDS
        if evaluation > 0 and fields[place] < fields[place - NUM_FIELDS]:
            return False
        if not np.isnan(fields[place + 1]) and not 0.0 <= fields[place + 1] < 1e9:
            return False
        for i in range(2, NUM_FIELDS):
            if not np.isnan(fields[place + i]) and not 0.0 <= fields[place + i] <= 1.0:
                return False
    return True


@kernel
def _find_row(
    digest: NDArray[np.uint8],
    bits: Integer,
    operations: NDArray[np.uint8],
    vertices: Integer,
    slot_keys: NDArray[np.uint64],
    slot_rows: NDArray[np.int32],
    hashes: NDArray[np.uint8],
) -> Integer:
    """The row of a pruned cell whose hash is ``digest``, or -1."""
    if keep_mask(bits, vertices) != (1 << vertices) - 1:
        return -1
    row = find_key(slot_keys, slot_rows, key_scalar(bits, operations, vertices))
    if row >= 0:
        for i in range(16):
            if hashes[row, i] != digest[i]:
                return -1
    return row


@kernel
def decode_records(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    budgets: NDArray[np.int64],
    slot_keys: NDArray[np.uint64],
    slot_rows: NDArray[np.int32],
    hashes: NDArray[np.uint8],
    table_bits: NDArray[np.uint32],
    table_operations: NDArray[np.uint8],
    table_parameters: NDArray[np.int32],
    status: NDArray[np.uint8],
    rows: NDArray[np.int32],
    budget: NDArray[np.uint8],
    values: NDArray[np.float32],
) -> Integer:
    """Checks and decodes R records and finds the rows of their cells.

    A record is UNDECIDED if its cell is unknown, its hash is not the cell's, its matrix is not the
    table's own (an isomorphic one may be right), its parameter count differs, its epochs are no
    budget or a value is out of range.

    Args:
        data: Bytes that hold the records with their frames.
        starts: (R,) int64; where the payloads begin.
        lengths: (R,) int64; their lengths.
        budgets: (B,) int64; the known numbers of epochs.
        slot_keys: (S,) uint64; an index from keys to rows.
        slot_rows: (S,) int32; likewise.
        hashes: (N, 16) uint8; the module hash of each row.
        table_bits: (N,) uint32; the adjacency bits of each row.
        table_operations: (N, 7) uint8.
        table_parameters: (N,) int32.
        status: (R,) uint8; receives DECODED, UNDECIDED or BAD_CHECKSUM.
        rows: (R,) int32; receives the rows.
        budget: (R,) uint8; receives the indices of the budgets.
        values: (R, 8) float32; receives training seconds, train, validation and test accuracy
            half-way and at the end; NaN where the record has none.

    Returns:
        How many values are not representable as float32 and were rounded.
    """
    digest = np.empty(16, np.uint8)
    operations = np.empty(MAX_VERTICES, np.uint8)
    scratch = np.empty(_SCRATCH_BYTES, np.uint8)
    fields = np.empty(NUM_EVALUATIONS * NUM_FIELDS, np.float64)
    word = np.empty(1, np.uint64)
    real = word.view(np.float64)
    rounded = 0
    for i in range(len(starts)):
        start = starts[i]
        stop = start + lengths[i]
        status[i] = UNDECIDED
        if np.uint64(masked_crc32c(data, start, stop)) != read_uint(data, stop, 4):
            status[i] = BAD_CHECKSUM
            continue
        epochs, bits, vertices, parameters = decode_payload(
            data, start, stop, digest, operations, scratch, fields, word, real
        )
        if epochs < 0 or not _plausible(fields):
            continue
        place = -1
        for b in range(len(budgets)):
            if budgets[b] == epochs:
                place = b
        row = np.int64(-1)
        if place >= 0:
            row = _find_row(digest, bits, operations, vertices, slot_keys, slot_rows, hashes)
        if row < 0 or table_bits[row] != bits or table_parameters[row] != parameters:
            continue
        same = True
        for vertex in range(MAX_VERTICES):
            same &= table_operations[row, vertex] == operations[vertex]
        if not same:
            continue
        rows[i] = row
        budget[i] = place
        for evaluation in range(1, NUM_EVALUATIONS):
            for field in range(1, NUM_FIELDS):
                value = fields[evaluation * NUM_FIELDS + field]
                single = np.float32(value)
                values[i, 4 * (evaluation - 1) + field - 1] = single
                if np.float64(single) != value and not np.isnan(value):
                    rounded += 1
        status[i] = DECODED
    return rounded


@kernel
def place_runs(
    rows: NDArray[np.int32],
    budget: NDArray[np.uint8],
    values: NDArray[np.float32],
    counts: NDArray[np.uint16],
    newest: NDArray[np.int64],
    runs: NDArray[np.float32],
) -> Integer:
    """Adds runs, in the order of the file, to the repeats of their cells.

    Args:
        rows: (R,) int32.
        budget: (R,) uint8; indices of budgets.
        values: (R, V) float32.
        counts: (N, B) uint16; runs seen so far, updated.
        newest: (1,) int64; the row of the cell that appeared last for the first time, updated.
        runs: (N, B, P, V) float32; receives the first P runs of each cell and budget.

    Returns:
        The first place at which a cell appears whose row is below an earlier one's, or -1.
    """
    disorder: Integer = -1
    for i in range(len(rows)):
        row = rows[i]
        place = np.int64(budget[i])
        fresh = True
        for b in range(counts.shape[1]):
            fresh &= counts[row, b] == 0
        if fresh:
            if row < newest[0] and disorder < 0:
                disorder = i
            newest[0] = row
        repeat = np.int64(counts[row, place])
        if repeat < runs.shape[2]:
            for v in range(runs.shape[3]):
                runs[row, place, repeat, v] = values[i, v]
        if repeat < 65535:
            counts[row, place] = repeat + 1
    return disorder
