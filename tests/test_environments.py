"""What users' machines do: streams, locks, handles, places that cannot be written, processes."""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import logging
import multiprocessing
import os
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nprep import _files, _workers
from nprep._console import messages, run
from nprep.errors import OutputError, RunFolderError, SettingsError, TableError
from nprep.kernels import cache
from nprep.plot.cli import main as plot
from nprep.replays import engine
from nprep.replays.engine import run_replay
from nprep.results.reading import read_run
from nprep.runs.settings import ReplaySettings
from nprep.table import _mapping
from nprep.table.table import Table
from nprep.table.writer import write_table
from tests.synthetic import SyntheticSource
from tests.table.small import small_content

ROOT = Path(__file__).parents[1]
HERE = "tests.replay.run_synthetic"
QUICK = ["--methods", "random", "--trials", "2", "--samples", "30", "--bootstrap", "10"]
SETTINGS = ReplaySettings(methods=("random",), trials=2, samples=30, bootstrap=10, block=1)
SOURCE = SyntheticSource()


def replay(out: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", HERE, *QUICK, "--jobs", "1", "--out", str(out), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
    )


def shell(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, timeout=120)


# Streams.


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


# Places.


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


def test_kernels_are_compiled_into_the_first_folder_that_can_be_written(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import tempfile
        from pathlib import Path
        tempfile.tempdir = {str(tmp_path)!r}
        from nprep.kernels import cache
        writable = cache.can_write
        cache.can_write = lambda folder: tempfile.tempdir in str(folder) and writable(folder)
        import nprep.kernels.numeric.ranks as ranks
        import numpy as np
        print(ranks.count_inversions(np.array([2, 1])) if hasattr(ranks, "count_inversions") else 1)
        """
    )
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("NUMBA_CACHE")
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**environment, "NPREP_CACHE": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "kernels are compiled into" in done.stderr
    assert list(tmp_path.glob("nprep-*/kernels/*/*.nbi"))


def test_where_nothing_can_be_written_kernels_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    script = textwrap.dedent(
        """
        from nprep.kernels import cache
        cache.can_write = lambda folder: False
        import nprep.kernels.numeric.ranks
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "compiles the kernels anew" in done.stderr
    monkeypatch.setattr(cache, "can_write", lambda folder: False)
    with pytest.raises(OutputError, match="set NPREP_CACHE"):
        _files.cache_folder()


@pytest.mark.parametrize(
    ("variable", "value", "words", "command"),
    [
        *(
            ("NUMBA_DISABLE_JIT", "1", "NUMBA_DISABLE_JIT is set", command)
            for command in (
                "nprep table build --source surrogate --out t.h5",
                "nprep.imagenet search --data absent",
                "nprep.plot absent",
                "nprep.quality",
                "nprep.replay",
                "nprep.report absent",
                "nprep.table info t.h5",
            )
        ),
        ("NUMBA_NUM_THREADS", "0", "numba does not start", "nprep.replay"),
        ("NUMBA_NUM_THREADS", "x", "numba does not start", "nprep.replay"),
        ("NPREP_SIMD", "nonsense", "NPREP_SIMD is", "nprep.replay"),
    ],
)
def test_an_environment_that_kernels_cannot_have_is_one_sentence(
    variable: str, value: str, words: str, command: str
) -> None:
    more = {"PYTHONWARNINGS": "error"} if value == "x" else {}
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        env={**os.environ, variable: value, **more},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {words}")
    assert done.stderr.count("\n") == 1


# Locks and handles.

_NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]


@pytest.fixture(params=_NO_LOCKS, ids=errno.errorcode.get)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def _hold(path: str, held: Any) -> None:
    with _files.locked(Path(path)):
        held.set()
        time.sleep(60)


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


# Drawing.


def test_figures_do_not_depend_on_a_matplotlibrc(tmp_path: Path) -> None:
    import matplotlib

    run_replay(SETTINGS, SOURCE, tmp_path / "plain")
    # LaTeX may not be there, and nobody asked for its fonts here.
    with matplotlib.rc_context(
        {"text.usetex": True, "lines.linewidth": 9, "savefig.bbox": "tight", "font.size": 30}
    ):
        run_replay(SETTINGS, SOURCE, tmp_path / "own")
        assert matplotlib.rcParams["text.usetex"]
    plain, own = ((tmp_path / name / "figure.svg").read_bytes() for name in ("plain", "own"))
    assert plain == own


@pytest.mark.parametrize("backend", ["module://no_such_module", "nonsense"])
def test_a_backend_of_another_program(tmp_path: Path, backend: str) -> None:
    done = replay(tmp_path / "out", MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "figure.png").is_file()


def test_a_run_is_finished_without_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(engine, "save_figure", fail)
    made = run_replay(SETTINGS, SOURCE, tmp_path / "out")
    assert "the figure could not be drawn (RuntimeError: no fonts)" in caplog.text
    assert not (tmp_path / "out" / "figure.png").exists()
    assert {path.name for path in made.files} >= {"curves.csv", "summary.json"}
    assert read_run(tmp_path / "out").methods == ("random",)
    assert plot([str(tmp_path / "out"), "--out", str(tmp_path / "f.png")]) == 0


# Processes.

_SCRIPT = """
import sys
import nprep
from tests.synthetic import synthetic_view
print("begins", flush=True)
result = nprep.run(2, "random", synthetic_view(), samples=20, bootstrap=10, block=1, jobs=2)
print("ends", flush=True)
"""


def _view_script() -> str:
    return _SCRIPT.replace(
        "from tests.synthetic import synthetic_view", "from tests.synthetic import SyntheticSource"
    ).replace("synthetic_view()", "SyntheticSource().load()")


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(_view_script())
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("nprep.errors.SettingsError: worker processes would run this script")
    assert '`if __name__ == "__main__":`' in last
    # Workers say nothing: one traceback, that of the script itself.
    assert done.stderr.count("Traceback") == 1
    assert "memory" not in done.stderr


def test_a_script_with_a_guard_runs(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    head, body = _view_script().split('print("begins"')
    body = textwrap.indent(f'print("begins"{body}', "    ")
    path.write_text(f'{head}\nif __name__ == "__main__":\n{body}')
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begins", "ends"]


def test_a_script_from_standard_input_is_told() -> None:
    done = subprocess.run(
        [sys.executable],
        input=_view_script(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "SettingsError: the script was read from" in last
    assert "jobs=1" in last


def _in_a_daemon(queue: Any) -> None:
    try:
        _workers.check_can_start()
        queue.put("")
    except SettingsError as error:
        queue.put(str(error))


def test_a_daemonic_process_is_told() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_in_a_daemon, args=(queue,), daemon=True)
    process.start()
    process.join(60)
    assert "daemonic process" in queue.get()


def _boom(place: object) -> Callable[[int], int]:
    def task(number: int) -> int:
        if number == 3:
            os._exit(7)
        if number == 5:
            raise ValueError("a bug")
        return number * number

    return task


def test_workers_report_answers_deaths_and_bugs() -> None:
    from collections import deque

    pool = _workers.LocalWorkers(range(2))
    try:
        ended = list(pool.run(_boom, deque([1, 2, 3, 4])))
        assert sorted(each.answer for each in ended if not each.died) == [1, 4, 16]
        (lost,) = [each for each in ended if each.died]
        assert (lost.task, lost.died) == (3, "a worker died (exit status 7)")
        # Processes stay for more of the same.
        assert [each.answer for each in pool.run(_boom, deque([6]))] == [36]
        with pytest.raises(RuntimeError, match=r"number 5 failed:[\s\S]*a bug"):
            list(pool.run(_boom, deque([5]), name=lambda task: f"number {task}"))
    finally:
        pool.close()


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
