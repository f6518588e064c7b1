"""The quality of predictors: what is compared with what, resumes, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nprep._console import run
from nprep.errors import RunFolderError
from nprep.kernels.search.noise import draw_repeat
from nprep.predictor.agreement import kendall_tau
from nprep.quality import cli as quality
from nprep.quality.experiment import (
    QualitySettings,
    SplitPredictions,
    measure_split,
    run_quality,
    train_and_predict,
)
from nprep.search.rules import noise_seed_of, trial_seed
from nprep.table.view import View
from tests.synthetic import SyntheticSource, synthetic_view

VIEW = synthetic_view(400)
SMALL = QualitySettings(train_samples=(20, 40), splits=3, test_samples=30, seed=1)


def peeking(
    view: View, known: np.ndarray, labels: np.ndarray, seed: np.random.SeedSequence
) -> SplitPredictions:
    """Knows the mean of the runs; refuses every second cell."""
    scores = np.nanmean(view.validation, axis=1).astype(np.float32)
    return SplitPredictions(
        {"one-stage": scores, "two-stage": scores}, np.arange(len(view)) % 2 == 0
    )


def test_a_split_compares_with_the_run_that_was_drawn() -> None:
    content = measure_split(VIEW, SMALL, 40, 2, peeking)
    seed = trial_seed(1, "quality 40", 2)
    noise = noise_seed_of(seed)
    truth = np.array(
        [VIEW.validation[i, draw_repeat(VIEW.validation[i], noise, i)] for i in range(len(VIEW))]
    )
    scores = peeking(VIEW, truth, truth, seed).scores["one-stage"]
    one = content["one-stage"]
    assert one["test"]["all"]["cells"] == 30
    assert one["view"]["all"]["cells"] == 360
    above = one["view"]["above_91"]["cells"]
    # The 40 that it learned from are left out.
    assert (truth > 0.91).sum() - 40 <= above <= (truth > 0.91).sum()
    assert 0.5 < one["view"]["all"]["tau"] < 1
    assert one["view"]["all"]["tau"] == pytest.approx(
        kendall_tau(scores.astype(float), truth.astype(float)), abs=0.03
    )
    assert one["view"]["all"]["mse"] > one["view"]["above_80"]["mse"]
    # What the classifier refuses comes last, so the order suffers and the error does not.
    two = content["two-stage"]
    assert two["view"]["all"]["tau"] < one["view"]["all"]["tau"]
    assert two["view"]["all"]["mse"] == one["view"]["all"]["mse"]
    right = content["classifier"]
    assert right["accuracy"] + right["false_positives"] + right["false_negatives"] == (
        pytest.approx(1)
    )


def test_resumed_measurements_are_the_same(tmp_path: Path) -> None:
    whole = run_quality(SMALL, SyntheticSource(400), tmp_path / "a", predictor=peeking)
    folder = tmp_path / "b"
    run_quality(SMALL, SyntheticSource(400), folder, predictor=peeking)
    parts = sorted(folder.glob("splits/*.json"))
    assert len(parts) == 6
    parts[1].unlink()
    parts[4].write_text("{")
    kept = parts[0].stat().st_mtime_ns
    again = run_quality(SMALL, SyntheticSource(400), folder, resume=True, predictor=peeking)
    assert again == whole
    assert parts[0].stat().st_mtime_ns == kept
    names = [(tmp_path / name / "quality.json").read_bytes() for name in "ab"]
    assert names[0] == names[1]
    rows = whole["mean_over_splits"]
    splits = json.loads(names[0])["splits"]
    assert [row["train_samples"] for row in rows] == [20, 40]
    taus = [p["one-stage"]["test"]["all"]["tau"] for p in splits if p["train_samples"] == 20]
    entry = rows[0]["one-stage"]["test"]["all"]
    assert entry["tau"] == pytest.approx(np.mean(taus))
    assert entry["tau_standard_error"] == pytest.approx(np.std(taus, ddof=1) / np.sqrt(3))
    other = QualitySettings((20, 40), 4, 30, 1)
    with pytest.raises(RunFolderError, match="splits 3, not 4"):
        run_quality(other, SyntheticSource(400), folder, resume=True, predictor=peeking)


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    calls = 0

    def stopping(*arguments: object) -> SplitPredictions:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return peeking(*arguments)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        run_quality(SMALL, SyntheticSource(400), tmp_path / "q", predictor=stopping)
    assert len(list((tmp_path / "q").glob("splits/*.json"))) == 2
    run_quality(SMALL, SyntheticSource(400), tmp_path / "q", resume=True, predictor=stopping)
    assert calls == 3 + 4


def test_the_papers_predictors_learn(tmp_path: Path) -> None:
    settings = QualitySettings(train_samples=(60,), splits=1, test_samples=60)
    summary = run_quality(settings, SyntheticSource(400), tmp_path / "q")
    (row,) = summary["mean_over_splits"]
    assert row["one-stage"]["view"]["all"]["tau"] > 0.3
    known = np.arange(60, dtype=np.int32)
    labels = np.nanmean(VIEW.validation[known], axis=1).astype(np.float32)
    seed = np.random.SeedSequence(0)
    one, other = (
        train_and_predict(VIEW, known, labels, np.random.SeedSequence(0)) for _ in range(2)
    )
    np.testing.assert_array_equal(one.scores["two-stage"], other.scores["two-stage"])
    assert one.accepted.shape == (400,)
    assert seed.n_children_spawned == 0


def test_the_share_of_failures_is_that_of_their_squares() -> None:
    errors = np.array([1.0, 1, 4, 60, 70])
    failed = np.array([False, False, False, True, True])
    parts = {
        "all": {"cells": 5.0, "mse": float((errors**2).mean())},
        "above_80": {"cells": 3.0, "mse": float((errors[~failed] ** 2).mean())},
    }
    share = quality.share_of_failures(parts)
    assert share == pytest.approx((errors[failed] ** 2).sum() / (errors**2).sum())
    assert quality.share_of_failures({**parts, "all": parts["above_80"]}) is None


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*arguments: str) -> int:
        return run(
            lambda argv: quality.main(argv, lambda table, view: SyntheticSource(400), peeking),
            [*arguments, "--out", str(tmp_path / "out")],
        )

    assert command("--train-samples", "20,172", "--splits", "2", "--test-samples", "50") == 0
    printed = capsys.readouterr().out
    assert "the paper's MSE, two-stage above 91 %, test cells (quoted by others): 0.66, here" in (
        printed
    )
    assert "the paper's MSE, one-stage on all: 1.95. Not compared: " in printed
    assert "whole view above 91 %" in printed
    for wrong, named in (
        ("--train-samples x", "train-samples is 'x'"),
        ("--train-samples 1", "train-samples is 1"),
        ("--train-samples 20,20", "twice"),
        ("--splits 0", "splits is 0"),
        ("--test-samples 500", "has 400"),
        ("--sed 3", "unrecognized arguments: --sed"),
    ):
        assert command(*wrong.split()) == 2
        message = capsys.readouterr().err
        assert named in message
        assert message.count("\n") == 1
