from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import TableError
from nprep.kernels.numeric.crc32c import crc32c, masked_crc32c
from nprep.table.sources.tfrecord import MAX_PAYLOAD_BYTES, read_chunks
from tests import tfrecord_writer as writer


def as_array(data: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(data), np.uint8)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        # RFC 3720, appendix B.4, and the catalogue's check value.
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_crc32c_has_the_published_values(data: bytes, value: int) -> None:
    assert int(crc32c(as_array(data), 0, len(data))) == value
    assert writer.crc32c(data) == value


@given(st.binary(max_size=200), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=100)
def test_crc32c_of_any_part_is_that_of_the_slow_one(data: bytes, skip: int, drop: int) -> None:
    array = as_array(data)
    start = min(skip, len(data))
    stop = max(start, len(data) - drop)
    part = data[start:stop]
    assert int(crc32c(array, start, stop)) == writer.crc32c(part)
    assert int(masked_crc32c(array, start, stop)) == writer.mask(writer.crc32c(part))


def test_crc32c_is_that_of_googles_library() -> None:
    google = pytest.importorskip("google_crc32c")
    data = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8)
    for start, stop in ((0, 5000), (1, 4999), (17, 18), (3, 2003)):
        assert int(crc32c(data, start, stop)) == google.value(data[start:stop].tobytes())


def read_all(path: Path, chunk_bytes: int) -> list[bytes]:
    found = []
    for chunk in read_chunks(path, chunk_bytes):
        assert len(chunk.starts) > 0
        assert chunk.first_record == len(found)
        for i in range(len(chunk.starts)):
            assert chunk.where(i)[0] == len(found)
            found.append(chunk.payload(i))
    return found


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=30), st.sampled_from([1, 7, 16, 50, 1000])
)
@settings(max_examples=50)
def test_reading_in_chunks_of_any_size_finds_every_record(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], chunk_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("tf") / "file.tfrecord"
    writer.write(path, payloads)
    assert read_all(path, chunk_bytes) == payloads


def test_places_of_records_and_the_files_digest(tmp_path: Path) -> None:
    path = tmp_path / "file.tfrecord"
    payloads = [b"a" * 10, b"", b"c" * 33]
    writer.write(path, payloads)
    digest = hashlib.sha256()
    places = []
    for chunk in read_chunks(path, 40, digest.update):
        places += [chunk.where(i) for i in range(len(chunk.starts))]
        stop = chunk.stop
    assert places == [(0, 0), (1, 26), (2, 42)]
    assert stop == path.stat().st_size
    assert digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()


PAYLOADS = [b"x" * 20, b"y" * 30, b"z" * 25]
# The second record begins at byte 36: length, checksum, 30 bytes, checksum; it ends at 82.


@pytest.mark.parametrize("chunk_bytes", [11, 4096])
@pytest.mark.parametrize("place", [36, 39, 43, 44, 47])
def test_a_flipped_bit_in_a_length_or_its_checksum(
    tmp_path: Path, place: int, chunk_bytes: int
) -> None:
    path = tmp_path / "file.tfrecord"
    writer.write(path, PAYLOADS)
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(TableError, match=r"record 1 \(counting from 0\) at byte 36: .*length"):
        read_all(path, chunk_bytes)


@pytest.mark.parametrize("chunk_bytes", [11, 4096])
@pytest.mark.parametrize("size", [37, 43, 44, 47, 48, 60, 77, 78, 80, 81])
def test_a_file_cut_off_within_a_record(tmp_path: Path, size: int, chunk_bytes: int) -> None:
    path = tmp_path / "file.tfrecord"
    writer.write(path, PAYLOADS)
    path.write_bytes(path.read_bytes()[:size])
    message = rf"record 1 .* at byte 36: the file ends {size - 36} bytes into it"
    with pytest.raises(TableError, match=message):
        read_all(path, chunk_bytes)


def test_a_length_that_no_record_has(tmp_path: Path) -> None:
    length = struct.pack("<Q", MAX_PAYLOAD_BYTES + 1)
    checksum = struct.pack("<I", writer.mask(writer.crc32c(length)))
    path = tmp_path / "file.tfrecord"
    path.write_bytes(writer.frame(b"good") + length + checksum + b"more")
    with pytest.raises(TableError, match=r"record 1 .* more than any record"):
        read_all(path, 4096)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
        (b"\x1f\x8b" + bytes(100), "a gzip archive"),
        (b"PK\x03\x04" + bytes(100), "a zip archive"),
        (b"\x80\x04" + bytes(100), "a pickle"),
        (b"PAR1" + bytes(100), "a Parquet file"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"module_hash,epochs,accuracy\n" * 5, "no TFRecord file"),
        (b"short", "cut off"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.tfrecord"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_all(path, 4096)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        read_all(tmp_path / "nothing", 4096)
