"""Dead workers, second writers, full disks, replaced tables: no lost trial, one clear sentence."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from nprep._console import messages
from nprep._workers import LocalWorkers
from nprep.errors import NprepError, RunFolderError
from nprep.replays.engine import blocks_of, run_replay
from nprep.replays.workers import load_view
from nprep.results.reading import read_run
from nprep.runs.blocks import read_block
from nprep.runs.files import SUMS, read_output
from nprep.runs.settings import ReplaySettings, TableSource
from nprep.search.baselines import RandomSearch
from nprep.search.method import Method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table
from tests.synthetic import SyntheticSource
from tests.table.small import small_content

ROOT = Path(__file__).parents[2]
HERE = "tests.replay.run_synthetic"
SETTINGS = ReplaySettings(
    methods=(f"{HERE}:Slow", "evolution"), trials=6, samples=60, block=1, bootstrap=20
)
ARGUMENTS = ["--trials", "6", "--methods", ",".join(SETTINGS.methods), "--samples", "60"]
ARGUMENTS += ["--block", "1", "--bootstrap", "20"]
SOURCE = SyntheticSource()

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of Unix")


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "out"
    run_replay(SETTINGS, SOURCE, folder)
    return folder


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where slow workers leave their process numbers."""
    folder = tmp_path / "pids"
    folder.mkdir()
    monkeypatch.setenv("NPREP_TEST_PIDS", str(folder))
    return folder


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def start(folder: Path, *more: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", HERE, *ARGUMENTS, "--out", str(folder), *more]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


# Workers.


def test_a_killed_worker_costs_nothing(
    reference: Path, pids: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed = []

    def kill() -> None:
        wait_until(lambda: any(pids.iterdir()), "a worker")
        killed.append(int(next(pids.iterdir()).name))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    run_replay(SETTINGS, SOURCE, tmp_path / "out", jobs=2)
    thread.join()
    assert killed
    assert killed != [os.getpid()]
    assert "a worker died (signal 9, SIGKILL) in trials" in caplog.text
    assert "which starts again" in caplog.text
    assert everything(tmp_path / "out") == everything(reference)


def test_every_block_may_die_once(pids: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, methods=(f"{HERE}:DieOnce",), trials=2)
    run_replay(settings, SOURCE, tmp_path / "out", jobs=2)
    assert len(list(pids.glob("died-*"))) == 2
    run_replay(settings, SOURCE, tmp_path / "again")
    assert everything(tmp_path / "out") == everything(tmp_path / "again")


def test_a_block_that_keeps_dying_ends_the_run(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, methods=("random", f"{HERE}:Crash"), trials=2)
    with pytest.raises(
        NprepError, match=f"exit status 3.* {LocalWorkers.retries + 1} times"
    ) as caught:
        run_replay(settings, SOURCE, tmp_path / "out", jobs=2)
    assert "continue with --resume" in str(caught.value)
    # What was done stays.
    assert len(list(tmp_path.glob("out/trials/random/*.npz"))) == 2


# Writers.


def test_two_writers(reference: Path, pids: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = start(folder, "--jobs", "1")
    wait_until(lambda: any(folder.glob("trials/*/*.npz")), "a block")
    second = start(folder, "--resume")
    third = start(folder)
    for process, message in ((second, "is in use by another run"), (third, "is not empty")):
        _, err = process.communicate(timeout=60)
        assert process.returncode == 2
        assert err.count("\n") == 1
        assert message in err
    _, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert everything(folder) == everything(reference)


def test_a_race_has_one_winner(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    racers = [start(folder, "--seed", str(seed), "--jobs", "1") for seed in range(3)]
    errors = [racer.communicate(timeout=120)[1] for racer in racers]
    winners = [seed for seed, racer in enumerate(racers) if racer.returncode == 0]
    assert len(winners) == 1, errors
    assert sorted(racer.returncode for racer in racers) == [0, 2, 2]
    run_replay(dataclasses.replace(SETTINGS, seed=winners[0]), SOURCE, tmp_path / "alone")
    assert everything(folder) == everything(tmp_path / "alone")


# Disks.


def test_a_file_that_cannot_grow(reference: Path, tmp_path: Path) -> None:
    """A limit on file sizes fails as a full disk does, and needs no rights."""
    folder = tmp_path / "out"
    # Room for settings and trials, not for the outputs.
    small = [reference / "settings.json", *reference.glob("trials/*/*.npz")]
    limit = max(path.stat().st_size for path in small)
    assert limit < (reference / "curves.csv").stat().st_size
    process = start(
        folder,
        "--jobs",
        "2",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "cannot be written (File too large): free space" in err
    assert "--resume continues" in err
    assert not list(folder.rglob("*.tmp"))
    assert len(list(folder.glob("trials/*/*.npz"))) == len(blocks_of(SETTINGS))
    run_replay(SETTINGS, SOURCE, folder, resume=True)
    assert everything(folder) == everything(reference)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k,nr_inodes=200", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only the superuser may mount a small disk")
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk(reference: Path, small_disk: Path, jobs: int) -> None:
    folder = small_disk / "out"
    with pytest.raises(RunFolderError, match=r"No space left on device.*--resume continues"):
        run_replay(SETTINGS, SOURCE, folder, jobs=jobs)
    stored = everything(folder)
    assert 1 <= len([name for name in stored if name.endswith(".npz")]) < len(blocks_of(SETTINGS))
    assert not list(folder.rglob("*.tmp"))
    assert all(stored[name] == content for name, content in everything(reference).items()
               if name in stored)  # fmt: skip
    with pytest.raises(RunFolderError, match="No space left on device"):
        run_replay(SETTINGS, SOURCE, folder, jobs=jobs, resume=True)
    remount(small_disk, "size=4m")
    run_replay(SETTINGS, SOURCE, folder, jobs=jobs, resume=True)
    assert everything(folder) == everything(reference)


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    (small_disk / "mine").write_bytes(b"x" * 16_000)
    with pytest.raises(RunFolderError, match="No space left on device"):
        run_replay(SETTINGS, SOURCE, small_disk / "out")
    assert [path.name for path in small_disk.iterdir()] == ["mine"]


def test_a_read_only_disk(reference: Path, small_disk: Path) -> None:
    remount(small_disk, "size=4m")
    run_replay(SETTINGS, SOURCE, small_disk / "out")
    (small_disk / "out" / "curves.csv").unlink()
    remount(small_disk, "ro")
    for folder, resume in ((small_disk / "out", True), (small_disk / "new", False)):
        with pytest.raises(RunFolderError, match="cannot be written") as caught:
            run_replay(SETTINGS, SOURCE, folder, resume=resume)
        assert "Read-only file system" in str(caught.value)
    remount(small_disk, "rw")
    run_replay(SETTINGS, SOURCE, small_disk / "out", resume=True)
    assert everything(small_disk / "out") == everything(reference)


# Files.


def test_blocks_that_were_mixed_up_are_run_again(reference: Path, tmp_path: Path) -> None:
    """Sound files in wrong places, also of another run, are taken for nothing."""
    folder = Path(shutil.copytree(reference, tmp_path / "out"))
    other = tmp_path / "other"
    run_replay(dataclasses.replace(SETTINGS, seed=9), SOURCE, other)
    files = sorted(path.relative_to(folder) for path in folder.glob("trials/*/*.npz"))
    shutil.copyfile(reference / files[0], folder / files[1])
    shutil.copyfile(reference / files[0], folder / files[8])
    shutil.copyfile(other / files[3], folder / files[3])
    (folder / files[4]).unlink()
    (folder / files[4]).symlink_to(files[4].name)
    blocks = {block.file: block for block in blocks_of(SETTINGS)}
    for file in (files[1], files[8]):
        with pytest.raises(ValueError, match="other trials than its name says"):
            read_block(folder, blocks[file], 60, (600, 3))
    kept = (folder / files[5]).stat().st_mtime_ns
    run_replay(SETTINGS, SOURCE, folder, resume=True)
    assert everything(folder) == everything(reference)
    assert (folder / files[5]).stat().st_mtime_ns == kept


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"run": 3}', "seed", "other"])
def test_trials_outlive_damaged_settings(
    reference: Path, content: str | None, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(reference, tmp_path / "out"))
    path = folder / "settings.json"
    if content is None:
        path.unlink()
    elif content == "seed":
        path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    elif content != "other":
        path.write_text(content)
    kept = {file: file.stat().st_mtime_ns for file in folder.glob("trials/*/*.npz")}
    if content == "other":
        # What was asked for is another run indeed.
        with pytest.raises(RunFolderError, match="seed 0, not 1"):
            run_replay(dataclasses.replace(SETTINGS, seed=1), SOURCE, folder, resume=True)
    run_replay(SETTINGS, SOURCE, folder, resume=True)
    assert everything(folder) == everything(reference)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def test_changed_outputs_are_noticed_and_written_again(reference: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(reference, tmp_path / "out"))
    assert read_output(folder, "curves.csv") == (reference / "curves.csv").read_bytes()
    text = (folder / "curves.csv").read_text()
    (folder / "curves.csv").write_text(text.replace("9", "8", 1))
    with pytest.raises(RunFolderError, match="is not what the run wrote"):
        read_output(folder, "curves.csv")
    with pytest.raises(RunFolderError, match="is not what the run wrote"):
        read_run(folder)
    (folder / SUMS).unlink()
    with pytest.raises(RunFolderError, match=f"no {SUMS}"):
        read_run(folder)
    run_replay(SETTINGS, SOURCE, folder, resume=True)
    assert everything(folder) == everything(reference)
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", "--quiet", SUMS]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


# Tables.


class Vandal(Method):
    """Random search that overwrites the table in place while it runs."""

    name = "vandal"

    def settings(self) -> dict[str, object]:
        return {"name": self.name}

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        path = Path(os.environ["NPREP_TEST_TABLE"])
        # Into the same file, which whoever has it mapped sees.
        with path.open("r+b") as stream:
            stream.write(os.urandom(path.stat().st_size // 2))
            stream.truncate()
        return RandomSearch().run_block(view, seeds, samples, protocol)


def test_a_table_overwritten_under_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "table.h5"
    write_table(table, small_content())
    sound = table.read_bytes()
    monkeypatch.setenv("NPREP_TEST_TABLE", str(table))
    name = f"{Path(__file__).stem}:Vandal"
    monkeypatch.setitem(sys.modules, Path(__file__).stem, sys.modules[__name__])
    settings = ReplaySettings(methods=(name,), trials=4, samples=30, block=1, bootstrap=20)
    source = TableSource(table, "completed")
    before = load_view(source)
    run_replay(settings, source, tmp_path / "out")
    table.write_bytes(sound)
    results = read_block(tmp_path / "out", blocks_of(settings)[0], 30, (120, 3))
    seeds = [trial_seed(settings.seed, name, 0)]
    (trace,) = RandomSearch().run_block(before, seeds, 30, settings.protocol)
    np.testing.assert_array_equal(results.positions, trace.positions[None])
    # The digest in the folder is that of the sound table.
    run_replay(settings, source, tmp_path / "out", resume=True)


def test_a_table_replaced_under_a_resume(tmp_path: Path) -> None:
    table = tmp_path / "table.h5"
    write_table(table, small_content())
    settings = ReplaySettings(methods=("random",), trials=4, samples=30, block=1, bootstrap=20)
    source = TableSource(table, "completed")
    run_replay(settings, source, tmp_path / "out")
    before = everything(tmp_path / "out")
    sound = table.read_bytes()
    write_table(table, small_content(seed=1))
    with pytest.raises(RunFolderError, match=r"was run with view\.digest \"[0-9a-f]+\", not"):
        run_replay(settings, source, tmp_path / "out", resume=True)
    table.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(NprepError, match="truncated"):
        run_replay(settings, source, tmp_path / "out", resume=True)
    table.unlink()
    with pytest.raises(NprepError, match="cannot be read"):
        run_replay(settings, source, tmp_path / "out", resume=True)
    assert everything(tmp_path / "out") == before
    table.write_bytes(sound)
    assert len(Table.open(table)) == 120
    run_replay(settings, source, tmp_path / "out", resume=True)
    assert everything(tmp_path / "out") == before


# Clocks.


def test_a_clock_that_jumps(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: rng.choice([0.0, -1e9, 1e9, 4e9, 1e11]))
    monkeypatch.setattr(time, "time_ns", lambda: rng.choice([0, -(10**18), 10**20]))
    with messages():
        run_replay(SETTINGS, SOURCE, tmp_path / "out", jobs=2)
    assert everything(tmp_path / "out") == everything(reference)


def test_settings_say_nothing_of_time_and_place(reference: Path) -> None:
    content = json.loads((reference / "settings.json").read_text())
    assert set(content) == {"format", "run", "methods", "source", "versions"}
