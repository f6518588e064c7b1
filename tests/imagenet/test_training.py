from __future__ import annotations

import csv
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

from nprep.errors import NprepError, RunFolderError, SettingsError  # noqa: E402 - needs torch
from nprep.imagenet import files  # noqa: E402
from nprep.imagenet.__main__ import entry  # noqa: E402
from nprep.imagenet.data import loading, sources  # noqa: E402
from nprep.imagenet.networks.architectures import build  # noqa: E402
from nprep.imagenet.settings import PRESETS, preset  # noqa: E402
from nprep.imagenet.training.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402
from nprep.imagenet.training.folder import RunFolder, StoppedError  # noqa: E402
from nprep.imagenet.training.learner import DivergedError, Learner  # noqa: E402
from nprep.imagenet.training.loop import Trainer  # noqa: E402
from nprep.imagenet.training.optimisers import (  # noqa: E402
    WeightAverage,
    learning_rate,
    parameter_groups,
)
from nprep.imagenet.training.processes import Processes  # noqa: E402
from nprep.imagenet.training.progress import TrainingProgress  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from tests.imagenet.helpers import ARCH, image_folder, tiny  # noqa: E402


def weights_of(run: Path) -> dict[str, Any]:
    state = load_checkpoint(run / "last.pt")
    return {"model": state["model"], "average": state["average"], "optimiser": state["optimiser"]}


def assert_same(left: Any, right: Any) -> None:
    """Bit for bit, through containers."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for name in left:
            assert_same(left[name], right[name])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    else:
        assert left == right


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "summary.csv").open() as file:
        return [{k: v for k, v in r.items() if k != "train_seconds"} for r in csv.DictReader(file)]


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


def test_folder_of_a_run(tmp_path: Path) -> None:
    settings = tiny()
    run_training(settings, tmp_path)
    assert RunFolder(tmp_path).settings() == settings
    assert [row["epoch"] for row in rows_of(tmp_path)] == ["1", "2"]
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock", "args.yaml", "best.pt", "last.pt", "previous.pt", "result.json", "starts.csv",
        "summary.csv",
    }  # fmt: skip
    with pytest.raises(RunFolderError, match="holds a run"):
        run_training(settings, tmp_path)
    # Resuming what is finished returns its result without training.
    assert run_training(settings, tmp_path, resume=True)["steps"] == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"lr": 0.1}, "lr 0.5"), ({"epochs": 5}, "epochs 2"), ({"synthetic_data": 80}, "synthetic")],
)
def test_resuming_with_other_settings_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run_training(tiny(), tmp_path)
    (tmp_path / "result.json").unlink()
    with pytest.raises(RunFolderError, match=message):
        run_training(tiny(**changes), tmp_path, resume=True)


def test_a_second_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    holder = RunFolder(tmp_path)
    holder.lock()
    with pytest.raises(RunFolderError, match="in use"):
        run_training(tiny(), tmp_path)
    holder.unlock()
    run_training(tiny(max_steps=1), tmp_path)


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


def test_full_disk_keeps_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_training(tiny(max_steps=5), tmp_path)
    before = (tmp_path / "last.pt").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nprep._files.os.fsync", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        files.write_file(tmp_path / "last.pt", lambda file: file.write(b"half"))
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_damaged_checkpoint_is_reported(tmp_path: Path) -> None:
    run_training(tiny(), tmp_path)
    (tmp_path / "result.json").unlink()
    (tmp_path / "previous.pt").unlink()
    whole = (tmp_path / "last.pt").read_bytes()
    for length in (5000, 0):
        (tmp_path / "last.pt").write_bytes(whole[:length])
        with pytest.raises(RunFolderError, match="damaged"):
            run_training(tiny(), tmp_path, resume=True)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(tmp_path: Path) -> None:
    run_training(tiny(), tmp_path / "whole")
    run_training(tiny(), tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "last.pt").write_bytes(b"")
    run_training(tiny(), tmp_path / "run", resume=True)
    assert_same(weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"))


def test_a_refused_resumption_changes_nothing(tmp_path: Path) -> None:
    run_training(tiny(), tmp_path)
    (tmp_path / "result.json").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(RunFolderError, match="epochs 2"):
        run_training(tiny(epochs=9), tmp_path, resume=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    assert run_training(tiny(), tmp_path, resume=True)["epochs"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"epochs": 3}, "epochs 2 and 3"), ({"arch": "2000000"}, "arch '0000000' and '2000000'")],
)
def test_a_finished_run_answers_only_for_itself(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    result = run_training(tiny(), tmp_path)
    assert run_training(tiny(workers=1), tmp_path, resume=True) == result
    with pytest.raises(RunFolderError, match=message):
        run_training(tiny(**changes), tmp_path, resume=True)


def test_another_network_is_not_the_finished_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(tiny(), tmp_path)
    assert entry(["train", ARCH, "--out", str(tmp_path), "--resume"]) == 0
    assert entry(["train", "2000000", "--out", str(tmp_path), "--resume"]) == 2
    assert "arch '0000000'" in capsys.readouterr().err


@pytest.mark.slow
def test_half_the_batch_resumes_as_the_same_run(tmp_path: Path) -> None:
    """After a lack of memory; a step sees the same images, and where it computes is no matter."""
    run_training(tiny(max_steps=3, threads=1), tmp_path)
    (tmp_path / "result.json").unlink()
    state = load_checkpoint(tmp_path / "last.pt")
    state["settings"]["device"] = "cuda:1"
    state["settings"]["max_steps"] = 0
    save_checkpoint(tmp_path / "last.pt", {k: v for k, v in state.items() if k != "format"})
    settings = tiny(batch_size=4, accumulate=2, threads=2)
    result = run_training(settings, tmp_path, resume=True)
    assert result["steps"] == 8  # an epoch cut short at step 3, and one of 5
    with pytest.raises(RunFolderError, match="batch_size 8"):
        run_training(tiny(batch_size=4), tmp_path, resume=True)


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


def test_too_few_images_for_a_batch(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="one step takes 64 images"):
        run_training(tiny(batch_size=64), tmp_path)


def test_validation_counts_every_image_once() -> None:
    for count in (1, 7, 16, 17):
        for processes in (1, 2, 3):
            keys = [
                index
                for rank in range(processes)
                for batch in loading.evaluation_keys(count, 4, rank, processes)
                for _, index in batch
            ]
            assert sorted(keys) == list(range(count))


def test_processes_see_what_one_sees() -> None:
    source = _FakeSource(50, None)
    one = loading.EpochKeys(source, 3, 8, 0, 1)
    pair = [loading.EpochKeys(source, 3, 4, rank, 2) for rank in (0, 1)]
    for keys in (one, *pair):
        keys.move_to(2, 0)
    for whole, left, right in zip(one, *pair, strict=True):
        assert whole == left + right


class _FakeSource:
    classes = ("a", "b")

    def __init__(self, count: int, groups: Any) -> None:
        self.labels, self.groups = np.zeros(count, np.int64), groups

    def __len__(self) -> int:
        return len(self.labels)


def test_order_visits_few_shards_at_a_time() -> None:
    groups = np.repeat(np.arange(40, dtype=np.int32), 5)
    order = loading.epoch_order(_FakeSource(200, groups), 0, 0)
    assert sorted(order) == list(range(200))
    for start in range(0, 200, 80):
        assert len(set(groups[order[start : start + 80]])) <= loading.SHARDS_AT_ONCE
    assert not np.array_equal(order, loading.epoch_order(_FakeSource(200, groups), 0, 1))


def test_schedule_warms_up_and_ends_at_zero() -> None:
    settings = tiny(epochs=10, warmup_epochs=2.0, lr=0.1)
    rates = [learning_rate(settings, step, 5, 512) for step in range(51)]
    assert max(rates) == rates[10] == pytest.approx(0.2)
    assert rates[0] == pytest.approx(0.2 / 11)
    assert rates[50] == pytest.approx(0)
    assert np.all(np.diff(rates[10:]) < 0)


def test_official_schedule_of_the_cells() -> None:
    settings = preset("nb101", data="x")
    assert learning_rate(settings, 0, 156, 256) == pytest.approx(0.2)
    assert learning_rate(settings, 54 * 156, 156, 256) == pytest.approx(0.1)


def test_normalisations_and_biases_do_not_decay() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    decayed, plain = parameter_groups(model, tiny())
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3)]
    assert len(plain["params"]) == 3
    assert plain["weight_decay"] == 0
    (everything,) = parameter_groups(model, tiny(decay_all=True))
    assert len(everything["params"]) == 4


def test_average_is_warm_from_the_start() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    average = WeightAverage(model, 0.999)
    expected = 0.0
    for step in range(20):
        torch.nn.init.constant_(model.weight, float(step))
        average.update(model)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.model.weight) == pytest.approx(expected, rel=1e-5)
    assert expected > 10


def test_nasbench_cell_trains_the_official_way(tmp_path: Path) -> None:
    cell = "nb101:010001000:input,conv3x3-bn-relu,output"
    settings = preset(
        "nb101", arch=cell, synthetic_data=24, num_classes=3, width=0.1, image_size=16,
        batch_size=8, epochs=2, holdout=0, workers=0, threads=1, device="cpu", quiet=True,
    )  # fmt: skip
    assert run_training(settings, tmp_path)["steps"] == 6


def test_holdout_comes_out_of_the_training_images(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data")
    settings = tiny(data=str(data), holdout=6, num_classes=0)
    who = Processes(0, 1, torch.device("cpu"))
    trainer = Trainer(settings, RunFolder(tmp_path / "run"), who)
    parts = trainer.parts
    assert (len(parts.train), len(parts.val), len(parts.test or [])) == (18, 6, 12)
    assert np.bincount(parts.val.labels).tolist() == [2, 2, 2]
    names = {s.name(i) for s in (parts.train, parts.val) for i in range(len(s))}
    assert len(names) == 24


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_make_sense(name: str) -> None:
    assert preset(name, data="x").arch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr": -1.0}, "lr"),
        ({"optimiser": "guess"}, "optimiser"),
        ({"ema": 1.0}, "ema"),
        ({"data": "x", "synthetic_data": 3}, "--synthetic-data"),
        ({"synthetic_data": 0}, "--data"),
        ({"device": "tpu"}, "device"),
        ({"device": "cuda:99"}, "device|CUDA"),
        ({"arch": "9999999"}, "choice 9"),
        ({"arch": "nb101:01:input,output"}, "cannot be read"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(NprepError, match=message):
            run_training(tiny(**changes), tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["there"]


def test_batch_norms_momentum_can_be_set() -> None:
    for arch in (ARCH, "nb101:010001000:input,conv3x3-bn-relu,output"):
        model = build(tiny(arch=arch, bn_momentum=0.25), 3)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert {norm.momentum for norm in norms} == {0.25}
