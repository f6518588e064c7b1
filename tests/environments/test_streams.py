"""Standard streams that are closed, full or read by nobody, and what goes to them."""

from __future__ import annotations

import itertools
import json
import logging
import sys
from pathlib import Path

import pytest

from nprep._console import messages
from nprep.results.reading import read_run
from nprep.table.writer import write_table
from tests.environments.replays import HERE, QUICK, replay, shell
from tests.table.small import small_content


def test_output_that_cannot_be_encoded(tmp_path: Path) -> None:
    done = replay(tmp_path / "out", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert read_run(tmp_path / "out").methods == ("random",)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_reader_that_goes_away_ends_no_run(tmp_path: Path, more: str) -> None:
    command = f"{sys.executable} -m {HERE} {' '.join(QUICK)} --jobs 1 --out {tmp_path}/out {more}"
    done = shell(f"({command}; echo $? > {tmp_path}/status) 2>&1 | head -c 1")
    assert done.returncode == 0
    assert read_run(tmp_path / "out").methods == ("random",)
    # What a shell says of SIGPIPE; lines of JSON that nobody reads are dropped.
    assert int((tmp_path / "status").read_text()) == (0 if more else 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_error_ends_no_run(tmp_path: Path) -> None:
    command = f"{sys.executable} -m {HERE} {' '.join(QUICK)} --jobs 1 --out {tmp_path}/out"
    done = shell(f"{command} 2>/dev/full")
    assert done.returncode == 0
    assert read_run(tmp_path / "out").methods == ("random",)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_sentence(tmp_path: Path) -> None:
    write_table(tmp_path / "t.h5", small_content())
    done = shell(f"{sys.executable} -m nprep.table info {tmp_path}/t.h5 >/dev/full")
    assert done.returncode == 2
    said = done.stderr.decode()
    assert said.startswith("error: standard output cannot be written (No space left")
    assert said.count("\n") == 1
    command = f"{sys.executable} -m {HERE} {' '.join(QUICK)} --jobs 1 --out {tmp_path}/out"
    done = shell(f"{command} >/dev/full")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    # What was computed is complete.
    assert read_run(tmp_path / "out").methods == ("random",)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_process_without_streams_ends_its_run(tmp_path: Path, closed: str) -> None:
    command = f"{sys.executable} -m {HERE} {' '.join(QUICK)} --jobs 2 --block 1"
    done = shell(f"{command} --out {tmp_path}/out {closed}")
    assert done.returncode == 0
    assert read_run(tmp_path / "out").methods == ("random",)


@pytest.mark.parametrize(("quiet", "other"), [*itertools.product([False, True], [False, True])])
def test_messages_leave_a_programs_own_logging_alone(
    quiet: bool, other: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("nprep")
    handler = logging.NullHandler()
    if other:
        log.addHandler(handler)
    try:
        with messages(quiet, as_guest=True):
            log.info("something")
            log.error("grave")
    finally:
        log.removeHandler(handler)
    err = capsys.readouterr().err
    # Pytest has set up logging, so a guest says nothing by itself.
    assert err == ""
    with messages(quiet):
        log.info("something")
        log.error("grave")
    assert capsys.readouterr().err == ("error: grave\n" if quiet else "something\nerror: grave\n")
    assert not log.handlers


def test_progress_as_json_goes_on_without_a_reader(tmp_path: Path) -> None:
    done = replay(tmp_path / "out", "--json")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events[-1] == "summary"
