"""How much methods need for an accuracy: samples, or seconds, and ratios of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.results.curves import METRICS, Curves
from nprep.results.levels import NASBENCH101
from nprep.results.statistics import (
    Speedup,
    bootstrap_means,
    cost_to_reach,
    first_reach_speedup,
    interval,
    speedup_at_cost,
    speedups_at_targets,
)
from nprep.runs.settings import ReplaySettings

# The paper's headline: the accuracy that evolution has after so many samples.
HEADLINE_SAMPLES = 5000


def finite(value: float) -> float | None:
    """The value, or None (JSON's null) for infinities and NaN."""
    return value if math.isfinite(value) else None


def _speedup_json(speedup: Speedup, axis: str) -> dict[str, Any]:
    """A speed-up with null for what was not reached or is not bounded."""
    content: dict[str, Any] = {
        "target_percent": speedup.target,
        f"predictor_{axis}": finite(speedup.predictor_cost),
        f"baseline_{axis}": finite(speedup.baseline_cost),
        "ratio": finite(speedup.ratio),
        "ratio_at_least": finite(speedup.at_least),
        "ratio_interval_95": [finite(speedup.low), finite(speedup.high)],
        "resamples_in_which_predictor_reaches_it": speedup.predictor_share,
        "resamples_in_which_baseline_reaches_it": speedup.baseline_share,
    }
    notes = []
    if not math.isfinite(speedup.predictor_cost):
        notes.append("the predictor does not reach it within its budget")
    if not math.isfinite(speedup.baseline_cost):
        notes.append("the baseline does not reach it within its budget")
    if speedup.low == -math.inf:
        notes.append("the interval is open below: some resamples of the predictor never reach it")
    if speedup.high == math.inf:
        notes.append("the interval is open above: some resamples of the baseline never reach it")
    if notes:
        content["note"] = "; ".join(notes)
    return content


def compare(
    predictor: Curves,
    baseline: Curves,
    settings: ReplaySettings,
    axis: str = "samples",
    targets: Mapping[str, NDArray[np.float64]] = NASBENCH101.targets,
) -> dict[str, Any]:
    """How much two methods need for the same accuracy, with intervals.

    Args:
        predictor: Curves by samples, or by seconds.
        baseline: Likewise, of a sequential method.
        settings: Of the replay.
        axis: "samples" or "seconds": what the curves are by.
        targets: By metric, in percent (see ``nprep.results.levels``).
    """
    comparison: dict[str, Any] = {"predictor": predictor.method, "baseline": baseline.method}
    for metric, wanted in targets.items():
        resamples = (
            bootstrap_means(predictor, metric, settings.bootstrap, settings.seed),
            bootstrap_means(baseline, metric, settings.bootstrap, settings.seed),
        )
        speedups = speedups_at_targets(predictor, baseline, metric, wanted, resamples)
        comparison[metric] = [_speedup_json(speedup, axis) for speedup in speedups]
        cost = baseline.end
        if axis == "samples":
            cost = min(HEADLINE_SAMPLES, baseline.horizon)
        headline = speedup_at_cost(predictor, baseline, metric, cost, resamples)
        first = first_reach_speedup(predictor, baseline, metric, cost, resamples)
        comparison[f"{metric}_at_baseline_{axis}"] = {
            axis: cost,
            **_speedup_json(headline, axis),
            # The paper divides ``cost``; here both sides are counted by first reach.
            "first_reach": _speedup_json(first, axis),
        }
    return comparison


def is_sequential(curves: Curves) -> bool:
    """Whether the method is one that a predictor may be compared with."""
    return curves.is_search


def reference_of(all_curves: Sequence[Curves]) -> Curves | None:
    """The method whose accuracy others are asked to reach: evolution, else a sequential one.

    None where there is no sequential method.
    """
    sequential = [curves for curves in all_curves if is_sequential(curves)]
    evolution = [curves for curves in sequential if curves.method.startswith("evolution")]
    return next(iter(evolution or sequential), None)


def needed(
    all_curves: Sequence[Curves], settings: ReplaySettings, axis: str = "samples"
) -> dict[str, Any] | None:
    """What every method needs for the accuracy that the reference has after its samples.

    Args:
        all_curves: By samples, or by seconds.
        settings: Of the replay.
        axis: "samples" or "seconds": what the curves are by.

    Returns:
        For each metric the target, which each resample draws anew, where the mean curve of each
        method first reaches it, and two ratios: the reference's samples over those ("paper"), and
        where the reference first gets there over those ("first_reach"). None where there is no
        reference.
    """
    reference = reference_of(all_curves)
    if reference is None:
        return None
    cost = reference.end
    if axis == "samples":
        cost = min(HEADLINE_SAMPLES, reference.horizon)
    column = reference.column(cost)
    content: dict[str, Any] = {"reference": reference.method, axis: cost}
    for metric in METRICS:
        target = reference.metric(metric).mean(axis=0)[[column]]
        resampled_reference = bootstrap_means(reference, metric, settings.bootstrap, settings.seed)
        wanted = resampled_reference[:, [column]]
        methods = {}
        for curves in all_curves:
            if curves.is_bound:
                continue
            resampled = bootstrap_means(curves, metric, settings.bootstrap, settings.seed)
            costs = cost_to_reach(curves, resampled, wanted)[:, 0]
            pair = (curves, reference, metric, cost, (resampled, resampled_reference))
            paper, first = speedup_at_cost(*pair), first_reach_speedup(*pair)
            methods[curves.method] = {
                axis: finite(paper.predictor_cost),
                "interval_95": [finite(end) for end in interval(costs)],
                "resamples_that_reach_it": float(np.isfinite(costs).mean()),
                "paper_ratio": finite(paper.ratio),
                "paper_ratio_interval_95": [finite(paper.low), finite(paper.high)],
                "first_reach_ratio": finite(first.ratio),
                "first_reach_ratio_interval_95": [finite(first.low), finite(first.high)],
            }
        content[metric] = {"target_percent": float(target[0]), "methods": methods}
    return content
