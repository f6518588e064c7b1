"""Comparisons of trials against plain loops; intervals against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.results.comparisons import (
    mean_of,
    mean_regret,
    median_of,
    performance_profile,
    probability_of_better,
    trials_needed,
)
from nprep.results.curves import Curves
from nprep.results.efficiency import compare, needed
from nprep.results.statistics import (
    _ratio_interval,
    bootstrap_means,
    bootstrap_weights,
    cost_to_reach,
    first_reach_speedup,
    interval,
    speedup_at_cost,
    speedups_at_targets,
)
from nprep.results.summary import summarize
from nprep.results.text import dips_in_words, to_text
from nprep.runs.settings import ReplaySettings

scores = st.lists(st.integers(0, 6), min_size=1, max_size=12)


def curves_with(name: str, test: np.ndarray, train: int = 0, axis: object = None) -> Curves:
    test = np.asarray(test, float)
    known = None if axis is None else np.asarray(axis, float)
    return Curves(name, train, test.shape[1], test + 1, test, np.zeros_like(test), axis=known)


def drawn(weights: np.ndarray, trials: int) -> list[list[int]]:
    """The trials of each resample, one by one."""
    counts = np.rint(weights * trials).astype(int)
    return [list(np.repeat(np.arange(trials), row)) for row in counts]


@given(ours=scores, theirs=scores)
def test_probability_of_better_counts_pairs(ours: list[int], theirs: list[int]) -> None:
    weights = [bootstrap_weights(n, len(v), 15, 1) for n, v in (("a", ours), ("b", theirs))]
    a, b = np.array(ours, float), np.array(theirs, float)
    found = probability_of_better(a, b, *weights)

    def slow(x: list[float], y: list[float]) -> float:
        wins = [1.0 if i > j else 0.5 if i == j else 0.0 for i in x for j in y]
        return sum(wins) / len(wins)

    assert found.value == pytest.approx(slow(list(a), list(b)))
    resampled = [
        slow(list(a[i]), list(b[j]))
        for i, j in zip(drawn(weights[0], len(a)), drawn(weights[1], len(b)), strict=True)
    ]
    assert (found.low, found.high) == pytest.approx(interval(np.array(resampled)))
    other = probability_of_better(b, a, *reversed(weights))
    assert found.value + other.value == pytest.approx(1)


@given(values=scores)
def test_means_and_medians_of_resamples(values: list[int]) -> None:
    array = np.array(values, float)
    weights = bootstrap_weights("m", len(array), 25, 3)
    mean, median = mean_of(array, weights), median_of(array, weights)
    assert mean.value == pytest.approx(array.mean())
    assert median.value == np.median(array)
    resamples = [array[rows] for rows in drawn(weights, len(array))]
    lower = [sorted(sample)[(len(sample) - 1) // 2] for sample in resamples]
    assert (median.low, median.high) == interval(np.array(lower))
    means = interval(np.array([sample.mean() for sample in resamples]))
    assert (mean.low, mean.high) == pytest.approx(means)


def test_mean_regret_is_the_area_over_the_width() -> None:
    curves = curves_with("m", [[90.0, 91, 93, 93], [92, 92, 92, 94]])
    np.testing.assert_allclose(mean_regret(curves, "test", 94, 1, 4), [2.25, 1.5])
    # Beyond its end a trial stays as it was.
    np.testing.assert_allclose(mean_regret(curves, "test", 94, 1, 6), [11 / 6, 1.0])
    np.testing.assert_allclose(mean_regret(curves, "validation", 95, 2, 3), [2.0, 2.0])
    timed = curves_with("m", [[90.0, 91, 93]], axis=[10, 20, 50])
    area = 4 * 10 + 3 * 30 + 1 * 10
    np.testing.assert_allclose(mean_regret(timed, "test", 94, 10, 60), [area / 50])
    np.testing.assert_allclose(mean_regret(timed, "test", 94, 15, 30), [(4 * 5 + 3 * 10) / 15])


@given(values=scores, thresholds=st.lists(st.integers(-1, 7), min_size=1, max_size=5).map(sorted))
def test_performance_profile_counts_trials(values: list[int], thresholds: list[int]) -> None:
    shares = performance_profile(np.array(values, float), np.array(thresholds, float))
    slow = [sum(v >= t for v in values) / len(values) for t in thresholds]
    np.testing.assert_allclose(shares, slow)


def test_trials_needed_give_the_width() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(94, 0.2, 4000)
    count = trials_needed(values, 0.05)
    # (2 * 1.96 * 0.2 / 0.05)^2
    assert count == pytest.approx(246, rel=0.06)
    means = rng.normal(94, 0.2, (4000, count)).mean(axis=1)
    assert np.mean(np.abs(means - 94) < 0.025) == pytest.approx(0.95, abs=0.015)
    assert trials_needed(np.array([94.0, 94.0]), 0.05) == 2


def test_bootstrap_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for number in range(400):
        values = rng.exponential(1.0, 40)
        found = mean_of(values, bootstrap_weights(f"m{number}", 40, 300, 0))
        held += found.low <= 1.0 <= found.high
    # Percentile intervals of skewed samples fall a little short of 95 %.
    assert 0.88 < held / 400 < 0.98


def test_costs_on_an_axis_of_time() -> None:
    curves = curves_with("m", [[90.0, 91, 93]], axis=[10, 25, 50])
    reached = cost_to_reach(curves, curves.test, np.array([89.0, 91.0, 92.0, 94.0]))
    assert reached.tolist() == [[10, 25, 50, math.inf]]


INF = math.inf


@pytest.mark.parametrize(
    ("predictor", "baseline", "wanted"),
    [
        # 40 resamples each: the ends are the first and the 39th of them in order.
        ([10.0] * 40, [50.0] * 40, (5, 5)),
        ([10.0] * 35 + [INF] * 5, [50.0] * 40, (-INF, 5)),
        ([10.0] * 40, [50.0] * 35 + [INF] * 5, (5, INF)),
        ([INF] * 40, [50.0] * 40, (-INF, -INF)),
        ([10.0] * 40, [INF] * 40, (INF, INF)),
        ([INF] * 40, [INF] * 40, (-INF, INF)),
        # Neither gets there in a few: that could mean anything.
        ([10.0] * 37 + [INF] * 3, [50.0] * 37 + [INF] * 3, (-INF, INF)),
        # One in forty is within the 2.5 % left out at either end.
        ([10.0] * 39 + [INF], [50.0] * 40, (-INF, 5)),
        ([10.0] * 40, [50.0] * 39 + [INF], (5, 5)),
    ],
)
def test_intervals_are_open_where_nothing_is_known(
    predictor: list[float], baseline: list[float], wanted: tuple[float, float]
) -> None:
    assert _ratio_interval(np.array(predictor), np.array(baseline)) == wanted


def test_a_predictor_that_rarely_gets_there_is_not_called_slower_by_some_factor() -> None:
    rng = np.random.default_rng(0)
    steps = np.log(np.arange(1, 3001))
    baseline = curves_with("evolution", 92 + 0.2 * steps + rng.normal(0, 0.05, (30, 1)))
    # Ends about where the baseline does.
    end = float(baseline.test[:, -1].mean())
    noise = rng.normal(0, 0.1, (30, 1))
    noise += 0.001 - noise.mean()
    predictor = curves_with("np", np.minimum(92 + 0.4 * steps[:900], end) + noise, 100)
    settings = ReplaySettings(methods=("random",), bootstrap=400)
    at = compare(predictor, baseline, settings)["test_at_baseline_samples"]
    share = at["resamples_in_which_predictor_reaches_it"]
    assert 0.2 < share < 0.8
    assert at["ratio_interval_95"][0] is None
    assert "open below" in at["note"]
    text = to_text(summarize([predictor, baseline], settings, {"run": {}}))
    line, first = [line for line in text.splitlines() if "of its resamples" in line]
    assert "by first reach" in first
    assert " 0.0 " not in line
    assert f"{100 * (1 - share):.0f} % of its resamples never get there" in line

    hopeless = curves_with("np", np.full((30, 900), 92.0), 100)
    text = to_text(summarize([hopeless, baseline], settings, {"run": {}}))
    assert "np does not reach" in text
    assert "way of counting" not in text


def test_speedups_by_time() -> None:
    baseline = curves_with("b", np.tile([90.0, 91, 92], (4, 1)), axis=[100, 200, 1000])
    predictor = curves_with("p", np.tile([90.0, 92.5], (4, 1)), 2, axis=[50, 100])
    resamples = tuple(bootstrap_means(c, "test", 20, 0) for c in (predictor, baseline))
    (one,) = speedups_at_targets(
        predictor, baseline, "test", np.array([92.0]), (resamples[0], resamples[1])
    )
    assert (one.predictor_cost, one.baseline_cost, one.ratio) == (100, 1000, 10)
    (alone,) = speedups_at_targets(
        predictor, baseline, "test", np.array([92.2]), (resamples[0], resamples[1])
    )
    assert math.isnan(alone.ratio)
    assert alone.at_least == 10
    at = speedup_at_cost(predictor, baseline, "test", 500, (resamples[0], resamples[1]))
    assert (at.target, at.predictor_cost, at.ratio) == (91, 100, 5)


def test_first_reach_counts_both_sides() -> None:
    rng = np.random.default_rng(2)
    # The baseline is nearly as good after half its budget, and dips later.
    climb = np.concatenate([np.linspace(90, 94, 40), np.full(40, 93.99), np.full(20, 94.0)])
    baseline = curves_with("b", climb + rng.normal(0, 0.3, (12, 1)))
    predictor = curves_with("p", np.linspace(91, 95, 60) + rng.normal(0, 0.3, (9, 60)), 2)
    resamples = tuple(bootstrap_means(c, "test", 50, 0) for c in (predictor, baseline))
    found = first_reach_speedup(predictor, baseline, "test", 100, (resamples[0], resamples[1]))
    paper = speedup_at_cost(predictor, baseline, "test", 100, (resamples[0], resamples[1]))

    def first(curve: list[float], target: float) -> float:
        return next((n for n, value in enumerate(curve, 1) if value >= target), INF)

    def ratio(ours: list[float], theirs: list[float]) -> float:
        return first(theirs, theirs[99]) / first(ours, theirs[99])

    means = [list(c.test.mean(axis=0)) for c in (predictor, baseline)]
    assert found.ratio == ratio(*means)
    assert found.predictor_cost == paper.predictor_cost
    assert found.baseline_cost <= paper.baseline_cost == 100
    assert found.ratio <= paper.ratio
    slow = [ratio(list(a), list(b)) for a, b in zip(*resamples, strict=True)]
    assert (found.low, found.high) == interval(np.array(slow))
    settings = ReplaySettings(methods=("random",), bootstrap=50)
    content = needed([predictor, baseline], settings)
    assert content is not None
    assert (content["reference"], content["samples"]) == ("b", 100)
    assert content["test"]["target_percent"] == pytest.approx(means[1][99])
    ours, theirs = content["test"]["methods"]["p"], content["test"]["methods"]["b"]
    assert (ours["samples"], theirs["samples"]) == (found.predictor_cost, found.baseline_cost)
    costs = [first(list(a), b[99]) for a, b in zip(*resamples, strict=True)]
    assert ours["interval_95"] == [e if e < INF else None for e in interval(np.array(costs))]
    assert needed([predictor], settings) is None


def test_dips_of_means_are_explained() -> None:
    settings = ReplaySettings(methods=("random",), bootstrap=20)
    test = np.full((4, 50), 93.0)
    test[2, 20:30] = 66.0
    # Before figures begin it is nothing to explain.
    test[1, :5] = 66.0
    curves = [curves_with("random", test), curves_with("evolution", np.full((4, 50), 93.0))]
    summary = summarize(curves, settings, {"run": {"trials": 4}})
    assert summary["methods"]["random"]["trials_with_failed_best"] == 1
    assert "random in 1 of 4 trials. Medians" in dips_in_words(summary)
    assert "random in 1 of 4 trials" in to_text(summary).replace("\n", " ")
    assert "evolution" not in dips_in_words(summary)
    assert dips_in_words(summarize(curves[1:], settings, {"run": {"trials": 4}})) == ""


def test_summary_of_trials() -> None:
    rng = np.random.default_rng(0)
    steps = np.log(np.arange(1, 1201))
    curves = [
        curves_with("random", 92 + 0.2 * steps + rng.normal(0, 0.1, (20, 1))),
        curves_with("np", 92 + 0.25 * steps[:500] + rng.normal(0, 0.1, (20, 1)), 172),
        curves_with("oracle", np.full((20, 1), 94.2)),
    ]
    settings = ReplaySettings(methods=("random",), bootstrap=100)
    best = {"test": 94.3, "validation": 95.3}
    summary = summarize(curves, settings, {"run": {}}, best)
    regret = summary["regret"]
    assert (regret["from"], regret["to"]) == (1, 500)
    for curve in curves[:2]:
        found = regret["methods"][curve.method]
        wanted = (94.3 - curve.test[:, :500]).mean()
        assert found["test_mean"] == pytest.approx(wanted)
        low, high = found["test_interval_95"]
        assert low < wanted < high
    wins = [row for row in summary["wins"] if row["samples"] == 219]
    assert [(row["method"], row["beats"]) for row in wins] == [("random", "np")]
    pairs = curves[0].test[:, None, 218] > curves[1].test[None, :, 218]
    assert wins[0]["probability"] == pytest.approx(pairs.mean())
    row = summary["methods"]["np"]["curve"][-1]
    assert row["samples"] == 500
    assert row["test_mean_interval_95"][0] < row["test_mean"] < row["test_mean_interval_95"][1]
    needed = row["trials_for_test_interval_of_width"]
    assert needed["0.02"] > needed["0.05"] > needed["0.1"] >= 2
    profile = summary["profiles"]["methods"]["np"]["500"]
    thresholds = summary["profiles"]["thresholds_percent"]
    at = thresholds.index(93.5)
    assert profile[at] == pytest.approx((curves[1].test[:, 499] >= 93.5).mean())
