"""What kind of file an input is, and that a source is told which one reads it."""

from __future__ import annotations

import bz2
import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from nprep._console import run
from nprep.errors import TableError
from nprep.table.cli import main
from nprep.table.sources.kind import check_kind, kind_of, source_of
from nprep.table.writer import write_table
from tests import tfrecord_writer
from tests.table.small import small_content


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["hash"] = [1]


def _npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def _tfrecord(path: Path) -> None:
    path.write_bytes(tfrecord_writer.frame(b"[]"))


def _packed(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(gzip.compress(content))


def _text(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


ARCH = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|"
KINDS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "tfrecord": (_tfrecord, ("nasbench",)),
    "pickle": (
        _text(pickle.dumps({"hash": {}})),
        ("nasbench-pickle", "nb201-naslib", "freerea"),
    ),
    "pickle of 201": (_text(pickle.dumps({ARCH: {}})), ("nb201-naslib",)),
    "packed pickle": (_packed(pickle.dumps([])), ("freerea",)),
    "hdf5": (_hdf5, ("neuralpredictor",)),
    "table": (lambda path: write_table(path, small_content()), ()),
    "npz": (_npz, ("measured",)),
    "csv": (_text(b"file id,arch str,C,N\n"), ("nb201-csv",)),
    "folder": (Path.mkdir, ("nats",)),
    "packed tfrecord": (_packed(tfrecord_writer.frame(b"[]")), ()),
    "bzip2": (_text(bz2.compress(b"x")), ()),
    "web page": (_text(b"<!doctype html>"), ()),
    "pointer": (_text(b"version https://git-lfs.github.com/spec/v1\n"), ()),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_told_apart(name: str, tmp_path: Path) -> None:
    make, sources = KINDS[name]
    path = tmp_path / "input"
    make(path)
    kind = kind_of(path)
    assert kind is not None
    assert kind.sources == sources
    if len(sources) == 1:
        assert source_of(path) == sources[0]
    else:
        with pytest.raises(TableError, match=r"--source|: [a-z]"):
            source_of(path)
    for source in ("nasbench", "freerea", "measured"):
        if source in sources:
            check_kind(path, source)
        else:
            with pytest.raises(TableError, match=f"which --source {source} does not read: "):
                check_kind(path, source)


@pytest.mark.parametrize("content", [b"", b"\x80", b"neither", b"\x1f\x8b damaged", bytes(100)])
def test_what_is_not_known_is_left_to_the_source(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(content)
    assert kind_of(path) is None
    check_kind(path, "nasbench")
    with pytest.raises(TableError, match="name it with --source"):
        source_of(path)


def test_a_damaged_hdf5_file_has_a_kind(tmp_path: Path) -> None:
    path = tmp_path / "input"
    KINDS["hdf5"][0](path)
    data = path.read_bytes()
    for place in range(8, 120):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        kind = kind_of(path)
        assert kind is not None
        assert "HDF5" in kind.name


def test_an_archive_that_zipfile_cannot_read_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A version of the far future in every central header.
    path = tmp_path / "input"
    KINDS["npz"][0](path)
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    assert at > 0
    while at >= 0:
        data[at + 6] = 127
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)
    command = ["build", "--source", "measured", str(path), "--out", str(tmp_path / "t.h5")]
    assert run(main, command) == 2
    assert "is not the measured table, or it is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("tfrecord", ["--source", "nasbench-pickle"], "use --source nasbench."),
        ("pickle", ["--source", "nasbench"], "use --source nasbench-pickle or"),
        ("packed tfrecord", ["--source", "nasbench"], "unpack it with gunzip"),
        ("web page", ["--source", "measured"], "the download failed"),
        ("web page", [], "the download failed"),
        ("table", [], "use it as it is"),
        # Found out, and refused by the source that reads such files.
        ("npz", [], "is not the measured table"),
        ("hdf5", [], "it is not one of neuralpredictor"),
    ],
)
def test_the_command_names_the_source(
    kind: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "input"
    KINDS[kind][0](path)
    command = ["build", *arguments, str(path), "--out", str(tmp_path / "t.h5"), "--quiet"]
    assert run(main, command) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "t.h5").exists()
