"""Samples to reach a target, ratios of them, and bootstrap intervals over trials."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.results.curves import Curves

# Of an interval: 95 % of the resamples lie inside.
INTERVAL = (0.025, 0.975)

_COLUMNS_AT_ONCE = 2000


def first_reached(means: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """The number of columns after which mean curves first reach targets.

    Args:
        means: (B, L) mean curves; need not be monotone.
        targets: (K,) or (B, K), in the unit of the curves.

    Returns:
        (B, K) float64, from 1; infinity where a curve never gets there.
    """
    highest = np.maximum.accumulate(means, axis=1)
    wanted = np.broadcast_to(targets, (len(means), targets.shape[-1]))
    reached = np.empty(wanted.shape)
    for i in range(len(means)):
        reached[i] = np.searchsorted(highest[i], wanted[i], side="left") + 1
    reached[reached > means.shape[1]] = math.inf
    return reached


def cost_to_reach(
    curves: Curves, means: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The samples, or seconds, after which mean curves first reach targets.

    Args:
        curves: What the means are of; says what their columns stand for.
        means: (B, L); see ``first_reached``, as for targets and result.
        targets: (K,) or (B, K).
    """
    reached = first_reached(means, targets)
    if curves.axis is None:
        return reached
    known = np.append(curves.axis, math.inf)
    places = np.minimum(reached - 1, len(known) - 1).astype(np.int64)
    return known[places]


def bootstrap_weights(method: str, trials: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """The shares that the trials have in resamples of as many trials, drawn with replacement.

    Args:
        method: Name of the method; each is resampled by a stream of its own.
        trials: Number T of trials.
        resamples: Number B of resamples.
        seed: Of the replay.

    Returns:
        (B, T) float64; each row sums to 1.
    """
    key = hashlib.blake2b(f"bootstrap {method}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(int.from_bytes(key, "little"),))
    )
    return rng.multinomial(trials, np.full(trials, 1 / trials), size=resamples) / trials


def bootstrap_means(curves: Curves, metric: str, resamples: int, seed: int) -> NDArray[np.float64]:
    """Mean curves of trials drawn with replacement.

    Args:
        curves: Of one method.
        metric: "validation" or "test".
        resamples: Number B of resamples.
        seed: Of the replay; each method is resampled by a stream of its own.

    Returns:
        (B, L) float64, in percent.
    """
    values = curves.metric(metric)
    trials, length = values.shape
    weights = bootstrap_weights(curves.method, trials, resamples, seed)
    means = np.empty((resamples, length))
    for start in range(0, length, _COLUMNS_AT_ONCE):
        means[:, start : start + _COLUMNS_AT_ONCE] = (
            weights @ values[:, start : start + _COLUMNS_AT_ONCE]
        )
    return means


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the middle 95 % of values; both are among the values, which may be infinite."""
    # Not np.quantile: interpolating next to an infinity gives NaN.
    ordered = np.sort(values)
    low, high = (ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in INTERVAL)
    return float(low), float(high)


@dataclass(frozen=True)
class Speedup:
    """How many samples, or seconds, two methods need for one accuracy.

    A curve that does not get there within its budget tells no more than that it needs more. So a
    ratio may be known only to be above or below some number, in the estimate as in the resamples;
    an interval is then open on that side.

    Attributes:
        metric: "validation" or "test".
        target: Accuracy in percent, of the mean over trials.
        predictor_cost: Samples, or seconds, of the predictor; infinite if it never gets there.
        baseline_cost: Likewise of the baseline.
        ratio: Baseline's over predictor's; NaN where either never gets there.
        at_least: Where the predictor alone gets there: the baseline's whole budget over what the
            predictor needs, which the ratio exceeds. Else NaN.
        low: Lower end of the ratio's 95 % interval; minus infinity where it is open below.
        high: Upper end; infinity where it is open above.
        predictor_share: Share of the resamples in which the predictor gets there.
        baseline_share: Likewise of the baseline.
    """

    metric: str
    target: float
    predictor_cost: float
    baseline_cost: float
    ratio: float
    at_least: float
    low: float
    high: float
    predictor_share: float
    baseline_share: float


def _ratio_interval(
    predictor: NDArray[np.float64], baseline: NDArray[np.float64]
) -> tuple[float, float]:
    """The 95 % interval of baseline / predictor over resamples, some of which are infinite.

    Args:
        predictor: (B,) costs.
        baseline: (B,) costs.
    """
    # Where neither gets there the ratio may be anything: below all others for the lower end, above
    # them for the upper.
    known = np.isfinite(predictor) & np.isfinite(baseline)
    ratios = np.full(len(predictor), math.nan)
    ratios[known] = baseline[known] / predictor[known]
    lowest = np.where(known, ratios, np.where(np.isfinite(predictor), math.inf, -math.inf))
    highest = np.where(known, ratios, np.where(np.isfinite(baseline), -math.inf, math.inf))
    return interval(lowest)[0], interval(highest)[1]


def _speedup(
    metric: str,
    target: float,
    points: tuple[float, float],
    resampled: tuple[NDArray[np.float64], NDArray[np.float64]],
    baseline_end: float,
) -> Speedup:
    """Puts together point estimates and (B,) resamples of (predictor, baseline)."""
    predictor, baseline = points
    known = math.isfinite(predictor) and math.isfinite(baseline)
    alone = math.isfinite(predictor) and not math.isfinite(baseline)
    low, high = _ratio_interval(*resampled)
    return Speedup(
        metric,
        target,
        predictor,
        baseline,
        baseline / predictor if known else math.nan,
        baseline_end / predictor if alone else math.nan,
        low,
        high,
        float(np.isfinite(resampled[0]).mean()),
        float(np.isfinite(resampled[1]).mean()),
    )


def speedups_at_targets(
    predictor: Curves,
    baseline: Curves,
    metric: str,
    targets: NDArray[np.float64],
    resamples: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> list[Speedup]:
    """The speed-up at each target accuracy.

    Args:
        predictor: Curves of the predictor.
        baseline: Curves of the method it is compared with, by the same measure of cost.
        metric: "validation" or "test".
        targets: (K,) percent.
        resamples: ``bootstrap_means`` of both.
    """
    pair = (predictor, baseline)
    points = [
        cost_to_reach(curves, curves.metric(metric).mean(axis=0)[None], targets)[0]
        for curves in pair
    ]
    resampled = [
        cost_to_reach(curves, means, targets) for curves, means in zip(pair, resamples, strict=True)
    ]
    return [
        _speedup(
            metric,
            float(target),
            (float(points[0][k]), float(points[1][k])),
            (resampled[0][:, k], resampled[1][:, k]),
            baseline.end,
        )
        for k, target in enumerate(targets)
    ]


def speedup_at_cost(
    predictor: Curves,
    baseline: Curves,
    metric: str,
    cost: float,
    resamples: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Speedup:
    """How much sooner the predictor is where the baseline is after ``cost`` samples, or seconds.

    Args:
        predictor: Curves of the predictor.
        baseline: Curves of the method it is compared with.
        metric: "validation" or "test".
        cost: At most the baseline's end.
        resamples: ``bootstrap_means`` of both; the target is drawn anew with each.
    """
    column = baseline.column(cost)
    target = baseline.metric(metric)[:, column].mean(keepdims=True)
    point = cost_to_reach(predictor, predictor.metric(metric).mean(axis=0)[None], target)[0]
    resampled = cost_to_reach(predictor, resamples[0], resamples[1][:, [column]])[:, 0]
    spent = np.full(resampled.shape, float(cost))
    return _speedup(
        metric, float(target[0]), (float(point[0]), float(cost)), (resampled, spent), baseline.end
    )


def first_reach_speedup(
    predictor: Curves,
    baseline: Curves,
    metric: str,
    cost: float,
    resamples: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Speedup:
    """Like ``speedup_at_cost``, but both methods are counted by where they first get there.

    The mean curve of the baseline is often as good, or nearly, long before ``cost``; dividing
    ``cost`` itself by what the predictor needs then flatters the predictor.

    Args:
        predictor: Curves of the predictor.
        baseline: Curves of the method it is compared with.
        metric: "validation" or "test".
        cost: At most the baseline's end; the baseline's mean there is the target.
        resamples: ``bootstrap_means`` of both; the target is drawn anew with each.
    """
    column = baseline.column(cost)
    pair = (predictor, baseline)
    means = [curves.metric(metric).mean(axis=0)[None] for curves in pair]
    target = means[1][:, column]
    points = [
        float(cost_to_reach(curves, mean, target)[0, 0])
        for curves, mean in zip(pair, means, strict=True)
    ]
    wanted = resamples[1][:, [column]]
    resampled = [
        cost_to_reach(curves, each, wanted)[:, 0]
        for curves, each in zip(pair, resamples, strict=True)
    ]
    return _speedup(
        metric,
        float(target[0]),
        (points[0], points[1]),
        (resampled[0], resampled[1]),
        baseline.end,
    )
