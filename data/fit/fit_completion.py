"""Fits the completion model to the measured table: python data/fit/fit_completion.py measured.npz.

What is measured: the sum of three test accuracies of every cell; all three validation accuracies of
the 23,142 cells of the NAS-Bench-1Shot1 spaces (*triples*); and of 20,001 random cells the best of
the three (*bests*: on the 1,102 cells that have both, the single value is the highest of the three
without exception, though the file calls it one repeat). The triples know the noise but come from a
closed corner of the space, the bests are a random sample of the space. The gap between validation
and test is fitted to both, as a Gaussian process; the law of the runs about it comes from the
triples, left out of the fit; and the bests, left out, say how far the process is to be trusted.

Not fitted to: the means and single runs that searches left behind, some of which were selected
for being high, and no number published of the full data set. The means of cells that a search
visited (chosen for what they are, not for their value) are held back to judge the result.

Needs the extra ``fit``. On busy processors, set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from nprep.data.fit.boosting import from_histogram_boosting
from nprep.data.fit.judge_completion import judge
from nprep.data.fit.measurements import Data, read
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.model import completion
from nprep.model.completion import Calibration, Completion, Expectation
from nprep.model.draws import IMAGES, Known, Noise, draw_cells
from nprep.model.process import Process, basis, inputs_of

Floats = NDArray[np.float64]

# Bounds of the regions of mean test accuracy (of the runs that did not fail) by which the law of
# the runs, the calibration and the donors are told apart.
REGIONS = (0.80, 0.86, 0.88, 0.90, 0.91, 0.92, 0.93, 0.935)
TAILS = (0.0005, 0.002, 0.005, 0.01, 0.02, 0.035)
LEVELS = np.array([*TAILS, *np.arange(0.05, 0.951, 0.025), *(1 - t for t in reversed(TAILS))])

# A run below this test accuracy, with its cell's structure promising more, has failed: runs between
# chance and 50 % are 1 in 2,000.
FAILED_BELOW = 0.12

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
SAMPLES = 96

# Donors: all above the bound, and so many of each region below; the length of their window.
DONORS_ABOVE = 0.93
DONORS_BELOW = 300
WINDOW = 300


def boost(trees: int, leaves: int, rate: float, least: int) -> HistGradientBoostingRegressor:
    """Boosted trees whose result depends on nothing but the data."""
    return HistGradientBoostingRegressor(
        max_iter=trees,
        max_leaf_nodes=leaves,
        learning_rate=rate,
        min_samples_leaf=least,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=0,
    )


@dataclass(frozen=True)
class Regression:
    """A ridge regression on few terms, and boosted trees on what it leaves."""

    weights: Floats
    trees: TreeEnsemble

    def predict(self, terms: Floats, inputs: NDArray[np.float32]) -> Floats:
        """Evaluates both parts."""
        return terms @ self.weights + self.trees.predict(inputs)


def ridge(terms: Floats, target: Floats, weight: Floats, strength: float = 1e-6) -> Floats:
    """Weights of a ridge regression; the first term, the constant, is not shrunk."""
    penalty: NDArray[Any] = strength * np.eye(terms.shape[1])
    penalty[0, 0] = 0.0
    weighted = terms * weight[:, None]
    weights: Floats = np.linalg.solve(weighted.T @ terms + penalty, weighted.T @ target)
    return weights


def regress(
    terms: Floats,
    inputs: NDArray[np.float32],
    target: Floats,
    weight: Floats,
    model: HistGradientBoostingRegressor,
) -> Regression:
    """Fits a ``Regression``."""
    weights = ridge(terms, target, weight)
    model.fit(inputs, target - terms @ weights, sample_weight=weight)
    return Regression(weights, from_histogram_boosting(model))


def regions_of(level: Floats) -> NDArray[np.int64]:
    """The region of each test accuracy."""
    return np.searchsorted(REGIONS, level)


@dataclass(frozen=True)
class Measured:
    """Cells without failed runs of which validation was measured.

    Attributes:
        rows: (N,) of the space.
        level: (N,) mean test accuracy.
        guess: (N,) the accuracy predicted from structure.
        basis: (N, P) of the process.
    """

    rows: NDArray[np.int64]
    level: Floats
    guess: Floats
    basis: Floats

    def take(self, chosen: NDArray[Any]) -> Measured:
        """Some of the cells."""
        return Measured(
            self.rows[chosen], self.level[chosen], self.guess[chosen], self.basis[chosen]
        )


def choose_process(
    data: Data, level: Floats, guess: Floats, failures: NDArray[np.int64]
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


def moments(values: Floats) -> tuple[float, float]:
    """Variance and its standard error; what is beyond five standard deviations counts as there."""
    centre = np.median(values)
    width = 1.4826 * np.median(np.abs(values - centre))
    kept = np.clip(values, centre - 5 * width, centre + 5 * width)
    square = (kept - kept.mean()) ** 2
    return float(square.mean()), float(square.std() / len(values) ** 0.5)


def calibrate(
    levels: Floats,
    scale: Floats,
    triples: Measured,
    gap: Floats,
    bests: Measured,
    best_gap: Floats,
    measured: Floats,
) -> Calibration:
    """How far predictions are to be stretched, from bests that were left out of the fit.

    They are a random sample of the space, for the rest of which the model is. Below 90 %, where
    the noise is not normal and no search ends, nothing is stretched.

    Args:
        levels: Knots, one for each region.
        scale: At the knots.
        triples: For the usual gap.
        gap: (N,) predicted of them.
        bests: (M,)
        best_gap: (M,) predicted of them.
        measured: (M,) their best run, less what it exceeds the mean by on average, less test.
    """
    place, best_place = regions_of(triples.level), regions_of(bests.level)
    slope = np.tile([1.0, 0.0], (len(levels), 1))
    pivot = np.empty(len(levels))
    for r in range(len(levels)):
        pivot[r] = np.concatenate([gap[place == r], best_gap[best_place == r]]).mean()
        if REGIONS[max(r - 1, 0)] < 0.90:
            continue
        x, y = best_gap[best_place == r], measured[best_place == r]
        x, y = x - x.mean(), y - y.mean()
        slope[r, 0] = (x @ y) / (x @ x)
        slope[r, 1] = np.sqrt(((y - slope[r, 0] * x) ** 2) @ x**2) / (x @ x)
    return Calibration(levels, scale, pivot, slope, np.zeros((len(levels), 2)))


def stretched(calibration: Calibration, level: Floats, gap: Floats) -> Floats:
    """The gap after calibration, as the model computes it."""
    pivot = np.interp(level, calibration.levels, calibration.pivot)
    slope = np.interp(level, calibration.levels, calibration.slope[:, 0])
    return pivot + slope * (gap - pivot)


def fit_noise(
    data: Data, triples: Measured, validation: Floats, test: Floats, gap: Floats, spread: Floats
) -> Noise:
    """The law of the runs, from triples that were left out of the fit.

    Args:
        data: For the failed runs.
        triples: N cells.
        validation: (N, 3).
        test: (N, 3).
        gap: (N,) expected mean validation less mean test.
        spread: (N,) expected standard deviation between repeats.
    """
    level = triples.level
    mean = validation.mean(axis=1, keepdims=True)
    low, middle, _ = (np.sort(validation, axis=1) - mean).T
    donors = np.column_stack([mean[:, 0] - level - gap, low, middle])
    place = regions_of(level)
    rng = np.random.default_rng(2)
    chosen = [np.flatnonzero(level >= DONORS_ABOVE)]
    for r in range(len(REGIONS) + 1):
        inside = np.flatnonzero((place == r) & (level < DONORS_ABOVE))
        chosen.append(rng.permutation(inside)[:DONORS_BELOW])
    kept = np.concatenate(chosen)
    kept = kept[np.argsort(level[kept], kind="stable")]
    deviation = validation - mean
    test_deviation = test - test.mean(axis=1, keepdims=True)
    calm = level > 0.88
    slope = (deviation * test_deviation)[calm].sum() / (deviation**2)[calm].sum()
    left = test_deviation - slope * deviation
    # Robust: a few runs are far out in one of the two.
    remainder = [
        1.4826 * np.median(np.abs(left[place == r])) * np.sqrt(1.5) for r in range(len(REGIONS) + 1)
    ]
    runs_validation, runs_test = data.triple_validation, data.triple_test
    failed = runs_test < FAILED_BELOW * IMAGES
    return Noise(
        # Rounded: a law, not a list of cells.
        donor_level=level[kept].round(4),
        donors=donors[kept].round(5),
        donor_spread=spread[kept].round(5),
        donor_luck=(level - triples.guess)[kept].round(4),
        window=WINDOW,
        region_edges=np.array(REGIONS),
        test_slope=float(slope),
        test_noise=np.array(remainder),
        failed=np.array([np.median(runs_validation[failed]), np.median(runs_test[failed])]).astype(
            np.int64
        ),
    )


def fit_effect(
    calibration: Calibration,
    noise: Noise,
    bests: Measured,
    keys: NDArray[np.uint64],
    gap: Floats,
    spread: Floats,
    best: Floats,
) -> Calibration:
    """Adds the cell effect: what bests, left out, scatter by beyond the law of the triples.

    Args:
        calibration: So far.
        noise: The law of the triples.
        bests: M cells.
        keys: (M,) of theirs.
        gap: (M,) expected.
        spread: (M,) expected.
        best: (M,) measured.
    """
    count = len(best)
    drawn = []
    for seed in range(20):
        validation, test = np.empty((count, 3), np.int32), np.empty((count, 3), np.int32)
        total = np.rint(3 * IMAGES * bests.level).astype(np.int64)
        draw_cells(
            completion.cell_seeds(keys, seed), noise, bests.level + gap, spread,
            bests.level - bests.guess, np.zeros(count),
            bests.level, np.zeros(count, np.int64), Known.nothing(count), total, validation, test,
        )  # fmt: skip
        drawn.append(validation.max(axis=1) / IMAGES - bests.level - gap)
    left = best - bests.level - gap
    place = regions_of(bests.level)
    effect = np.zeros((len(calibration.levels), 2))
    for r in range(len(effect)):
        if REGIONS[max(r - 1, 0)] < 0.90:
            continue
        inside = place == r
        variance, error = moments(left[inside])
        modelled, _ = moments(np.concatenate([one[inside] for one in drawn]))
        effect[r] = variance - modelled, error
    return calibration._replace(effect=effect)


def fit_guess(data: Data, trees: int) -> TreeEnsemble:
    """Fits test accuracy to structure, on all cells.

    No validation accuracy enters, so cells left out of the later fits may have been in this one.
    """
    target = np.maximum(data.total / (3 * IMAGES), 0.86)
    model = boost(trees, 63, 0.2, 40)
    return from_histogram_boosting(model.fit(data.features, target))


def fit_seconds(data: Data, folds: int) -> tuple[Regression, Floats, dict[str, float]]:
    """Fits the logarithm of the training time; returns the fit, its residuals and statistics."""
    features = data.features[data.seconds_rows]
    terms = completion.seconds_terms(features)
    logs = np.log(data.seconds)
    ones = np.ones(len(logs))
    fold = np.random.default_rng(0).integers(folds, size=len(logs))
    predicted = np.empty(len(logs))
    for k in range(folds):
        out = fold == k
        fit = regress(terms[~out], features[~out], logs[~out], ones[~out], boost(150, 31, 0.08, 30))
        predicted[out] = fit.predict(terms[out], features[out])
    left = logs - predicted
    explained = 1 - np.var(data.seconds - np.exp(predicted)) / np.var(data.seconds)
    final = regress(terms, features, logs, ones, boost(150, 31, 0.08, 30))
    return final, left, {"r2": float(explained), "relative_sd": float(left.std())}


@dataclass(frozen=True)
class Prepared:
    """What every fit of the process starts from."""

    guess: Floats
    failures: NDArray[np.int64]
    level: Floats
    process: Process
    triples: Measured
    validation: Floats
    test: Floats
    bests: Measured
    best: Floats


def prepare(data: Data, guess: Floats) -> Prepared:
    """Finds failed runs, leaves out their cells, and evaluates the basis."""
    failed = data.triple_test < FAILED_BELOW * IMAGES
    chance = np.array(
        [np.median(data.triple_validation[failed]), np.median(data.triple_test[failed])]
    ).astype(np.int64)
    failures, level = completion.split_failures(data.total, guess, chance)
    process = choose_process(data, level, guess, failures)

    def measured(rows: NDArray[np.int64]) -> Measured:
        functions = basis(process, data.features[rows], level[rows], guess[rows])
        return Measured(rows, level[rows], guess[rows], functions)

    usable = (failures[data.triple_rows] == 0) & ~failed.any(axis=1)
    best = data.best_validation / IMAGES
    near = (failures[data.best_rows] == 0) & (np.abs(best - level[data.best_rows]) < 0.06)
    return Prepared(
        guess,
        failures,
        level,
        process,
        measured(data.triple_rows[usable]),
        data.triple_validation[usable] / IMAGES,
        data.triple_test[usable] / IMAGES,
        measured(data.best_rows[near]),
        best[near],
    )


@dataclass(frozen=True)
class LeftOut:
    """Gap and spread that fits without them expect of triples and bests, and the units used."""

    triples: tuple[Floats, Floats]
    bests: tuple[Floats, Floats]
    levels: Floats
    scale: Floats


def leave_out(given: Prepared, folds: int) -> LeftOut:
    """Cross-validates the processes."""
    triples, bests = given.triples, given.bests
    rng = np.random.default_rng(0)
    fold = rng.integers(folds, size=len(triples.rows))
    best_fold = rng.integers(folds, size=len(bests.rows))
    place = regions_of(triples.level)
    levels = np.array([triples.level[place == r].mean() for r in range(len(REGIONS) + 1)])
    gap = given.validation.mean(axis=1) - triples.level
    # What the process leaves of it is about four fifths.
    scale = np.array([0.8 * np.sqrt(moments(gap[place == r])[0]) for r in range(len(levels))])
    found = np.empty((2, len(gap))), np.empty((2, len(bests.rows)))
    for k in range(folds):
        print(f"fitting without fold {k + 1} of {folds}", flush=True)
        a, b = fold == k, best_fold == k
        fit = fit_processes(
            given.process, triples.take(~a), given.validation[~a],
            bests.take(~b), given.best[~b], levels, scale,
        )  # fmt: skip
        found[0][:, a] = fit.predict(triples.take(a))
        found[1][:, b] = fit.predict(bests.take(b))
    return LeftOut((found[0][0], found[0][1]), (found[1][0], found[1][1]), levels, scale)


def fit(data: Data, guess_trees: TreeEnsemble, folds: int = 5) -> Completion:
    """Fits everything and cross-validates it."""
    given = prepare(data, guess_trees.predict(data.features, 2))
    triples, bests = given.triples, given.bests
    out = leave_out(given, folds)
    above = best_above_mean(
        given.validation, triples.level, out.triples[1], bests.level, out.bests[1]
    )
    calibration = calibrate(
        out.levels, out.scale, triples, out.triples[0], bests, out.bests[0],
        given.best - above - bests.level,
    )  # fmt: skip
    gap = stretched(calibration, triples.level, out.triples[0])
    best_gap = stretched(calibration, bests.level, out.bests[0])
    noise = fit_noise(data, triples, given.validation, given.test, gap, out.triples[1])
    calibration = fit_effect(
        calibration, noise, bests, data.keys[bests.rows], best_gap, out.bests[1], given.best
    )
    print("fitting to all cells; training time; judging", flush=True)
    final = fit_processes(
        given.process, triples, given.validation, bests, given.best, out.levels, out.scale,
    )  # fmt: skip
    seconds, left, time_statistics = fit_seconds(data, folds)
    model = Completion(
        guess=guess_trees,
        process=given.process,
        offset=final.gap.weights,
        offset_samples=final.gap.sample(SAMPLES, np.random.default_rng(3)).astype(np.float16),
        spread=final.spread.weights,
        calibration=calibration,
        noise=noise,
        seconds=seconds.trees,
        seconds_weights=seconds.weights,
        seconds_levels=LEVELS,
        seconds_noise=np.quantile(left, LEVELS),
        statistics={},
    )

    def expectation(cells: Measured, gap: Floats, spread: Floats, effect: Floats) -> Expectation:
        whole = np.zeros(len(gap), np.int64)
        return Expectation(cells.guess, whole, cells.level, cells.level + gap, spread, effect)

    own = np.sqrt(np.interp(bests.level, out.levels, calibration.effect[:, 0].clip(0)))
    model.statistics.update(
        judge(
            model,
            data.keys[triples.rows],
            expectation(triples, gap, out.triples[1], np.zeros(len(gap))),
            given.validation,
            given.test,
            data.keys[bests.rows],
            expectation(bests, best_gap, out.bests[1], own),
            given.best,
            data,
        )
    )
    failed = data.triple_test < FAILED_BELOW * IMAGES
    true_failures = failed.sum(axis=1)
    model.statistics["seconds"] = time_statistics
    model.statistics["failures"] = {
        "cells": len(true_failures),
        "with_failures": int((true_failures > 0).sum()),
        "counted_rightly": int((given.failures[data.triple_rows] == true_failures).sum()),
    }
    model.statistics["calibration"] = {
        name: value.tolist() for name, value in calibration._asdict().items()
    }
    return model


def main() -> None:
    """Fits the model and writes it."""
    parser = argparse.ArgumentParser(description="Fits data/completion.npz to the measured table.")
    parser.add_argument("measured", type=Path, help="measured.npz")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "completion.npz", help="the model"
    )
    arguments = parser.parse_args()
    data = read(arguments.measured)
    print("fitting test accuracy to structure", flush=True)
    model = fit(data, fit_guess(data, 250))
    digest = hashlib.sha256(arguments.measured.read_bytes()).hexdigest()
    model.statistics["source"] = {"file": arguments.measured.name, "sha256": digest}
    model.statistics["scikit-learn"] = sklearn.__version__
    model.save(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
