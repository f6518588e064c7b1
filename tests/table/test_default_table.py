"""The default table: built once, into a cache that others use too, or that is not to be had."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import nprep
from nprep._console import messages
from nprep.errors import OutputError
from nprep.kernels import cache
from nprep.table import cli, default, writer
from nprep.table.schema import Content
from nprep.table.sources import surrogate
from nprep.table.table import Table
from tests.table.small import small_content


def stub_build(build_seed: int, progress: object, threads: int | None = None) -> Content:
    """A table that is made at once."""
    return small_content()


def test_default_table_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path / "new" / "folder"))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    with messages():
        first = default.default_table_path()
    told = capsys.readouterr().err
    assert "fitted surrogate of NASBench-101" in told
    assert str(first) in told
    stamp = first.stat().st_mtime_ns
    assert default.default_table_path() == first
    assert first.stat().st_mtime_ns == stamp
    assert capsys.readouterr().err == ""


def test_damaged_default_table_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    path = default.default_table_path()
    path.write_bytes(path.read_bytes()[:1000])
    assert default.default_table_path() == path
    Table.open(path)


def test_failed_build_leaves_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Content:
        raise KeyboardInterrupt

    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", fail)
    with pytest.raises(KeyboardInterrupt):
        default.default_table_path()
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    # The lock went with it.
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    assert default.default_table_path().is_file()


def _ask(folder: str, counter: str) -> None:
    os.environ["NPREP_CACHE"] = folder

    def build(build_seed: int, progress: object, threads: int | None = None) -> Content:
        with open(counter, "a") as file:
            file.write("built\n")
        return small_content()

    surrogate.build_content = build  # type: ignore[assignment]
    Table.open(default.default_table_path())


def test_two_processes_at_once_build_one_table(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_ask, args=(str(tmp_path / "cache"), str(counter))) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert counter.read_text() == "built\n"


def _hang_while_writing(folder: str, reached: str) -> None:
    def hang(*_: object) -> None:
        Path(reached).touch()
        time.sleep(600)

    os.environ["NPREP_CACHE"] = folder
    surrogate.build_content = stub_build  # type: ignore[assignment]
    writer._write_metrics = hang
    default.default_table_path()


def test_a_killed_build_blocks_no_other_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, reached = tmp_path / "cache", tmp_path / "reached"
    process = multiprocessing.get_context("spawn").Process(
        target=_hang_while_writing, args=(str(folder), str(reached))
    )
    process.start()
    deadline = time.monotonic() + 120
    while not reached.exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()
    assert list(folder.glob(".*.tmp"))
    monkeypatch.setenv("NPREP_CACHE", str(folder))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    path = default.default_table_path()
    Table.open(path)
    assert sorted(p.name for p in folder.iterdir()) == [path.name, path.with_suffix(".lock").name]


def test_a_table_of_other_weights_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    old = default.default_table_path()
    monkeypatch.setattr(default, "file_digest", lambda path: f"other weights {path.name}")
    new = default.default_table_path()
    assert new != old
    # The older version may still be in use.
    assert old.is_file()
    monkeypatch.undo()
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(nprep, "__version__", "0.0.other")
    assert default.cache_file() not in (old, new)


def test_a_read_only_cache_serves_the_table_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    path = default.default_table_path()
    # Whoever runs the tests may have a table of their own in the other folders.
    monkeypatch.setattr(cache, "candidates", lambda: iter([tmp_path]))
    # Not by the folder's mode, which does not bind the superuser.
    monkeypatch.setattr(cache, "can_write", lambda folder: False)
    assert default.default_table_path() == path
    path.unlink()
    with pytest.raises(OutputError, match="can be written: set NPREP_CACHE"):
        default.default_table_path()


def test_an_unwritable_cache_gives_way_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    assert default.default_table_path().parent == tmp_path / "xdg" / "nprep"
    assert "is used instead" in caplog.text


def test_without_locks_the_table_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    Table.open(default.default_table_path())
    assert not list(tmp_path.glob("*.lock-file"))


def test_building_to_the_cache_waits_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    entered = []

    @contextlib.contextmanager
    def alone_with(path: Path) -> Iterator[None]:
        entered.append(path)
        yield

    monkeypatch.setattr(default, "alone_with", alone_with)
    assert cli.main(["build", "--source", "surrogate", "--quiet"]) == 0
    assert entered == [default.cache_file()]
    assert default.cache_file().is_file()


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPREP_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert next(cache.candidates()) == Path("/somewhere/nprep")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert next(cache.candidates()) == Path.home() / ".cache/nprep"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert next(cache.candidates()) == Path.home() / "Library/Caches/nprep"
    monkeypatch.setenv("NPREP_CACHE", "/mine")
    assert next(cache.candidates()) == Path("/mine")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("NPREP_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = cache.cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    # What anybody else could have put there is not trusted.
    folder.chmod(0o777)
    assert cache.cache_folder() is None
