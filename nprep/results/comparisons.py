"""Comparisons of methods trial by trial: regret, who wins how often, and how many trials it takes.

All intervals are of 95 %, from a bootstrap over trials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.results.curves import Curves
from nprep.results.statistics import bootstrap_weights, interval

# Of the standard normal distribution: 95 % lies within so many standard deviations.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A statistic of some trials.

    Attributes:
        value: Of the trials themselves.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def mean_of(values: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimate:
    """The mean over trials.

    Args:
        values: (T,).
        weights: (B, T) of ``bootstrap_weights``.
    """
    return Estimate(float(values.mean()), *interval(weights @ values))


def median_of(values: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimate:
    """The median over trials; arguments as of ``mean_of``.

    Resamples have the lower of two medians where their number of trials is even: without this their
    medians would lie between values that no trial has.
    """
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[:, order], axis=1)
    # The first value that half of the trials do not exceed; sums of shares are not exact.
    medians = values[order][np.argmax(share >= 0.5 - 1e-9, axis=1)]
    return Estimate(float(np.median(values)), *interval(medians))


def mean_regret(
    curves: Curves, metric: str, best: float, start: float, end: float
) -> NDArray[np.float64]:
    """The area under each trial's regret curve over the width of the area: its mean regret.

    Args:
        curves: Of one method.
        metric: "validation" or "test".
        best: Percent; what regret is the distance to.
        start: The first number of samples, or time in seconds.
        end: The last; a step function is integrated over time.

    Returns:
        (T,) float64 in percent; negative parts count, for a single run may beat the best mean.
    """
    values = curves.metric(metric)
    first, last = curves.column(start), curves.column(end)
    if curves.axis is None:
        beyond = int(end) - 1 - last
        total = values[:, first : last + 1].sum(axis=1) + beyond * values[:, last]
        return best - total / (int(end) - int(start) + 1)
    edges = np.concatenate([[start], curves.axis[first + 1 : last + 1], [end]])
    widths = np.diff(edges)
    return best - values[:, first : last + 1] @ widths / (end - start)


def probability_of_better(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    our_weights: NDArray[np.float64],
    their_weights: NDArray[np.float64],
) -> Estimate:
    """The probability that a trial of one method beats a trial of another; a tie is half a win.

    Args:
        ours: (T,) accuracies.
        theirs: (U,) accuracies.
        our_weights: (B, T) of ``bootstrap_weights``.
        their_weights: (B, U).
    """
    order = np.argsort(theirs, kind="stable")
    ordered = theirs[order]
    below = np.searchsorted(ordered, ours, side="left")
    not_above = np.searchsorted(ordered, ours, side="right")
    zeros = np.zeros((len(their_weights), 1))
    share = np.concatenate([zeros, np.cumsum(their_weights[:, order], axis=1)], axis=1)
    wins = 0.5 * (share[:, below] + share[:, not_above])
    value = float((below + not_above).sum()) / (2 * len(ours) * len(theirs))
    return Estimate(value, *interval((our_weights * wins).sum(axis=1)))


def performance_profile(
    values: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The share of trials that are at least as good as each threshold.

    Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS
    2021, section 4.1.

    Args:
        values: (T,) accuracies.
        thresholds: (K,) ascending.
    """
    ordered = np.sort(values)
    return 1.0 - np.searchsorted(ordered, thresholds, side="left") / len(ordered)


def trials_needed(values: NDArray[np.float64], width: float) -> int:
    """How many trials give the mean an interval of 95 % that is ``width`` wide.

    By the normal approximation: 2 z s / sqrt(n) is the width of n trials, s the standard deviation
    of those at hand.

    Args:
        values: (T,) of some trials, at least 2.
        width: From end to end, in the unit of the values.
    """
    return max(2, math.ceil((2 * _Z * float(values.std(ddof=1)) / width) ** 2))


def weights_for(curves: Curves, resamples: int, seed: int) -> NDArray[np.float64]:
    """``bootstrap_weights`` for a method's trials."""
    return bootstrap_weights(curves.method, len(curves.test), resamples, seed)
