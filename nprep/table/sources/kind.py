"""Finds out what kind of file an input is, and which sources read that kind."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from nprep._files import reason
from nprep.errors import TableError

_HEAD_BYTES = 1 << 16
# A length and the checksum of that length begin every TFRecord file.
_FRAME = struct.Struct("<QI")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: What people call it, with its article.
        sources: Names of the sources that read it, the likeliest first.
        advice: What to do where none does.
    """

    name: str
    sources: tuple[str, ...] = ()
    advice: str = ""


_TFRECORD = Kind("a TFRecord file", ("nasbench",))
_PICKLE = Kind("a pickle", ("nasbench-pickle", "nb201-naslib", "freerea"))
_PICKLE_201 = Kind("a pickle of NAS-Bench-201", ("nb201-naslib",))
_PACKED_PICKLE = Kind("a pickle packed with gzip", ("freerea",))
_HDF5 = Kind("an HDF5 file", ("neuralpredictor",))
_TABLE = Kind("a table of nprep already", (), "use it as it is: nprep run --table")
_NPZ = Kind("a NumPy archive", ("measured",))
_CSV = Kind("a CSV file of NAS-Bench-201", ("nb201-csv",))
_FOLDER = Kind("a folder", ("nats",))

_BEGINNINGS = (
    (b"\x89HDF\r\n\x1a\n", _HDF5),
    (b"PK\x03\x04", _NPZ),
    (b"BZh", Kind("packed with bzip2", (), "unpack it with bunzip2")),
    (b"\xfd7zXZ", Kind("packed with xz", (), "unpack it with unxz")),
    (b"(\xb5/\xfd", Kind("packed with zstd", (), "unpack it with unzstd")),
    (b"PAR1", Kind("a Parquet file", (), "get the original file")),
    (b"SQLite format 3", Kind("an SQLite database", (), "get the original file")),
    (b"<", Kind("a web page", (), "the download failed: get the file again")),
    (b"version https://git-lfs", Kind("a pointer of Git LFS", (), "run git lfs pull")),
)


def _masked(checksum: int) -> int:
    """A CRC-32C as TFRecord files store it."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c(data: bytes) -> int:
    """CRC-32C of a few bytes, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _of_bytes(head: bytes) -> Kind | None:
    """The kind of a file that begins so."""
    if len(head) >= _FRAME.size:
        _, checksum = _FRAME.unpack_from(head)
        if _masked(_crc32c(head[:8])) == checksum:
            return _TFRECORD
    if head[:1] == b"\x80" and head[1:2] and head[1] <= 5:
        return _PICKLE_201 if b"|nor_conv_3x3~0|" in head or b"|none~0|" in head else _PICKLE
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if b"arch str" in head.partition(b"\n")[0]:
        return _CSV
    return None


def kind_of(path: Path) -> Kind | None:
    """The kind of a file, by its content; None if it is not known.

    Raises:
        TableError: If it cannot be read.
    """
    try:
        if path.is_dir():
            return _FOLDER
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            if head.startswith(b"\x1f\x8b"):
                file.seek(0)
                try:
                    head = gzip.GzipFile(fileobj=file).read(_HEAD_BYTES)
                except (EOFError, zlib.error, gzip.BadGzipFile):
                    # The source that is named says what is wrong.
                    return None
                inner = _of_bytes(head)
                if inner in (_PICKLE, _PICKLE_201):
                    return _PACKED_PICKLE
                name = "a file" if inner is None else inner.name
                return Kind(f"{name} packed with gzip", (), "unpack it with gunzip")
    except OSError as error:
        raise TableError(f"{path} cannot be read ({reason(error)}).") from error
    found = _of_bytes(head)
    return _TABLE if found is _HDF5 and _is_table(path) else found


def _is_table(path: Path) -> bool:
    """Whether an HDF5 file is a table of this package."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return "schema_version" in file.attrs and "cells" in file
    except (OSError, RuntimeError, LookupError, ValueError, TypeError):
        # A damaged file makes h5py fail in many ways; whoever reads it says how.
        return False


def check_kind(path: Path, source: str) -> None:
    """Refuses a file of a kind that a source does not read.

    Args:
        path: The file.
        source: Name of a source that comes with the package.

    Raises:
        TableError: If another source reads it, or none does.
    """
    kind = kind_of(path)
    if kind is None or source in kind.sources:
        return
    advice = kind.advice or f"use --source {' or '.join(kind.sources)}"
    raise TableError(f"{path} is {kind.name}, which --source {source} does not read: {advice}.")


def source_of(path: Path) -> str:
    """The name of the source that reads a file.

    Raises:
        TableError: If none does, or several could.
    """
    kind = kind_of(path)
    if kind is None:
        raise TableError(f"{path} is of a kind that is not known: name it with --source.")
    if len(kind.sources) == 1:
        return kind.sources[0]
    if kind.sources:
        raise TableError(f"{path} is {kind.name}: name it, --source {' or '.join(kind.sources)}.")
    raise TableError(f"{path} is {kind.name}: {kind.advice}.")
