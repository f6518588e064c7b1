"""What a run folder holds besides its blocks: trials on many machines, predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nprep.replays.engine import run_replay
from nprep.results.clock import steps_of, timeline
from nprep.results.outputs import derive_outputs, write_data
from nprep.results.reading import read_run
from nprep.results.trials import StoredTrials
from nprep.runs.blocks import Results
from nprep.runs.concurrent import ConcurrentTrials, read_concurrent, write_concurrent
from nprep.runs.predictions import read_predictions, write_predictions
from nprep.runs.settings import ReplaySettings, settings_from
from nprep.search.baselines import RegularizedEvolution
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Predictions
from tests.synthetic import SyntheticSource, synthetic_view

VIEW = synthetic_view()
SHAPE = VIEW.validation.shape
SETTINGS = ReplaySettings(
    methods=("random", "evolution"), trials=4, samples=90, block=3, bootstrap=20, workers=(1, 5)
)


def timed_traces(workers: int) -> list:
    seeds = [trial_seed(0, "evolution", trial) for trial in range(4)]
    return RegularizedEvolution().run_concurrently(VIEW, seeds, 90, ReplayProtocol(), workers)


def test_concurrent_trials_keep_all_steps(tmp_path: Path) -> None:
    traces = timed_traces(5)
    write_concurrent(
        tmp_path, "evolution", 5, ConcurrentTrials.of_traces(traces, ReplayProtocol(), 5), "run"
    )
    found = read_concurrent(tmp_path, "evolution", 5, 4, SHAPE, "run")
    results = Results.of_traces([timed.trace for timed in traces])
    line = timeline("evolution", 0, results, VIEW, SETTINGS, 5, found)
    for trial, timed in enumerate(traces):
        test = VIEW.test[timed.trace.positions]
        steps = steps_of(timed.ends, timed.trace.validation, test)
        assert line.ends[trial] == timed.ends.max()
        for time in line.curves.axis if line.curves.axis is not None else ():
            at = np.searchsorted(steps.times, time, side="right") - 1
            assert line.curves.test[trial, line.curves.column(time)] == steps.test[at]
            assert line.curves.validation[trial, line.curves.column(time)] == steps.validation[at]


def test_other_concurrent_trials_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_concurrent(tmp_path, "evolution", 5, 4, SHAPE, "run")
    trials = ConcurrentTrials.of_traces(timed_traces(5), ReplayProtocol(), 5)
    write_concurrent(tmp_path, "evolution", 5, trials, "run")
    for method, workers, count, run in (
        ("evolution", 5, 3, "run"),
        ("evolution", 5, 4, "other"),
    ):
        with pytest.raises(ValueError, match="does not hold"):
            read_concurrent(tmp_path, method, workers, count, SHAPE, run)
    wrong = dataclasses.replace(trials, positions=trials.positions + np.int32(SHAPE[0]))
    write_concurrent(tmp_path, "evolution", 5, wrong, "run")
    with pytest.raises(ValueError, match="does not hold"):
        read_concurrent(tmp_path, "evolution", 5, 4, SHAPE, "run")
    [path] = tmp_path.glob("concurrent/*")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cannot be read"):
        read_concurrent(tmp_path, "evolution", 5, 4, SHAPE, "run")


def test_outputs_follow_from_the_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_replay(SETTINGS, SyntheticSource(), folder)
    written = {path.name: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    kept = ("curves.csv", "curves-seconds.csv", "clock.csv", "summary.json")
    for name in kept:
        (folder / name).unlink()
    files = write_data(folder, derive_outputs(folder, VIEW))
    assert [path.name for path in files] == [
        "settings.json", "curves.csv", "summary.json", "curves-seconds.csv", "clock.csv",
    ]  # fmt: skip
    for name in kept:
        assert (folder / name).read_bytes() == written[name]


def test_one_reader_finds_what_is_lacking(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_replay(SETTINGS, SyntheticSource(), folder)
    run = read_run(folder)
    stored = run.trials(VIEW)
    blocks = stored.blocks()
    assert [(each.method, each.first, each.count) for each in blocks] == [
        ("random", 0, 3), ("random", 3, 1), ("evolution", 0, 3), ("evolution", 3, 1),
    ]  # fmt: skip
    assert stored.lacking(blocks) == {}
    (folder / blocks[1].file).unlink()
    assert list(stored.lacking(blocks)) == [blocks[1]]
    other = StoredTrials(folder, {**run.run, "seed": 1}, stored.horizons, SHAPE, (108,))
    assert list(other.lacking(blocks)) == blocks
    assert settings_from(run.run) == SETTINGS


def test_predictions_are_kept_and_checked(tmp_path: Path) -> None:
    assert read_predictions(tmp_path, "np", SHAPE[0], "run") is None
    rng = np.random.default_rng(0)
    scores = rng.random(SHAPE[0]).astype(np.float32)
    known = np.array([5, 3, 8], np.int32)
    for accepted in (None, scores > 0.5):
        given = Predictions(known, scores, accepted is None, accepted)
        write_predictions(tmp_path, "np", given, "run")
        found = read_predictions(tmp_path, "np", SHAPE[0], "run")
        assert found is not None
        np.testing.assert_array_equal(found.scores, scores)
        np.testing.assert_array_equal(found.known, known)
        assert found.unit == (accepted is None)
        assert (found.accepted is None) == (accepted is None)
    for cells, run in ((SHAPE[0] - 1, "run"), (SHAPE[0], "other")):
        with pytest.raises(ValueError, match="does not hold"):
            read_predictions(tmp_path, "np", cells, run)
    [path] = tmp_path.glob("predictions/*")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cannot be read"):
        read_predictions(tmp_path, "np", SHAPE[0], "run")
