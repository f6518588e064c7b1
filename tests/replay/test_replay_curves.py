"""Curves, statistics and the figure's numbers against obvious loops."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.results.curves import (
    CSV_COLUMNS,
    KEY_SAMPLES,
    Curves,
    curve_rows,
    curves_of,
    sample_grid,
    to_csv,
)
from nprep.results.statistics import (
    bootstrap_means,
    first_reached,
    interval,
    speedup_at_cost,
    speedups_at_targets,
)
from nprep.results.summary import summarize
from nprep.results.text import to_text
from nprep.runs.blocks import Results
from nprep.runs.settings import ReplaySettings
from nprep.search.baselines import Oracle, RandomSearch
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from tests.synthetic import synthetic_view

VIEW = synthetic_view()


def traces_of(method: object, trials: int, samples: int) -> list:  # type: ignore[type-arg]
    seeds = [trial_seed(1, "t", trial) for trial in range(trials)]
    return method.run_block(VIEW, seeds, samples, ReplayProtocol())  # type: ignore[attr-defined]


def made_curves(name: str, test: np.ndarray, train_samples: int = 0) -> Curves:
    test = np.asarray(test, float)
    return Curves(name, train_samples, test.shape[1], test + 1, test, np.cumsum(test, axis=1))


def test_curves_equal_a_plain_loop() -> None:
    traces = traces_of(RandomSearch(), 4, 90)
    # Trials of unequal length, as with free duplicates.
    four = ("positions", "repeats", "validation", "seconds")
    traces[2] = Trace(*(getattr(traces[2], name)[:31] for name in four))
    curves = curves_of("random", 0, 90, Results.of_traces(traces), VIEW)
    for trial, trace in enumerate(traces):
        best, seconds = -1, 0.0
        for step in range(90):
            if step < len(trace):
                seconds += float(trace.seconds[step])
                if best < 0 or trace.validation[step] > trace.validation[best]:
                    best = step
            assert curves.validation[trial, step] == 100 * float(trace.validation[best])
            assert curves.test[trial, step] == 100 * float(VIEW.test[trace.positions[best]])
            assert curves.seconds[trial, step] == pytest.approx(seconds, rel=1e-12)
    assert (np.diff(curves.validation, axis=1) >= 0).all()
    # Only validation is monotone: a better run may be of a worse cell.
    assert (np.diff(curves.test, axis=1) < 0).any()


def test_first_of_equal_values_is_kept() -> None:
    positions = np.array([[5, 9, 5]], np.int32)
    view = synthetic_view()
    validation = view.validation.copy()
    validation[[5, 9]] = 0.9
    view = type(view)(**{**view.__dict__, "validation": validation})
    results = Results(positions, np.zeros((1, 3), np.uint8), np.array([3], np.int32))
    assert (curves_of("m", 0, 3, results, view).test == 100 * float(view.test[5])).all()


def test_csv_holds_the_statistics_of_the_trials() -> None:
    traces = traces_of(RandomSearch(), 9, 200)
    curves = curves_of("random", 0, 200, Results.of_traces(traces), VIEW)
    rows = list(csv.DictReader(io.StringIO(to_csv(curve_rows(curves)).decode())))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert {50, 100, 150, 172, 200} <= {int(row["samples"]) for row in rows}
    for row in rows:
        column = int(row["samples"]) - 1
        for metric, values in (("validation", curves.validation), ("test", curves.test)):
            at = sorted(values[:, column].tolist())
            mean = sum(at) / 9
            std = math.sqrt(sum((value - mean) ** 2 for value in at) / 8)
            wanted = {"mean": mean, "std": std, "q25": at[2], "median": at[4], "q75": at[6]}
            for statistic, value in wanted.items():
                assert float(row[f"{metric}_{statistic}"]) == pytest.approx(value, abs=1e-6)
        assert float(row["seconds_mean"]) == pytest.approx(
            np.mean([trace.seconds[: column + 1].sum(dtype=float) for trace in traces]), abs=1e-3
        )


def test_single_trial_has_no_deviation() -> None:
    rows = curve_rows(made_curves("m", np.array([[93.0, 94.0]])))
    assert [row["test_std"] for row in rows] == [0.0, 0.0]


def test_oracle_is_a_constant() -> None:
    curves = curves_of("oracle", 0, 500, Results.of_traces(traces_of(Oracle(), 3, 500)), VIEW)
    rows = curve_rows(curves)
    assert [row["samples"] for row in rows][-1] == 500
    assert len({row["test_mean"] for row in rows}) == 1


@given(horizon=st.integers(1, 100_000), extra=st.lists(st.integers(1, 200_000), max_size=3))
@settings(max_examples=100)
def test_sample_grid(horizon: int, extra: list[int]) -> None:
    grid = sample_grid(horizon, extra)
    assert grid == sorted(set(grid))
    assert (grid[0], grid[-1]) == (1, horizon)
    assert all(s in grid for s in (*KEY_SAMPLES, *extra) if s <= horizon)


@given(
    means=st.lists(
        st.lists(st.floats(90, 95, width=32), min_size=6, max_size=6), min_size=1, max_size=4
    ),
    targets=st.lists(st.floats(89, 96, width=32), min_size=1, max_size=4),
)
@settings(max_examples=200)
def test_first_reached_equals_a_search(means: list[list[float]], targets: list[float]) -> None:
    reached = first_reached(np.array(means), np.array(targets))
    for i, curve in enumerate(means):
        for k, target in enumerate(targets):
            there = [s for s, value in enumerate(curve, 1) if value >= target]
            assert reached[i, k] == (there[0] if there else math.inf)


def test_bootstrap_means_equal_resampled_means() -> None:
    rng = np.random.default_rng(0)
    curves = made_curves("m", rng.normal(93, 1, (6, 40)))
    means = bootstrap_means(curves, "test", 300, seed=5)
    np.testing.assert_array_equal(means, bootstrap_means(curves, "test", 300, seed=5))
    assert not np.array_equal(means, bootstrap_means(curves, "test", 300, seed=6))
    # Each is a mean of 6 trials drawn with replacement: 6 times it is an integer combination.
    counts = 6 * np.linalg.lstsq(curves.test.T, means.T, rcond=None)[0]
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-8)
    np.testing.assert_allclose(counts.sum(axis=0), 6)
    deviation = curves.test.std(axis=0).mean() / math.sqrt(6)
    assert means.std(axis=0).mean() == pytest.approx(deviation, rel=0.2)


def test_interval_survives_infinities() -> None:
    values = np.arange(1.0, 101.0)
    assert interval(values) == (3.0, 98.0)
    values[95:] = math.inf
    assert interval(values) == (3.0, math.inf)


def test_speedups_on_known_curves() -> None:
    # Every trial of the baseline gains 0.01 per sample, the predictor 0.1.
    steps = np.arange(1, 101)
    baseline = made_curves("evolution", 93 + 0.01 * np.tile(steps, (5, 1)))
    predictor = made_curves("np", 93 + 0.1 * np.tile(steps[:50], (5, 1)), train_samples=1)
    resamples = tuple(bootstrap_means(c, "test", 100, 0) for c in (predictor, baseline))
    targets = np.array([93.495, 93.995, 95.0, 99.0])
    easy, hard, out_of_reach, hopeless = speedups_at_targets(
        predictor, baseline, "test", targets, (resamples[0], resamples[1])
    )
    assert (easy.predictor_cost, easy.baseline_cost, easy.ratio) == (5, 50, 10)
    assert (easy.low, easy.high) == (10, 10)
    assert (hard.predictor_cost, hard.baseline_cost, hard.ratio) == (10, 100, 10)
    assert out_of_reach.baseline_cost == math.inf
    assert math.isnan(out_of_reach.ratio)
    assert out_of_reach.at_least == 100 / out_of_reach.predictor_cost
    assert (out_of_reach.low, out_of_reach.high) == (math.inf, math.inf)
    assert math.isnan(hopeless.ratio)
    assert (hopeless.low, hopeless.high) == (-math.inf, math.inf)
    assert (hopeless.predictor_share, hopeless.baseline_share) == (0, 0)
    headline = speedup_at_cost(predictor, baseline, "test", 80, (resamples[0], resamples[1]))
    assert headline.target == pytest.approx(93.8)
    assert headline.predictor_cost in (8, 9)
    assert headline.ratio == 80 / headline.predictor_cost


def test_summary_compares_predictors_with_sequential_methods() -> None:
    rng = np.random.default_rng(0)
    steps = np.log(np.arange(1, 6001))
    curves = [
        made_curves("random", 92 + 0.2 * steps + rng.normal(0, 0.1, (8, 1))),
        made_curves("evolution", 92 + 0.25 * steps + rng.normal(0, 0.1, (8, 1))),
        made_curves("np", 92 + 0.32 * steps[:1172] + rng.normal(0, 0.1, (8, 1)), 172),
        made_curves("oracle", np.full((8, 1), 94.2)),
    ]
    settings_ = ReplaySettings(methods=("random",), bootstrap=200)
    summary = summarize(curves, settings_, {"run": {}})
    assert [(c["predictor"], c["baseline"]) for c in summary["speedups"]] == [
        ("np", "random"),
        ("np", "evolution"),
    ]
    against_evolution = summary["speedups"][1]
    for entry in against_evolution["test"]:
        target = entry["target_percent"]
        for curve, key in ((curves[2], "predictor_samples"), (curves[1], "baseline_samples")):
            there = np.flatnonzero(curve.test.mean(axis=0) >= target)
            assert entry[key] == (there[0] + 1 if len(there) else None)
    at = against_evolution["test_at_baseline_samples"]
    assert at["samples"] == 5000
    assert at["ratio_interval_95"][0] < at["ratio"] < at["ratio_interval_95"][1]
    assert [row["samples"] for row in summary["methods"]["np"]["curve"]] == [
        s for s in KEY_SAMPLES if s <= 1172
    ]
    low, high = summary["methods"]["np"]["final_test_mean_interval_95"]
    assert low < summary["methods"]["np"]["final"]["test_mean"] < high
    text = to_text(summary)
    assert "the paper's way of counting (95 % interval" in text
    assert all(line == line.rstrip() for line in text.splitlines())
