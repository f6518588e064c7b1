"""Fits the Gaussian processes: the gap between validation and test, and the spread of repeats.

Both have one basis (``nprep.model.process``) and are fitted to triples; the gap to bests, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.data.fit.measurements import REGIONS, FitData, Measured, regions_of
from nprep.model.process import Process, inputs_of

Floats = NDArray[np.float64]

# The process: inducing points; standard deviations of what the radial part, a linear weight and the
# constant may be, in units of the noise. Of 20 settings that were compared by R2 on cells left out,
# above 93 %, none was better by more than 0.01.
INDUCING = 512
RADIAL = 2.0
RADIAL_OF_SPREAD = 0.7
LINEAR = 0.3
CONSTANT = 10.0
# Variance of the gap that a best run suggests, in units of a triple's. It is greater; but triples
# crowd in a corner of the space, and with this weight the bests left out are predicted best.
BEST_VARIANCE = 1.1
# Variance of the logarithm of a standard deviation that three values give: pi^2 / 24.
LOG_SPREAD_NOISE = 0.41


def choose_process(
    data: FitData, level: Floats, guess: Floats, failures: NDArray[np.int64]
) -> Process:
    """The basis of the process: inducing points all over the space, more where searches end.

    None is a cell: each has the structure of one and the luck (test accuracy minus the accuracy
    predicted from structure) of another.
    """
    rng = np.random.default_rng(1)
    share = np.where(
        level > 0.93, 10.0, np.where(level > 0.92, 2.0, np.where(level > 0.88, 1, 0.3))
    )
    share[failures > 0] = 0.0
    rows = rng.choice(len(level), INDUCING, replace=False, p=share / share.sum())
    # Sorted by what is promised, neighbours swap their luck.
    rows = rows[np.argsort(guess[rows])]
    luck = np.roll(level[rows] - guess[rows], 1)
    features = data.features.astype(np.float64)
    centre = features.mean(axis=0).astype(np.float32)
    scale = np.maximum(features.std(axis=0), 1e-6).astype(np.float32)
    inducing = np.empty((INDUCING, len(centre) + 3), np.float32)
    inputs_of(centre, scale, data.features[rows], guess[rows] + luck, guess[rows], inducing)
    return Process(centre, scale, inducing)


@dataclass(frozen=True)
class Posterior:
    """Weights of the process, and the inverse of their covariance."""

    weights: Floats
    precision: Floats

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """Draws (count, P) differences from the mean."""
        root = np.linalg.cholesky(self.precision)
        normal = rng.normal(size=(len(root), count))
        return np.ascontiguousarray(np.linalg.solve(root.T, normal).T)


def regress_process(
    process: Process, functions: Floats, target: Floats, variance: Floats, radial: float
) -> Posterior:
    """The posterior of the process, given values with independent noise.

    Args:
        process: The basis.
        functions: (N, P) its values.
        target: (N,) in units in which the prior's standard deviations hold.
        variance: (N,) of the noise, in the same units.
        radial: Standard deviation of the radial part.
    """
    points = process.inducing.astype(np.float64)
    square = (points**2).sum(axis=1)
    among = np.exp(-0.5 * np.maximum(square[:, None] + square - 2 * points @ points.T, 0))
    count = len(points)
    prior = np.zeros((functions.shape[1],) * 2)
    prior[:count, :count] = (among + 1e-5 * np.eye(count)) / radial**2
    ends = np.arange(count, len(prior))
    prior[ends, ends] = 1 / LINEAR**2
    prior[count, count] = 1 / CONSTANT**2
    weighted = functions / variance[:, None]
    precision = weighted.T @ functions + prior
    weights = np.asarray(np.linalg.solve(precision, weighted.T @ target), np.float64)
    return Posterior(weights, precision)


def best_above_mean(
    validation: Floats, level: Floats, spread: Floats, other_level: Floats, other_spread: Floats
) -> Floats:
    """By how much the best of three repeats exceeds their mean, on average.

    Args:
        validation: (N, 3) repeats of triples.
        level: (N,) their mean test accuracy.
        spread: (N,) the standard deviation expected of them.
        other_level: (M,) mean test accuracy of the cells in question.
        other_spread: (M,) the standard deviation expected of them.

    Returns:
        (M,) float64.
    """
    excess = validation.max(axis=1) - validation.mean(axis=1)
    place = regions_of(level)
    inside = [place == r for r in range(len(REGIONS) + 1)]
    ratio = [excess[here].mean() / spread[here].mean() for here in inside]
    middle = [level[here].mean() for here in inside]
    above: Floats = np.interp(other_level, middle, ratio) * other_spread
    return above


@dataclass(frozen=True)
class Fit:
    """Posteriors of the gap, in units of ``scale`` at ``levels``, and of the log spread."""

    levels: Floats
    scale: Floats
    gap: Posterior
    spread: Posterior

    def predict(self, cells: Measured) -> tuple[Floats, Floats]:
        """Gap and standard deviation between repeats of cells."""
        gap = np.interp(cells.level, self.levels, self.scale) * (cells.basis @ self.gap.weights)
        return gap, np.exp(cells.basis @ self.spread.weights)


def fit_processes(
    process: Process,
    triples: Measured,
    validation: Floats,
    bests: Measured,
    best: Floats,
    levels: Floats,
    scale: Floats,
) -> Fit:
    """Fits gap and spread.

    Args:
        process: The basis.
        triples: Cells with three runs, none failed.
        validation: (N, 3) their validation accuracies.
        bests: Cells of which the best run is known.
        best: (M,) its validation accuracy.
        levels: Test accuracies at which ``scale`` holds.
        scale: Standard deviation of what the process leaves of a triple's gap.
    """
    logs = np.log(np.maximum(validation.std(axis=1, ddof=1), 3e-4))
    # Its mean over few runs is below that of the standard deviation; only ratios of predictions
    # enter the law of the runs, so that this cancels.
    noise = np.full(len(logs), LOG_SPREAD_NOISE)
    spread = regress_process(process, triples.basis, logs, noise, RADIAL_OF_SPREAD)
    above = best_above_mean(
        validation,
        triples.level,
        np.exp(triples.basis @ spread.weights),
        bests.level,
        np.exp(bests.basis @ spread.weights),
    )
    level = np.concatenate([triples.level, bests.level])
    gap = np.concatenate([validation.mean(axis=1), best - above]) - level
    variance = np.concatenate([np.ones(len(validation)), np.full(len(best), BEST_VARIANCE)])
    functions = np.concatenate([triples.basis, bests.basis])
    unit = np.interp(level, levels, scale)
    return Fit(
        levels,
        scale,
        regress_process(process, functions, gap / unit, variance, RADIAL),
        spread,
    )
