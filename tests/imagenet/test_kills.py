"""A search that is killed several times gives the results of an uninterrupted one."""

from __future__ import annotations

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

from nprep.imagenet import search_cli  # noqa: E402 - needs torch
from nprep.imagenet.__main__ import entry  # noqa: E402
from nprep.imagenet.study.engines import Outcome, Task, execute  # noqa: E402
from nprep.imagenet.study.ledger import Ledger  # noqa: E402
from nprep.imagenet.training.checkpoints import load_checkpoint  # noqa: E402
from nprep.imagenet.training.folder import RunFolder  # noqa: E402

pytestmark = pytest.mark.slow

_SEARCH_TEXT = (
    "search --synthetic-data 48 --num-classes 3 --image-size 16 --width 0.05 --depth 1 "
    "--stem-stride 1 --epochs 3 --batch-size 8 --warmup-epochs 0 --ema 0.9 --workers 0 --threads 1 "
    "--device cpu --train-samples 6 --top-k 2 --candidates 50 --checkpoint-steps 2"
)
SEARCH = _SEARCH_TEXT.split()


class InlineEngine:
    """Trains in this process, one network after another."""

    parallel = 1

    def run(
        self,
        tasks: Sequence[Task],
        started: Callable[[Task], None],
        ended: Callable[[Task, Outcome], None],
    ) -> None:
        for task in tasks:
            started(task)
            ended(task, execute(task))

    def close(self) -> None:
        pass


def finished(study: Path) -> dict[str, str]:
    ledger = study / "ledger.sqlite"
    if not ledger.exists():
        return {}
    db = sqlite3.connect(ledger)
    try:
        return dict(db.execute("SELECT encoding, result FROM trainings WHERE status = 'done'"))
    except sqlite3.OperationalError:
        return {}
    finally:
        db.close()


def answers(study: Path) -> tuple[list[Any], dict[str, dict[str, Any]], dict[str, Any]]:
    """What the method asked for, and the results and the weights of every network."""
    ledger = Ledger(study / "ledger.sqlite")
    asked = [(q.phase, q.training.encoding, q.predicted) for q in ledger.queries("np")]
    trainings = ledger.trainings()
    ledger.close()
    folders = {RunFolder(path).settings().arch: path for path in study.glob("trainings/*")}
    assert folders.keys() == {t.encoding for t in trainings}
    weights = {name: load_checkpoint(path / "last.pt") for name, path in folders.items()}
    results = {t.encoding: {**(t.result or {}), "train_seconds": 0} for t in trainings}
    return asked, results, {n: {**s["model"], **s["average"]} for n, s in weights.items()}


def test_a_killed_search_resumes_and_repeats_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(search_cli, "make_engine", lambda *args: InlineEngine())
        patch.setattr(search_cli, "_deploy", lambda study: None)
        assert entry([*SEARCH, "--out", str(tmp_path / "whole")]) == 0
    study = tmp_path / "killed"
    command = [sys.executable, "-m", "nprep.imagenet", *SEARCH, "--out", str(study), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    rng = np.random.default_rng()
    done: dict[str, str] = {}
    # Two trainings at a time at first, then one: a study may be resumed on fewer machines.
    for wanted, jobs in ((1, "2"), (3, "1"), (5, "1")):
        process = subprocess.Popen(
            [*command, "--jobs", jobs],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(finished(study)) < wanted and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        now = finished(study)
        # What was done stays as it was, running times included.
        assert now.items() >= done.items()
        done = now
    last = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert finished(study).items() >= done.items()
    assert (study / "deploy" / "best.torchscript.pt").exists()
    for training in study.glob("trainings/*"):
        with (training / "starts.csv").open() as file:
            steps = [int(row["step"]) for row in csv.DictReader(file)]
        assert steps == sorted(steps)
    asked, results, weights = answers(study)
    wanted_asked, wanted_results, wanted_weights = answers(tmp_path / "whole")
    assert asked == wanted_asked
    assert results == wanted_results
    assert weights.keys() == wanted_weights.keys()
    for name, tensors in wanted_weights.items():
        assert all(torch.equal(weights[name][key], value) for key, value in tensors.items())
