"""TFRecord files: their frames, read in a stream, with every checksum verified.

A record is the length of its payload (8 bytes, little-endian), the masked CRC-32C of those 8 bytes,
the payload, and its masked CRC-32C. The scan verifies the lengths' checksums; the payloads' are
left to whoever reads the payloads, as that is work for several threads.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.kernels.nb101.record import FOOTER_BYTES, HEADER_BYTES, SCANNED, scan_frames
from nprep.kernels.numeric.crc32c import masked_crc32c

CHUNK_BYTES = 8 << 20
MAX_PAYLOAD_BYTES = 1 << 20  # A length beyond it, even with a right checksum, is not believed.

# How files begin that are mistaken for TFRecord files.
_FOREIGN = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"<", "a web page or XML: probably a failed download"),
)


@dataclass(frozen=True)
class Chunk:
    """Consecutive whole records of a file.

    Attributes:
        data: (S,) uint8; bytes of the file that hold the records with their frames.
        starts: (R,) int64; where the payloads begin in ``data``.
        lengths: (R,) int64; their lengths in bytes.
        first_record: Number in the file of the first record, counting from 0.
        offset: Place in the file of the first byte of ``data``.
        stop: Place in the file of the first byte after the records.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    first_record: int
    offset: int
    stop: int

    def payload(self, i: int) -> bytes:
        """The payload of the i-th record of the chunk."""
        return self.data[self.starts[i] : self.starts[i] + self.lengths[i]].tobytes()

    def where(self, i: int) -> tuple[int, int]:
        """Number of the i-th record and the byte of the file at which its frame begins."""
        return self.first_record + i, self.offset + int(self.starts[i]) - HEADER_BYTES


def record_error(path: Path, record: int, byte: int, problem: str) -> TableError:
    """An error that says where in a file it is.

    Args:
        path: The file.
        record: Number of the record, counting from 0.
        byte: Place in the file at which the record's frame begins.
        problem: What is wrong; a clause without a full stop.
    """
    return TableError(f"{path}: record {record} (counting from 0) at byte {byte}: {problem}.")


def _describe_foreign(head: bytes) -> str:
    """Says what a file that begins with ``head`` is, as far as that can be told."""
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return f" (it looks like {name})"
    return ""


def _bad_length(path: Path, data: NDArray[np.uint8], at: int, record: int, byte: int) -> TableError:
    """The error for a frame whose length cannot be believed."""
    if record == 0:
        foreign = _describe_foreign(data[at : at + 16].tobytes())
        return record_error(
            path,
            record,
            byte,
            f"the checksum of its length is wrong, so this is no TFRecord file{foreign}",
        )
    length = int.from_bytes(data[at : at + 8].tobytes(), "little")
    stored = int.from_bytes(data[at + 8 : at + HEADER_BYTES].tobytes(), "little")
    if int(masked_crc32c(data, at, at + 8)) == stored:
        problem = f"its length is {length} bytes, more than any record of NASBench-101 has"
    else:
        problem = "the checksum of its length is wrong: the file is damaged, download it again"
    return record_error(path, record, byte, problem)


def read_chunks(
    path: Path,
    chunk_bytes: int = CHUNK_BYTES,
    on_bytes: Callable[[memoryview], object] | None = None,
) -> Iterator[Chunk]:
    """Reads a file from its beginning to its end, a few megabytes at a time.

    Args:
        path: The file.
        chunk_bytes: How much to read at once.
        on_bytes: Called with all bytes of the file, in order (for a digest of the file). It may
            keep what it is given.

    Yields:
        Chunks with at least one record. Each has memory of its own, so they may be kept.

    Raises:
        TableError: The file cannot be read, is empty, damaged, cut off or of another kind.
    """
    record = 0
    offset = 0
    rest = np.empty(0, np.uint8)
    starts = np.empty(chunk_bytes // (HEADER_BYTES + FOOTER_BYTES) + 1, np.int64)
    lengths = np.empty_like(starts)
    try:
        with path.open("rb", buffering=0) as file:
            while True:
                data = np.empty(len(rest) + chunk_bytes, np.uint8)
                data[: len(rest)] = rest
                read = file.readinto(data.data[len(rest) :]) or 0
                if read == 0:
                    break
                if on_bytes is not None:
                    on_bytes(data.data[len(rest) : len(rest) + read])
                size = len(rest) + read
                at = 0
                found = -1
                # More than one turn only if `starts` is too short for the records of a chunk.
                while found != 0:
                    code, found, used = scan_frames(
                        data[at:], size - at, MAX_PAYLOAD_BYTES, starts, lengths
                    )
                    if found > 0:
                        yield Chunk(
                            data[at : at + used],
                            starts[:found].copy(),
                            lengths[:found].copy(),
                            record,
                            offset,
                            offset + used,
                        )
                    record += found
                    offset += used
                    at += used
                    if code != SCANNED:
                        raise _bad_length(path, data, at, record, offset)
                rest = data[at:size].copy()
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror or error}).") from error
    if len(rest) > 0:
        foreign = _describe_foreign(rest[:16].tobytes()) if record == 0 else ""
        raise record_error(
            path,
            record,
            offset,
            f"the file ends {len(rest)} bytes into it, so it is cut off{foreign}; get it again",
        )
    if record == 0:
        raise TableError(f"{path}: the file is empty.")
