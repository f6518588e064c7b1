"""``summary.json``: what a replay found, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.results.clock import KEY_SECONDS, Timeline, row_at
from nprep.results.comparisons import (
    Estimate,
    mean_of,
    mean_regret,
    median_of,
    performance_profile,
    probability_of_better,
    trials_needed,
    weights_for,
)
from nprep.results.curves import KEY_SAMPLES, METRICS, Curves, curve_row
from nprep.results.efficiency import compare, finite, is_sequential, needed
from nprep.results.levels import NASBENCH101, Levels, mean_accuracies
from nprep.results.published import protocol_json, published_json
from nprep.results.statistics import bootstrap_means, cost_to_reach, interval
from nprep.runs.settings import ReplaySettings
from nprep.search.registry import kind_of
from nprep.table.view import View

# Widths of intervals, in percent.
WIDTHS = (0.02, 0.05, 0.1)

# Figures begin after 10 samples.
_FIRST_DRAWN = 10

# Numbers K of candidates that a predictor's accuracy is given at; the paper's sum N + K = 219 at
# N = 172 is K = 47.
KEY_TOP_K = (1, 3, 10, 30, 47, 100, 300, 1000)


def best_of(view: View) -> dict[str, float]:
    """The best mean accuracies of a view's cells, in percent: what regret is the distance to."""
    return {metric: float(means.max()) for metric, means in mean_accuracies(view).items()}


def _ends(estimate: Estimate) -> list[float | None]:
    return [finite(estimate.low), finite(estimate.high)]


def _row_statistics(curves: Curves, cost: float, weights: NDArray[np.float64]) -> dict[str, Any]:
    """Intervals of the mean and the median at one cost, and the trials that narrower ones take."""
    content: dict[str, Any] = {}
    for metric in METRICS:
        values = curves.metric(metric)[:, curves.column(cost)]
        content[f"{metric}_mean_interval_95"] = _ends(mean_of(values, weights))
        content[f"{metric}_median_interval_95"] = _ends(median_of(values, weights))
        if metric == "test" and len(values) > 1:
            content["trials_for_test_interval_of_width"] = {
                str(width): trials_needed(values, width) for width in WIDTHS
            }
    return content


def _method_json(
    curves: Curves, timed: Curves | None, settings: ReplaySettings, failed: float | None
) -> dict[str, Any]:
    """What is known of one method."""
    weights = weights_for(curves, settings.bootstrap, settings.seed)
    rows = []
    for samples in KEY_SAMPLES:
        if samples > curves.horizon:
            continue
        row = curve_row(curves, samples)
        del row["method"], row["trials"]
        rows.append({**row, **_row_statistics(curves, samples, weights)})
    final = curve_row(curves, curves.horizon)
    statistics = _row_statistics(curves, curves.horizon, weights)
    content = {
        "kind": curves.kind or kind_of(curves.method, curves.train_samples),
        "train_samples": curves.train_samples,
        "horizon": curves.horizon,
        "final": {**final, **statistics},
        "final_test_mean_interval_95": statistics["test_mean_interval_95"],
        "curve": rows,
    }
    drawn = curves.test[:, _FIRST_DRAWN - 1 :]
    content["trials_with_failed_best"] = (
        0 if failed is None else int((drawn < failed).any(axis=1).sum())
    )
    if curves.train_samples:
        means = {metric: curves.metric(metric).mean(axis=0) for metric in METRICS}
        content["by_top_k"] = [
            {"top_k": k, **{f"{m}_mean": float(v[curves.column(n + k)]) for m, v in means.items()}}
            for n in (curves.train_samples,)
            for k in KEY_TOP_K
            if n + k <= curves.horizon
        ]
    if timed is not None and timed.axis is not None:
        timed_rows = []
        for seconds in KEY_SECONDS:
            if timed.axis[0] <= seconds <= timed.axis[-1]:
                row = row_at(timed, seconds)
                del row["method"], row["trials"]
                timed_rows.append({**row, **_row_statistics(timed, seconds, weights)})
        content["curve_by_seconds"] = timed_rows
    return content


def _regret_json(
    all_curves: Sequence[Curves], best: dict[str, float], settings: ReplaySettings, axis: str
) -> dict[str, Any]:
    """The mean regret of every method up to the shortest budget among them."""
    searches = [curves for curves in all_curves if not curves.is_bound]
    start = max(
        (1.0 if curves.axis is None else float(curves.axis[0]) for curves in searches), default=1.0
    )
    end = min((curves.end for curves in searches), default=1.0)
    content: dict[str, Any] = {"from": start, "to": end, "axis": axis, "methods": {}}
    if end <= start:
        return content
    for curves in searches:
        weights = weights_for(curves, settings.bootstrap, settings.seed)
        content["methods"][curves.method] = {}
        for metric in METRICS:
            regret = mean_of(mean_regret(curves, metric, best[metric], start, end), weights)
            content["methods"][curves.method][f"{metric}_mean"] = regret.value
            content["methods"][curves.method][f"{metric}_interval_95"] = _ends(regret)
    return content


def _wins_json(all_curves: Sequence[Curves], settings: ReplaySettings) -> list[dict[str, Any]]:
    """How often a trial of one method beats a trial of another by test accuracy."""
    searches = [curves for curves in all_curves if not curves.is_bound]
    weights = {
        curves.method: weights_for(curves, settings.bootstrap, settings.seed) for curves in searches
    }
    content = []
    for place, ours in enumerate(searches):
        for theirs in searches[place + 1 :]:
            for samples in KEY_SAMPLES:
                if samples > min(ours.horizon, theirs.horizon):
                    continue
                chance = probability_of_better(
                    ours.test[:, ours.column(samples)],
                    theirs.test[:, theirs.column(samples)],
                    weights[ours.method],
                    weights[theirs.method],
                )
                content.append(
                    {
                        "method": ours.method,
                        "beats": theirs.method,
                        "samples": samples,
                        "probability": chance.value,
                        "interval_95": _ends(chance),
                    }
                )
    return content


def _profiles_json(all_curves: Sequence[Curves], thresholds: NDArray[np.float64]) -> dict[str, Any]:
    """The share of trials that reach each test accuracy, by samples."""
    return {
        "thresholds_percent": thresholds.tolist(),
        "methods": {
            curves.method: {
                str(samples): performance_profile(
                    curves.test[:, curves.column(samples)], thresholds
                ).tolist()
                for samples in KEY_SAMPLES
                if samples <= curves.horizon
            }
            for curves in all_curves
        },
    }


def clock_json(
    timelines: Sequence[Timeline], settings: ReplaySettings, levels: Levels = NASBENCH101
) -> dict[str, Any]:
    """How long methods take by the clock, on each number of machines."""
    methods: dict[str, list[dict[str, Any]]] = {}
    for line in timelines:
        curves = line.curves
        entry: dict[str, Any] = {
            "workers": line.workers,
            "ends_mean_seconds": float(line.ends.mean()),
            "busy_mean_share": float(line.busy.mean()),
        }
        for metric, targets in levels.targets.items():
            entry[f"final_{metric}_mean"] = float(curves.metric(metric)[:, -1].mean())
            mean = curves.metric(metric).mean(axis=0)[None]
            resamples = bootstrap_means(curves, metric, settings.bootstrap, settings.seed)
            seconds = cost_to_reach(curves, mean, targets)[0]
            resampled = cost_to_reach(curves, resamples, targets)
            entry[metric] = [
                {
                    "target_percent": float(target),
                    "seconds": finite(float(seconds[k])),
                    "seconds_interval_95": [finite(end) for end in interval(resampled[:, k])],
                    "resamples_that_reach_it": float(np.isfinite(resampled[:, k]).mean()),
                }
                for k, target in enumerate(targets)
            ]
        methods.setdefault(curves.method, []).append(entry)
    return {
        "predictor_seconds": settings.predictor_seconds,
        "workers": list(settings.workers),
        "methods": methods,
    }


def summarize(
    all_curves: Sequence[Curves],
    settings: ReplaySettings,
    header: dict[str, Any],
    best: dict[str, float] | None = None,
    timed: Sequence[Curves] = (),
    timelines: Sequence[Timeline] = (),
    levels: Levels = NASBENCH101,
) -> dict[str, Any]:
    """The content of ``summary.json``.

    Args:
        all_curves: One for each method, by samples.
        settings: Of the replay.
        header: What ``settings.json`` says; repeated, so that the summary stands alone.
        best: ``best_of`` the view; without it there is no regret.
        timed: The same curves by training time; none where times are not known.
        timelines: Of each method and each number of machines; none where not asked for.
        levels: The accuracies that methods are asked to reach.
    """
    by_seconds = {curves.method: curves for curves in timed}

    def comparisons(curves: Sequence[Curves], axis: str) -> list[dict[str, Any]]:
        return [
            compare(predictor, baseline, settings, axis, levels.targets)
            for predictor in curves
            if predictor.train_samples
            for baseline in curves
            if is_sequential(baseline)
        ]

    content: dict[str, Any] = {
        "format": 2,
        "units": "accuracies in percent, times in seconds; intervals: 95 %, bootstrap over trials",
        **header,
        "protocol": protocol_json(settings.protocol),
        "methods": {
            curves.method: _method_json(
                curves, by_seconds.get(curves.method), settings, levels.failed
            )
            for curves in all_curves
        },
        "needed": needed(all_curves, settings),
        "speedups": comparisons(all_curves, "samples"),
        "wins": _wins_json(all_curves, settings),
        "profiles": _profiles_json(all_curves, levels.thresholds),
        "published": published_json(
            all_curves, settings.protocol, header.get("run", {}).get("view", {})
        ),
    }
    if timed:
        content["needed_by_seconds"] = needed(timed, settings, "seconds")
        content["speedups_by_seconds"] = comparisons(timed, "seconds")
    if best is not None:
        content["best_percent"] = best
        content["regret"] = _regret_json(all_curves, best, settings, "samples")
        if timed:
            content["regret_by_seconds"] = _regret_json(timed, best, settings, "seconds")
    if timelines:
        content["clock"] = clock_json(timelines, settings, levels)
    return content
