"""Trainings: the same bits however they are interrupted, and what ends one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from nprep.imagenet.data import sources  # noqa: E402
from nprep.imagenet.settings import preset  # noqa: E402
from nprep.imagenet.training.checkpoints import load_checkpoint  # noqa: E402
from nprep.imagenet.training.folder import RunFolder, StoppedError  # noqa: E402
from nprep.imagenet.training.learner import DivergedError, Learner  # noqa: E402
from nprep.imagenet.training.progress import TrainingProgress  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from tests.imagenet.bits import assert_same, rows_of, weights_of  # noqa: E402
from tests.imagenet.helpers import tiny  # noqa: E402


class _StopAfter(RunFolder):
    """Behaves as if a signal came during a step."""

    steps = 0

    @property
    def asked(self) -> bool:
        type(self).steps -= 1
        return self.steps == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": "colour"},
        {"mixup": 0.2, "cutmix": 1.0, "accumulate": 2, "batch_size": 4},
        {"optimiser": "rmsprop-tf", "lr": 0.05, "clip_norm": 1.0, "amp": "bf16"},
        {"ema": 0.0, "augment": "randaugment", "channels_last": True, "amp": "fp16"},
    ],
    ids=["colour", "mix", "rmsprop", "fp16"],
)
def test_stopped_and_resumed_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    settings = tiny(**changes)
    whole = run_training(settings, tmp_path / "whole")
    for steps in (1, 3, 8):
        run = tmp_path / f"parts{steps}"
        with monkeypatch.context() as patch:
            _StopAfter.steps = steps
            patch.setattr("nprep.imagenet.training.run.RunFolder", _StopAfter)
            with pytest.raises(StoppedError, match="--resume"):
                run_training(settings, run)
        stopped = load_checkpoint(run / "last.pt")["step"]
        assert 0 < stopped < 10
        # What ran in between must not matter.
        torch.manual_seed(99)
        parts = run_training(settings, run, resume=True)
        assert_same(weights_of(run), weights_of(tmp_path / "whole"))
        assert rows_of(run) == rows_of(tmp_path / "whole")
        assert {**parts, "train_seconds": 0} == {**whole, "train_seconds": 0}


def test_loader_processes_change_nothing(tmp_path: Path) -> None:
    for workers in (0, 2):
        run_training(tiny(workers=workers, epochs=1), tmp_path / str(workers))
    assert_same(weights_of(tmp_path / "0"), weights_of(tmp_path / "2"))


def test_seeds_matter(tmp_path: Path) -> None:
    for seed in (0, 1):
        run_training(tiny(seed=seed, max_steps=1), tmp_path / str(seed))
    first, second = (weights_of(tmp_path / str(seed))["model"] for seed in (0, 1))
    assert not torch.equal(first["stem.0.weight"], second["stem.0.weight"])


@pytest.mark.slow
def test_killed_at_random_moments_gives_the_same_bits(tmp_path: Path) -> None:
    settings = tiny(synthetic_data=200, epochs=4, checkpoint_steps=3)
    run_training(settings, tmp_path / "whole")
    # Processes of their own, out of one that has imported torch for all of them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nprep.imagenet.training.loop", "torchvision.transforms.v2"])
    rng = np.random.default_rng()
    killed = 0
    run = tmp_path / "killed"
    for _ in range(3):
        process = context.Process(target=run_training, args=(settings, run, True))
        process.start()
        # From a new checkpoint on there is something to lose.
        before = _mtime(run / "last.pt")
        while _mtime(run / "last.pt") == before and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed
    result = run_training(settings, run, resume=True)
    assert result["steps"] == 100
    assert_same(weights_of(run), weights_of(tmp_path / "whole"))
    assert rows_of(run) == rows_of(tmp_path / "whole")
    assert not list(run.glob(".*.tmp"))


def _mtime(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


PAIR = """
import os, sys
from pathlib import Path
from nprep.imagenet.training.run import run_training
from tests.imagenet.helpers import tiny
run_training(tiny(batch_size=4, **eval(sys.argv[2])), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    # Three steps: rounding differences grow with every step of a batch-normalised network.
    changes = {"sync_bn": True, "dropout": 0.0, "max_steps": 3, "lr": 0.05, "augment": "colour"}
    run_training(tiny(batch_size=8, **changes), tmp_path / "one")
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "--no-python", sys.executable, "-c", PAIR, str(tmp_path / "two"), repr(changes)],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    one, two = weights_of(tmp_path / "one")["model"], weights_of(tmp_path / "two")["model"]
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)
    results = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("one", "two")]
    # 10 validation images over 2 processes: none counted twice.
    assert [result["val_images"] for result in results] == [10, 10]


def test_it_learns(tmp_path: Path) -> None:
    result = run_training(tiny(epochs=12, lr=0.5, dropout=0.0), tmp_path / "run")
    assert result["val_top1"] > 0.6


def test_overfit_batches_sees_only_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    healthy = sources.SyntheticSource.read

    def read(source: sources.SyntheticSource, index: int) -> bytes:
        if source._seed == 0:  # the training images
            seen.add(index)
        return healthy(source, index)

    monkeypatch.setattr(sources.SyntheticSource, "read", read)
    result = run_training(tiny(overfit_batches=2, epochs=3), tmp_path / "run")
    assert result["steps"] == 6
    assert len(seen) == 16


def test_divergence_is_reported_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = Learner._to_device

    def spoil(learner: Learner, *args: Any) -> Any:
        images, labels = healthy(learner, *args)
        return images * (torch.nan if learner.step == 3 else 1), labels

    monkeypatch.setattr(Learner, "_to_device", spoil)
    with pytest.raises(DivergedError, match="not a number at step 4"):
        run_training(tiny(checkpoint_steps=1), tmp_path)
    state = load_checkpoint(tmp_path / "last.pt")
    assert state["step"] == 3


def test_fp16_skips_an_overflow_and_ends_at_a_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = Learner._to_device

    def spoil_from(first: int, last: int) -> None:
        def spoil(learner: Learner, *args: Any) -> Any:
            images, labels = healthy(learner, *args)
            return images * (torch.inf if first <= learner.step < last else 1), labels

        monkeypatch.setattr(Learner, "_to_device", spoil)

    spoil_from(3, 5)
    # The running averages of batch norm take the infinite images in.
    settings = tiny(amp="fp16", ema=0.0)
    assert run_training(settings, tmp_path / "few")["steps"] == 10
    spoil_from(3, 99)
    with pytest.raises(DivergedError):
        run_training(tiny(amp="fp16", epochs=9), tmp_path / "all")


def test_speed_leaves_validation_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("nprep.imagenet.training.progress.time.monotonic", lambda: now)
    progress = TrainingProgress(100, 10, 5.0, show=False)
    sums = torch.ones(2)
    for epoch in range(2):
        progress.start_epoch()
        for step in range(3):
            now += 1.0
            progress.step(epoch, step, sums)
        now += 50.0  # validation
    assert progress.images_per_second == pytest.approx(10.0)


def test_nasbench_cell_trains_the_official_way(tmp_path: Path) -> None:
    cell = "nb101:010001000:input,conv3x3-bn-relu,output"
    settings = preset(
        "nb101", arch=cell, synthetic_data=24, num_classes=3, width=0.1, image_size=16,
        batch_size=8, epochs=2, holdout=0, workers=0, threads=1, device="cpu", quiet=True,
    )  # fmt: skip
    assert run_training(settings, tmp_path)["steps"] == 6
