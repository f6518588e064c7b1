"""Whole replays: any number of jobs, any interruption, the same files."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nprep.errors import NprepError, RunFolderError
from nprep.replays.cli import main
from nprep.replays.engine import Replay, blocks_of, run_replay
from nprep.runs.blocks import read_block
from nprep.runs.folder import locked
from nprep.runs.settings import ReplaySettings
from nprep.table.view import View
from tests.synthetic import SyntheticSource, synthetic_view

ROOT = Path(__file__).parents[2]
HERE = "tests.replay.run_synthetic"
PREDICTOR = f"{HERE}:Predictor"
SLOW = f"{HERE}:Slow"
SETTINGS = ReplaySettings(
    methods=("random", "evolution", PREDICTOR, "oracle"),
    trials=7,
    samples=120,
    train_samples=20,
    top_k=30,
    block=2,
    bootstrap=50,
    seed=3,
)
ARGUMENTS = f"--trials 8 --methods {SLOW},evolution --samples 60 --block 1 --bootstrap 20".split()


def run(folder: Path, settings: ReplaySettings = SETTINGS, **options: object) -> Replay:
    return run_replay(settings, SyntheticSource(), folder, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "out"
    run(folder)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    return {
        name: (folder / name).read_bytes() for name in ("curves.csv", "summary.json", "figure.svg")
    }


@pytest.mark.parametrize("jobs", [2, 3])
def test_files_do_not_depend_on_jobs(reference: Path, tmp_path: Path, jobs: int) -> None:
    run(tmp_path / "out", jobs=jobs)
    assert outputs(tmp_path / "out") == outputs(reference)


def test_the_seed_matters_and_methods_do_not_affect_each_other(
    reference: Path, tmp_path: Path
) -> None:
    def of(folder: Path, method: str) -> list[str]:
        lines = (folder / "curves.csv").read_text().splitlines()
        return [line for line in lines if line.startswith(method + ",")]

    fewer = ReplaySettings(
        methods=("evolution",), trials=7, samples=120, block=3, bootstrap=50, seed=3
    )
    run(tmp_path / "fewer", fewer)
    assert of(tmp_path / "fewer", "evolution") == of(reference, "evolution")
    other = ReplaySettings(
        methods=("evolution",), trials=7, samples=120, block=3, bootstrap=50, seed=4
    )
    run(tmp_path / "other", other)
    assert of(tmp_path / "other", "evolution") != of(reference, "evolution")


def test_damaged_and_missing_blocks_are_run_again(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run(folder)
    files = sorted(folder.glob("trials/*/*.npz"))
    assert len(files) == len(blocks_of(SETTINGS)) == 16
    files[0].unlink()
    files[5].write_bytes(files[5].read_bytes()[:-40])
    flipped = bytearray(files[9].read_bytes())
    flipped[len(flipped) // 2] ^= 0x10
    files[9].write_bytes(flipped)
    files[12].write_bytes(files[13].read_bytes()[:10])
    kept = files[3].stat().st_mtime_ns
    (folder / ".curves.csv.1.tmp").write_text("left by a killed run")
    (folder / "curves.csv").unlink()
    run(folder, resume=True)
    assert outputs(folder) == outputs(reference)
    assert files[3].stat().st_mtime_ns == kept
    assert not list(folder.rglob("*.tmp"))


def start(folder: Path, pids: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", HERE, *ARGUMENTS, "--out", str(folder), *more]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "NPREP_TEST_PIDS": str(pids)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: object, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    # A dead process that nobody has waited for.
    return state == "Z"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "out"
    status = main(
        [*ARGUMENTS, "--jobs", "1", "--quiet", "--out", str(folder)],
        lambda table, view: SyntheticSource(),
    )
    assert status == 0
    return folder


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_killed_run_is_resumed(uninterrupted: Path, tmp_path: Path, jobs: str) -> None:
    folder, pids = tmp_path / "out", tmp_path / "pids"
    pids.mkdir()
    process = start(folder, pids, "--jobs", jobs)
    blocks = lambda: list(folder.glob("trials/*/*.npz"))  # noqa: E731 - read by wait_until
    wait_until(lambda: len(blocks()) >= 2, "two blocks")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for pid in pids.iterdir():
        wait_until(lambda pid=pid: has_ended(int(pid.name)), "the workers' end")
    finished = len(blocks())
    assert 2 <= finished < 16
    assert not (folder / "curves.csv").exists()
    again = start(folder, pids, "--jobs", "2", "--resume")
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0
    assert f"/{16 - finished} trials" in errors
    assert outputs(folder) == outputs(uninterrupted)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupted_run_says_how_to_continue(tmp_path: Path, jobs: str) -> None:
    folder, pids = tmp_path / "out", tmp_path / "pids"
    pids.mkdir()
    process = start(folder, pids, "--jobs", jobs)
    wait_until(lambda: list(folder.glob("trials/*/*.npz")), "a block")
    # As the terminal does: to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("interrupted\n")
    assert f"--out {folder} --jobs {jobs} --resume" in errors
    assert "Traceback" not in errors
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed 3, not 4"),
        ({"trials": 8}, "trials 7, not 8"),
        ({"samples": 121}, "samples 120, not 121"),
        ({"methods": ("random",)}, "methods"),
    ],
)
def test_resume_with_other_settings_is_refused(
    reference: Path, change: dict[str, object], named: str
) -> None:
    before = outputs(reference)
    with pytest.raises(RunFolderError, match=named):
        run(reference, dataclasses.replace(SETTINGS, **change), resume=True)  # type: ignore[arg-type]
    assert outputs(reference) == before


def test_resume_with_another_table_is_refused(reference: Path) -> None:
    with pytest.raises(RunFolderError, match=r"view\.digest"):
        run_replay(SETTINGS, SyntheticSource(seed=1), reference, resume=True)


@dataclasses.dataclass(frozen=True)
class Changing(SyntheticSource):
    """Another view in every process."""

    def load(self) -> View:
        return synthetic_view(self.cells, os.getpid())


def test_table_replaced_while_workers_start(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="replaced"):
        run_replay(SETTINGS, Changing(), tmp_path / "out", jobs=2)
    assert not (tmp_path / "out").exists()


def test_second_writer_is_refused(reference: Path) -> None:
    with locked(reference), pytest.raises(RunFolderError, match="in use by another run"):
        run(reference, resume=True)
    run(reference, resume=True)


def test_finished_run_can_be_resumed(reference: Path) -> None:
    before = outputs(reference)
    run(reference, resume=True)
    assert outputs(reference) == before


@pytest.mark.parametrize(("name", "message"), [("Crash", "exit status 3"), ("Silent", "0 traces")])
def test_failing_methods_are_reported(tmp_path: Path, name: str, message: str) -> None:
    settings = ReplaySettings(
        methods=(f"{HERE}:{name}",), trials=4, samples=10, block=1, bootstrap=20
    )
    with pytest.raises(NprepError, match=message):
        run(tmp_path / "out", settings, jobs=2)
    assert not (tmp_path / "out").exists()


def test_outputs_say_what_was_run(reference: Path) -> None:
    settings = json.loads((reference / "settings.json").read_text())
    assert settings["run"]["protocol"] == {
        "name": "wen2020",
        "repeats": "architecture",
        "duplicates": "charged",
        "sampling": "cells",
        "invalid": "redrawn",
        "report": "mean",
        "shows": "accuracy",
        "axis": "samples",
        "seconds": None,
    }
    assert settings["run"]["protocol_differs_in"] == {}
    assert settings["run"]["method_settings"]["evolution"]["population"] == 50
    assert settings["run"]["view"]["provenance"]["validation_accuracy"]["modelled"] > 0
    summary = json.loads((reference / "summary.json").read_text())
    assert summary["run"] == settings["run"]
    svg = (reference / "figure.svg").read_text()
    assert "Modelled, not measured" in svg
    assert "made-up values for tests" in svg
    assert (reference / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_view_may_lack_training_times(tmp_path: Path) -> None:
    class Timeless(SyntheticSource):
        def load(self):  # type: ignore[no-untyped-def]
            view = super().load()
            return dataclasses.replace(
                view, training_seconds=np.full_like(view.training_seconds, np.nan)
            )

    settings = ReplaySettings(methods=("random",), trials=2, samples=20, bootstrap=20)
    replay = run_replay(settings, Timeless(), tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert stored["methods"]["random"]["final"]["seconds_mean"] is None
    assert replay.curves[0].test.shape == (2, 20)


@given(data=st.data())
@hypothesis_settings(max_examples=150)
def test_damaged_block_is_never_taken_for_results(reference: Path, data: st.DataObject) -> None:
    block = blocks_of(SETTINGS)[0]
    sound = (reference / block.file).read_bytes()
    damaged = bytearray(sound)
    at = data.draw(st.integers(0, len(sound) - 1))
    if data.draw(st.booleans()):
        damaged = damaged[:at]
    else:
        damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    expected = read_block(reference, block, 120, (600, 3))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / block.file).parent.mkdir(parents=True)
        (Path(folder) / block.file).write_bytes(damaged)
        try:
            results = read_block(Path(folder), block, 120, (600, 3))
        except ValueError:
            return
    # Some bytes of a zip file, such as dates, have no effect.
    np.testing.assert_array_equal(results.positions, expected.positions)
    np.testing.assert_array_equal(results.repeats, expected.repeats)
    np.testing.assert_array_equal(results.lengths, expected.lengths)
