"""Curves by time against plain loops, and the clock of many machines end to end."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.errors import SettingsError
from nprep.replays.engine import run_replay
from nprep.results import clock
from nprep.results.clock import (
    Steps,
    all_by_training_time,
    by_time,
    by_training_time,
    row_at,
    steps_of,
    time_grid,
    timeline,
)
from nprep.results.curves import Curves, curves_of
from nprep.results.text import format_days, to_text
from nprep.runs.blocks import Results
from nprep.runs.settings import ReplaySettings
from nprep.search.baselines import RandomSearch, RegularizedEvolution
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.table.view import View
from tests.synthetic import SyntheticSource, synthetic_view

VIEW = synthetic_view()
PREDICTOR = "tests.replay.run_synthetic:Predictor"


def slow_state(ends: list[int], validation: list[int], time: float) -> int | None:
    """The number of the best training that has ended, the first to end of equals."""
    ended = sorted((end, i) for i, end in enumerate(ends) if end <= time)
    if not ended:
        return None
    return max(ended, key=lambda event: (validation[event[1]], -ended.index(event)))[1]


@given(
    trainings=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 6)), min_size=1, max_size=12)
)
def test_steps_equal_a_search_at_each_time(trainings: list[tuple[int, int]]) -> None:
    ends, values = (list(column) for column in zip(*trainings, strict=True))
    test = np.arange(len(ends)) / 100
    steps = steps_of(np.array(ends, float), np.array(values, float) / 10, test)
    assert (np.diff(steps.validation) > 0).all()
    for time in range(22):
        best = slow_state(ends, values, time)
        place = int(np.searchsorted(steps.times, time, side="right")) - 1
        assert (place < 0) == (best is None)
        if best is not None:
            assert steps.validation[place] == pytest.approx(10 * values[best])
            assert steps.test[place] == pytest.approx(100 * test[best])


def random_curves(trials: int = 6, samples: int = 80) -> Curves:
    seeds = [trial_seed(1, "t", trial) for trial in range(trials)]
    traces = RandomSearch().run_block(VIEW, seeds, samples, ReplayProtocol())
    return curves_of("random", 0, samples, Results.of_traces(traces), VIEW)


def test_curves_by_training_time_equal_a_loop() -> None:
    curves = random_curves()
    timed = by_training_time(curves)
    assert timed.axis is not None
    assert timed.axis[0] == curves.seconds[:, 0].max()
    assert timed.axis[-1] == timed.end == curves.seconds[:, -1].max()
    for time in [*timed.axis, *np.linspace(timed.axis[0], timed.axis[-1], 50)]:
        for trial in range(6):
            done = int((curves.seconds[trial] <= time).sum())
            at = timed.column(time)
            assert timed.test[trial, at] == curves.test[trial, done - 1]
            assert timed.validation[trial, at] == curves.validation[trial, done - 1]


def test_many_changes_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = random_curves()
    full = by_training_time(curves)
    monkeypatch.setattr(clock, "MAX_POINTS", 10)
    thin = by_training_time(curves)
    assert thin.axis is not None
    assert len(thin.axis) <= 12 < len(full.axis)  # type: ignore[arg-type]
    for column, time in enumerate(thin.axis):
        np.testing.assert_array_equal(thin.test[:, column], full.test[:, full.column(time)])


def test_a_limit_bounds_the_axis() -> None:
    timed = by_training_time(random_curves(), 20_000.0)
    assert timed.end == 20_000.0


def test_one_cell_is_a_curve_of_one_point() -> None:
    trial = Steps(np.array([5.0]), np.array([90.0]), np.array([89.0]))
    curves = by_time("m", 0, [trial], 5.0)
    assert curves.axis is not None
    assert curves.axis.tolist() == [5.0]
    assert time_grid(curves).tolist() == [5.0]


def test_the_oracle_is_a_constant_over_the_others_times() -> None:
    curves = random_curves()
    best = np.full((6, 1), 94.0)
    oracle = Curves("oracle", 0, 80, best + 1, best, np.full((6, 1), 3.0))
    random, constant = all_by_training_time([curves, oracle], None)
    assert constant.axis is not None
    assert random.axis is not None
    assert (constant.axis[0], constant.axis[-1]) == (random.axis[0], random.axis[-1])
    assert (constant.test == 94).all()
    alone = all_by_training_time([oracle], None)[0]
    assert (alone.test == 94).all()


def settings_for(**changes: object) -> ReplaySettings:
    given_ = {
        "methods": ("random", "evolution", PREDICTOR, "oracle"),
        "trials": 4,
        "samples": 90,
        "train_samples": 20,
        "top_k": 30,
        "block": 2,
        "bootstrap": 30,
        "workers": (1, 5, 1000),
        "predictor_seconds": 60.0,
        **changes,
    }
    return ReplaySettings(**given_)  # type: ignore[arg-type]


def test_one_machine_takes_the_training_time() -> None:
    settings = settings_for()
    for method in (RandomSearch(), RegularizedEvolution()):
        seeds = [trial_seed(settings.seed, method.name, trial) for trial in range(4)]
        results = Results.of_traces(method.run_block(VIEW, seeds, 90, settings.protocol))
        line = timeline(method.name, 0, results, VIEW, settings, 1)
        curves = curves_of(method.name, 0, 90, results, VIEW)
        timed = by_training_time(curves)
        np.testing.assert_allclose(line.ends, curves.seconds[:, -1], rtol=1e-12)
        np.testing.assert_allclose(line.busy, 1.0, rtol=1e-9)
        assert line.curves.axis is not None
        assert timed.axis is not None
        np.testing.assert_allclose(line.curves.axis, timed.axis, rtol=1e-12)
        np.testing.assert_array_equal(line.curves.test, timed.test)


def test_a_predictor_is_parallel_within_its_rounds() -> None:
    settings = settings_for()
    method = RandomSearch("two")
    seeds = [trial_seed(settings.seed, "two", trial) for trial in range(4)]
    traces = [
        dataclasses.replace(trace, rounds=np.array([0, 20], np.int32))
        for trace in method.run_block(VIEW, seeds, 50, settings.protocol)
    ]
    line = timeline("two", 20, Results.of_traces(traces), VIEW, settings, 1000)
    for trace, end in zip(traces, line.ends, strict=True):
        assert end == pytest.approx(trace.seconds[:20].max() + 60 + trace.seconds[20:].max())
    alone = timeline("two", 20, Results.of_traces(traces), VIEW, settings, 1)
    for trace, end in zip(traces, alone.ends, strict=True):
        assert end == pytest.approx(trace.seconds.sum(dtype=float) + 60)


def test_results_keep_rounds_and_lengths() -> None:
    seeds = [trial_seed(0, "x", trial) for trial in range(2)]
    traces = RandomSearch().run_block(VIEW, seeds, 9, ReplayProtocol())
    uneven = [
        dataclasses.replace(traces[0], rounds=np.array([0, 4, 6], np.int32)),
        dataclasses.replace(traces[1], rounds=None),
    ]
    results = Results.of_traces(uneven)
    assert results.rounds is not None
    assert results.rounds.tolist() == [[0, 4, 6, 9, 9, 9, 9, 9, 9], list(range(9))]
    again = Results.stack([Results.of_traces(uneven[:1]), Results.of_traces(uneven[1:])])
    np.testing.assert_array_equal(again.rounds, results.rounds)
    assert Results.of_traces(uneven[1:]).rounds is None


def test_clock_end_to_end(tmp_path: Path) -> None:
    settings = settings_for()
    replay = run_replay(settings, SyntheticSource(), tmp_path / "out")
    content = replay.summary["clock"]
    assert set(content["methods"]) == {"random", "evolution", PREDICTOR}
    with open(tmp_path / "out" / "clock.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name, entries in content["methods"].items():
        assert [entry["workers"] for entry in entries] == [1, 5, 1000]
        ends = [entry["ends_mean_seconds"] for entry in entries]
        assert ends[0] > ends[1] >= ends[2]
        assert all(0 < entry["busy_mean_share"] <= 1 + 1e-9 for entry in entries)
        times = [float(r["seconds"]) for r in rows if (r["method"], r["workers"]) == (name, "5")]
        assert times == sorted(set(times))
        for entry in entries:
            reached = [row["seconds"] for row in entry["test"] if row["seconds"] is not None]
            assert reached == sorted(reached)
    # Nothing but the order of events depends on the machines of methods that choose beforehand.
    for name in ("random", PREDICTOR):
        finals = {entry["final_test_mean"] for entry in content["methods"][name]}
        assert len(finals) == 1
    text = to_text(replay.summary)
    assert "time to 94.00 % test with" in text
    assert "1,000  machines" in text


def test_times_to_targets_equal_a_search(tmp_path: Path) -> None:
    replay = run_replay(settings_for(), SyntheticSource(), tmp_path / "out")
    (_, five, _) = replay.summary["clock"]["methods"]["random"]
    curves = replay.curves[0]
    trials = [trial_seed(0, "random", trial) for trial in range(4)]
    traces = RandomSearch().run_block(VIEW, trials, 90, ReplayProtocol())
    assert len(curves.test) == len(traces)
    line = timeline("random", 0, Results.of_traces(traces), VIEW, settings_for(), 5)
    assert line.curves.axis is not None
    mean = line.curves.test.mean(axis=0)
    for row in five["test"]:
        there = np.flatnonzero(mean >= row["target_percent"])
        assert row["seconds"] == (line.curves.axis[there[0]] if len(there) else None)
        if row["seconds"] is not None and row["resamples_that_reach_it"] == 1:
            low, high = row["seconds_interval_95"]
            assert low <= row["seconds"] <= high


def test_rows_are_statistics_of_the_trials() -> None:
    timed = by_training_time(random_curves())
    row = row_at(timed, 30_000.0)
    values = timed.test[:, timed.column(30_000.0)]
    assert row["test_mean"] == pytest.approx(values.mean())
    assert row["test_median"] == pytest.approx(np.median(values))


def test_machines_need_training_times(tmp_path: Path) -> None:
    class Timeless(SyntheticSource):
        def load(self) -> View:
            view = super().load()
            return dataclasses.replace(
                view, training_seconds=np.full_like(view.training_seconds, np.nan)
            )

    with pytest.raises(SettingsError, match="which --workers needs"):
        run_replay(settings_for(), Timeless(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_long_times_are_readable() -> None:
    assert format_days(5 * 86_400) == "5.0 d"
    assert format_days(4 * 3600) == "4.0 h"
    assert format_days(90) == "1 min 30 s"
