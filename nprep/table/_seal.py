"""The seal of a table file: checksums of all its bytes, behind the end of what is HDF5.

Mapped values have no checksum of their own, and the HDF5 library may crash, or never end, on
metadata whose bytes have changed. So every byte of a table is covered by a checksum that is
compared before the byte is used: metadata before the library sees them, a dataset when its array is
first asked for. HDF5 ignores what follows the end that its own header states; a program that
changes the file with it cuts the seal off, and the file is refused.

A CRC-32 finds every change of up to 32 bits in a row, and all but one in four billion others. It
protects against damage, not against malice.

Layout: the HDF5 content, a directory in JSON, and a footer of fixed size.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

_MAGIC = b"nprepCRC"
# Length of the content, length of the directory, CRC-32 of the directory and of what is before here
# in the footer, magic.
_FIELDS = struct.Struct("<QII")
_FOOTER = struct.Struct("<QIII8s")


class BrokenSealError(ValueError):
    """What is wrong with a file's seal, in words that follow the file's name."""


@dataclass(frozen=True)
class Piece:
    """Where a dataset lies in the file.

    Attributes:
        offset: Of its first byte.
        size: In bytes.
        checksum: CRC-32 of them.
    """

    offset: int
    size: int
    checksum: int


def contiguous_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """All datasets by their paths inside the file."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)
    return found


def _gaps(pieces: Iterable[Piece], end: int) -> Iterator[tuple[int, int]]:
    """The parts of the content that are in no dataset, as offsets of begin and end."""
    position = 0
    for piece in sorted(pieces, key=lambda piece: piece.offset):
        if piece.offset > position:
            yield position, piece.offset
        position = max(position, piece.offset + piece.size)
    if position < end:
        yield position, end


def _checksum_of_gaps(view: memoryview, pieces: Iterable[Piece]) -> int:
    checksum = 0
    for begin, end in _gaps(pieces, len(view)):
        checksum = zlib.crc32(view[begin:end], checksum)
    return checksum


def seal(path: Path) -> None:
    """Appends the checksums to a file, in place of such that it has.

    Args:
        path: A complete HDF5 file; every dataset contiguous.

    Raises:
        OSError: If it cannot be written.
    """
    with open(path, "r+b") as stream:
        end = stream.seek(0, 2)
        if end >= _FOOTER.size:
            stream.seek(end - _FOOTER.size)
            length, directory, _, _, magic = _FOOTER.unpack(stream.read())
            if magic == _MAGIC and length + directory + _FOOTER.size == end:
                stream.truncate(length)
    with h5py.File(path, "r", locking=False) as file:
        places = {
            # One of no shape at all has no size.
            name: (dataset.id.get_offset(), (dataset.size or 0) * dataset.dtype.itemsize)
            for name, dataset in contiguous_datasets(file).items()
        }
    with open(path, "r+b") as stream:
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            length = len(mapped)
            view = memoryview(mapped)
            pieces = {
                # A dataset without values, or that is not contiguous, has no place of its own.
                name: Piece(at, size, zlib.crc32(view[at : at + size]))
                for name, (at, size) in sorted(places.items())
                if at is not None and size
            }
            rest = _checksum_of_gaps(view, pieces.values())
            view.release()
        directory = json.dumps(
            {
                "datasets": {n: [p.offset, p.size, p.checksum] for n, p in pieces.items()},
                "rest": rest,
            },
            separators=(",", ":"),
        ).encode()
        fields = _FIELDS.pack(length, len(directory), zlib.crc32(directory))
        stream.seek(length)
        stream.write(directory + fields + struct.pack("<I8s", zlib.crc32(fields), _MAGIC))


def read_seal(path: Path) -> dict[str, Piece]:
    """The places and checksums of a table's datasets; all else in the file has been compared.

    Raises:
        BrokenSealError: If the file has no seal, or anything outside its datasets has changed.
        OSError: If it cannot be read.
    """
    with open(path, "rb") as stream:
        end = stream.seek(0, 2)
        stream.seek(max(0, end - _FOOTER.size))
        footer = stream.read()
        if len(footer) < _FOOTER.size or not footer.endswith(_MAGIC):
            raise BrokenSealError("does not end with the checksums of one")
        length, size, of_directory, of_fields, _ = _FOOTER.unpack(footer)
        if zlib.crc32(footer[: _FIELDS.size]) != of_fields or length + size + len(footer) != end:
            raise BrokenSealError("has damaged checksums")
        stream.seek(length)
        directory = stream.read(size)
        if zlib.crc32(directory) != of_directory:
            raise BrokenSealError("has damaged checksums")
        content = json.loads(directory)
        pieces = {name: Piece(*piece) for name, piece in content["datasets"].items()}
        with mmap.mmap(stream.fileno(), length, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            rest = _checksum_of_gaps(view, pieces.values())
            view.release()
    if rest != content["rest"]:
        raise BrokenSealError("has damaged metadata: their checksum differs")
    return pieces
