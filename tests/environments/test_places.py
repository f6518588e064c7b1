"""Places that are no regular files, that the system refuses, or that are full."""

from __future__ import annotations

import errno
import importlib
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nprep import _files
from nprep._console import run
from nprep.errors import OutputError, RunFolderError, TableError
from nprep.plot.cli import main as plot
from nprep.replays.engine import run_replay
from nprep.table.writer import write_table
from tests.environments.replays import SETTINGS, SOURCE
from tests.table.small import small_content


def specials(folder: Path) -> Iterator[Path]:
    yield Path(os.devnull)
    os.mkfifo(folder / "fifo")
    yield folder / "fifo"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
        yield folder / "s"
    (folder / "folder").mkdir()
    yield folder / "folder"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_what_is_no_regular_file_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Short, for sockets have short names.
    monkeypatch.chdir(tmp_path)
    for path in specials(Path()):
        kind = stat.S_IFMT(path.stat().st_mode)
        with pytest.raises(OutputError, match="not written over"):
            _files.write_file(path, b"content")
        with pytest.raises(TableError, match="not written over"):
            write_table(path, small_content())
        assert stat.S_IFMT(path.stat().st_mode) == kind
        # A link to it is followed.
        link = Path("link")
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
        with pytest.raises(OutputError, match="not written over"):
            _files.write_file(link, b"content")
        assert link.is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="needs the right to make links")
def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "file"
    for existing in (False, True):
        link = tmp_path / f"link{existing}"
        if existing:
            target.write_bytes(b"old")
        link.symlink_to(target)
        _files.write_file(link, b"new")
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
        target.unlink()
    assert [path.name for path in (tmp_path / "real").iterdir()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_plot_refuses_a_fifo_before_it_draws(tmp_path: Path) -> None:
    run_replay(SETTINGS, SOURCE, tmp_path / "out")
    os.mkfifo(tmp_path / "f.png")
    with pytest.raises(OutputError, match="is a pipe"):
        plot([str(tmp_path / "out"), "--out", str(tmp_path / "f.png")])
    assert stat.S_ISFIFO((tmp_path / "f.png").stat().st_mode)


@pytest.fixture(params=["too long", "permission"])
def refused(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A path that may not even be looked at."""
    if request.param == "too long":
        return tmp_path / ("x" * 300)
    path, real = tmp_path / "refused", os.stat

    # The superuser is refused nothing.
    def stat(place: Any, *given: Any, **options: Any) -> os.stat_result:
        if str(place).startswith(str(path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return real(place, *given, **options)

    monkeypatch.setattr(os, "stat", stat)
    return path


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("nprep.replays.cli", ["--table", "{}"]),
        ("nprep.cli", ["merge", "{}", "{}", "--out", "{}"]),
        ("nprep.plot.cli", ["{}"]),
        ("nprep.report.cli", ["{}"]),
        ("nprep.quality.cli", ["--table", "{}"]),
        ("nprep.table.cli", ["info", "{}"]),
        ("nprep.table.cli", ["build", "{}", "t.h5"]),
    ],
)
def test_paths_that_the_system_refuses_are_one_sentence(
    refused: Path,
    module: str,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    main = importlib.import_module(module).main
    assert run(main, [text.format(refused) for text in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_into_a_folder_that_the_system_refuses_is_one_sentence(refused: Path) -> None:
    with pytest.raises(RunFolderError, match="choose another --out"):
        run_replay(SETTINGS, SOURCE, refused)


def test_a_failed_write_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"former")

    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
        _files.write_file(path, fail, durable=True)
    assert path.read_bytes() == b"former"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
