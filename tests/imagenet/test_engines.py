"""Trainings of a study in worker processes: what fails, and what stops them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

from nprep.errors import SettingsError  # noqa: E402 - needs torch
from nprep.imagenet.__main__ import entry  # noqa: E402
from nprep.imagenet.settings import with_fields  # noqa: E402
from nprep.imagenet.study.engines import Outcome, Task, execute, make_engine  # noqa: E402
from nprep.imagenet.training.checkpoints import load_checkpoint  # noqa: E402
from nprep.imagenet.training.folder import RunFolder  # noqa: E402
from nprep.imagenet.training.learner import Learner  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from tests.imagenet.bits import assert_same, weights_of  # noqa: E402
from tests.imagenet.helpers import tiny  # noqa: E402

_SEARCH_TEXT = (
    "search --synthetic-data 48 --num-classes 3 --image-size 16 --width 0.05 --depth 1 "
    "--stem-stride 1 --epochs 3 --batch-size 8 --warmup-epochs 0 --ema 0.9 --workers 0 --threads 1 "
    "--device cpu --candidates 50"
)
SEARCH = _SEARCH_TEXT.split()


def _small_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """A device with room for so many images; returns the sizes of batches that were tried."""
    healthy, tried = Learner._to_device, list[int]()

    def limited(learner: Learner, batch: Any, *where: int) -> Any:
        tried.append(len(batch.labels))
        if len(batch.labels) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return healthy(learner, batch, *where)

    monkeypatch.setattr(Learner, "_to_device", limited)
    return tried


def test_a_network_that_does_not_fit_takes_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny(batch_size=8, ema=0.0)
    tried = _small_memory(monkeypatch, 2)
    outcome = execute(Task(1, settings, tmp_path / "one"))
    assert outcome.result is not None, outcome.error
    assert tried[:3] == [8, 4, 2]
    # The same steps: 8 images each, and the same training for whoever resumes it.
    assert outcome.result["steps"] == 10
    assert RunFolder(tmp_path / "one").settings().accumulate == 4
    assert execute(Task(1, settings, tmp_path / "one")).result == outcome.result
    # And the same weights as with these passes from the start.
    run_training(with_fields(settings, batch_size=2, accumulate=4), tmp_path / "other")
    assert_same(weights_of(tmp_path / "one"), weights_of(tmp_path / "other"))


def test_a_network_that_never_fits_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = _small_memory(monkeypatch, 1)
    outcome = execute(Task(1, tiny(batch_size=8), tmp_path))
    assert tried == [8, 4, 2]
    assert outcome.result is None
    assert not outcome.hopeless
    assert "does not fit in memory" in outcome.error


@pytest.mark.slow
def test_a_search_that_is_stopped_saves_what_it_was_at(tmp_path: Path) -> None:
    """Clusters send SIGTERM before they kill; nothing else asked for a checkpoint."""
    command = [sys.executable, "-m", "nprep.imagenet", *SEARCH, "--out", str(tmp_path / "study")]
    command += ["--methods", "random", "--train-samples", "2", "--top-k", "1", "--jobs", "2"]
    # Trainings of one long epoch.
    command += ["--synthetic-data", "4000", "--epochs", "1", "--resume"]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "study").glob("trainings/*/starts.csv"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "stopped by a signal" in said
    assert "Traceback" not in said
    checkpoints = list((tmp_path / "study").glob("trainings/*/last.pt"))
    assert len(checkpoints) == 2
    assert all(0 < load_checkpoint(path)["step"] < 500 for path in checkpoints)


@pytest.mark.slow
def test_trainings_in_workers_may_load_images_in_processes_of_their_own(tmp_path: Path) -> None:
    engine = make_engine(None, 1, "cpu", 0, 1, print)
    outcomes: list[Outcome] = []
    task = Task(1, tiny(workers=1, epochs=1), tmp_path)
    try:
        engine.run([task], lambda task: None, lambda task, outcome: outcomes.append(outcome))
    finally:
        engine.close()
    assert outcomes[0].result is not None, outcomes[0].error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--predictor-threads", "0"], "threads is 0"),
        (["--seed", "-1"], "seed is -1"),
        (["--proxy-preset", "guess"], "guess"),
        (["--flops-max", "0.001"], "widen them"),
        (["--space", "nb101", "--flops-max", "3"], "does not know that cost"),
        (["--space", "nb201"], "nb201"),
        (["--methods", "hyperband"], "trains in full"),
    ],
)
def test_wrong_searches_train_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    study = tmp_path / "study"
    assert entry([*SEARCH, "--out", str(study), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not study.exists()


def test_jobs_are_checked() -> None:
    with pytest.raises(SettingsError, match="jobs"):
        make_engine(None, -1, "cpu", 0, 1, print)
