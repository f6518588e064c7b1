"""Samples to reach a target, ratios of them, and bootstrap intervals over trials."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.replay.curves import Curves

# Of an interval: 95 % of the resamples lie inside.
INTERVAL = (0.025, 0.975)

_COLUMNS_AT_ONCE = 2000


def first_reached(means: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """The number of samples after which mean curves first reach targets.

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
    key = hashlib.blake2b(f"bootstrap {curves.method}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(int.from_bytes(key, "little"),))
    )
    counts = rng.multinomial(trials, np.full(trials, 1 / trials), size=resamples)
    weights = counts / trials
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
    """How many samples two methods need for one accuracy.

    Attributes:
        metric: "validation" or "test".
        target: Accuracy in percent, of the mean over trials.
        predictor_samples: Samples of the predictor; infinite if it never gets there.
        baseline_samples: Likewise of the baseline.
        ratio: Baseline's over predictor's; infinite or 0 where one never gets there, NaN where
            neither does.
        low: Lower end of the ratio's 95 % interval; NaN where more than 5 % of the resamples have
            no ratio.
        high: Upper end.
    """

    metric: str
    target: float
    predictor_samples: float
    baseline_samples: float
    ratio: float
    low: float
    high: float


def _ratio(baseline: NDArray[np.float64], predictor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elementwise ratio; infinity over infinity is NaN."""
    with np.errstate(invalid="ignore"):
        return baseline / predictor


def _speedups(
    metric: str,
    targets: NDArray[np.float64],
    points: tuple[NDArray[np.float64], NDArray[np.float64]],
    resampled: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> list[Speedup]:
    """Puts together point estimates (K,) and resamples (B, K) of (predictor, baseline)."""
    ratios = _ratio(points[1], points[0])
    resampled_ratios = _ratio(resampled[1], resampled[0])
    speedups = []
    for k, target in enumerate(targets):
        known = resampled_ratios[:, k][~np.isnan(resampled_ratios[:, k])]
        low, high = math.nan, math.nan
        if len(known) >= 0.95 * len(resampled_ratios):
            low, high = interval(known)
        speedups.append(
            Speedup(
                metric,
                float(target),
                float(points[0][k]),
                float(points[1][k]),
                float(ratios[k]),
                low,
                high,
            )
        )
    return speedups


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
        baseline: Curves of the method it is compared with.
        metric: "validation" or "test".
        targets: (K,) percent.
        resamples: :func:`bootstrap_means` of both.
    """
    points = tuple(
        first_reached(curves.metric(metric).mean(axis=0)[None], targets)[0]
        for curves in (predictor, baseline)
    )
    resampled = tuple(first_reached(means, targets) for means in resamples)
    return _speedups(metric, targets, (points[0], points[1]), (resampled[0], resampled[1]))


def speedup_at_samples(
    predictor: Curves,
    baseline: Curves,
    metric: str,
    samples: int,
    resamples: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Speedup:
    """How much sooner the predictor is where the baseline is after ``samples`` samples.

    Args:
        predictor: Curves of the predictor.
        baseline: Curves of the method it is compared with.
        metric: "validation" or "test".
        samples: At most the baseline's horizon.
        resamples: :func:`bootstrap_means` of both; the target is drawn anew with each.
    """
    column = baseline.column(samples)
    target = baseline.metric(metric)[:, column].mean(keepdims=True)
    point = first_reached(predictor.metric(metric).mean(axis=0)[None], target)[0]
    resampled = first_reached(resamples[0], resamples[1][:, [column]])
    cost = np.full((1,), float(samples))
    spent = np.full(resampled.shape, float(samples))
    return _speedups(metric, target, (point, cost), (resampled, spent))[0]
