"""File systems without locks, locks that others hold, faults that are no damage."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nprep import _files
from nprep.errors import RunFolderError, TableError
from nprep.replays.engine import run_replay
from nprep.results.reading import read_run
from nprep.table import _mapping
from nprep.table.table import Table
from nprep.table.writer import write_table
from tests.environments.replays import ROOT, SETTINGS, SOURCE
from tests.table.small import small_content

_NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]


@pytest.fixture(params=_NO_LOCKS, ids=errno.errorcode.get)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_a_file_system_without_locks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nprep")
    run_replay(SETTINGS, SOURCE, tmp_path / "out")
    assert "without locks" in caplog.text
    assert read_run(tmp_path / "out").methods == ("random",)
    run_replay(SETTINGS, SOURCE, tmp_path / "out", resume=True)
    held = _files.locked(tmp_path / "out" / ".lock")
    with held, pytest.raises(RunFolderError, match="in use by another run"):
        run_replay(SETTINGS, SOURCE, tmp_path / "out", resume=True)
    # Reading and writing tables asks for none.
    write_table(tmp_path / "t.h5", small_content())
    Table.open(tmp_path / "t.h5")


@pytest.mark.usefixtures("no_locks")
def test_a_lock_file_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    script = (
        "import fcntl, os, sys; from pathlib import Path; from nprep import _files\n"
        "def refuse(*_): raise OSError(95, 'Operation not supported')\n"
        "fcntl.flock = refuse\n"
        f"held = _files.locked(Path({str(path)!r})); held.__enter__(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=60)
    assert (tmp_path / ".lock-file").exists()
    with _files.locked(path, timeout=10):
        pass


def test_whoever_waits_for_a_lock_is_told_once(tmp_path: Path) -> None:
    told = []
    with _files.locked(tmp_path / "lock"):
        start = time.monotonic()
        with (
            pytest.raises(_files.LockHeldError),
            _files.locked(tmp_path / "lock", timeout=0.5, waiting=lambda: told.append(1)),
        ):
            pytest.fail("it is held")
        assert time.monotonic() - start >= 0.5
    assert told == [1]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EMFILE, "too many files are open"),
        (errno.ENOLCK, "locks"),
        (errno.EACCES, "permission"),
        (errno.EIO, "disk or network"),
    ],
)
@pytest.mark.parametrize("where", ["read_seal", "File"])
def test_faults_of_the_surroundings_are_no_damage(
    number: int, words: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "t.h5", small_content())

    def fail(*_: object, **__: object) -> None:
        # As h5py does, which gives its errors no number.
        raise OSError(f"Unable to open file (errno = {number}, error message = 'x')")

    target = _mapping if where == "read_seal" else _mapping.h5py
    monkeypatch.setattr(target, where, fail)
    with pytest.raises(TableError, match=words) as caught:
        Table.open(tmp_path / "t.h5")
    assert "damaged" not in str(caught.value)
    assert "copy" not in str(caught.value)
