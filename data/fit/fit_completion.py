"""Fits the completion model to the measured table: python data/fit/fit_completion.py measured.npz.

What is measured: the sum of three test accuracies of every cell; all three validation accuracies of
the 23,142 cells of the NAS-Bench-1Shot1 spaces (*triples*); and of 20,001 random cells the best of
the three (*bests*: on the 1,102 cells that have both, the single value is the highest of the three
without exception, though the file calls it one repeat). The triples know the noise but come from a
closed corner of the space, the bests are a random sample of the space: the offset between
validation and test is fitted to both, the noise to the triples, and the bests judge the result.

Needs the extra ``fit``. Takes about 4 minutes on 2 idle cores; on busy ones, set OMP_NUM_THREADS=1.
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
from nprep.kernels.nb101.cells import key_batch
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.model import completion
from nprep.model.completion import Completion, Expectation
from nprep.model.draws import IMAGES, Noise
from nprep.spaces.nb101.cells import CellBatch
from nprep.spaces.nb101.features import structure_features

Floats = NDArray[np.float64]

# Bounds of the noise model's regions and of the report's, on the mean test accuracy of the runs
# that did not fail.
REGIONS = (0.80, 0.86, 0.88, 0.90, 0.91, 0.92, 0.93)
BIN_EDGES = (0.5, 0.8, 1.1, 1.5, 2.0, 2.5, 3.0, 3.5)
TAILS = (0.0005, 0.002, 0.005, 0.01, 0.02, 0.035)
LEVELS = np.array([*TAILS, *np.arange(0.05, 0.951, 0.025), *(1 - t for t in reversed(TAILS))])

# Highest single validation accuracy that is plausible: published draws of the best single run of
# the full data set end near 95.15 %.
CEILING = int(0.9515 * IMAGES)

# A run below this test accuracy, with its cell's structure promising more, has failed: runs between
# chance and 50 % are 1 in 2,000.
FAILED_BELOW = 0.12


@dataclass(frozen=True)
class Data:
    """The measurements as the fit needs them, runs as numbers of correct images."""

    features: NDArray[np.float32]
    keys: NDArray[np.uint64]
    total: NDArray[np.int64]
    triple_rows: NDArray[np.int64]
    triple_validation: NDArray[np.int64]
    triple_test: NDArray[np.int64]
    best_rows: NDArray[np.int64]
    best_validation: NDArray[np.int64]
    seconds_rows: NDArray[np.int64]
    seconds: Floats


def read(path: Path) -> Data:
    """Reads the measured table."""
    with np.load(path, allow_pickle=False) as archive:
        cells = CellBatch(archive["adjacency_bits"], archive["operations"], archive["num_vertices"])
        features = structure_features(cells, archive["trainable_parameters"])
        single = archive["single_rows"].astype(np.int64)
        triple = archive["repeat_rows"].astype(np.int64)
        best = np.rint(archive["single_validation_accuracy"][:, 3] * IMAGES).astype(np.int64)
        new = ~np.isin(single, triple)
        return Data(
            features=features,
            keys=key_batch(cells.adjacency_bits, cells.operations, cells.num_vertices),
            total=archive["test_correct_108_sum3"].astype(np.int64),
            triple_rows=triple,
            triple_validation=np.rint(archive["repeat_validation_accuracy"][:, 3] * IMAGES).astype(
                np.int64
            ),
            triple_test=np.rint(archive["repeat_test_accuracy"][:, 3] * IMAGES).astype(np.int64),
            best_rows=single[new],
            best_validation=best[new],
            seconds_rows=single,
            seconds=archive["single_training_seconds_108"].astype(np.float64),
        )


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
    """Fits a :class:`Regression`."""
    weights = ridge(terms, target, weight)
    model.fit(inputs, target - terms @ weights, sample_weight=weight)
    return Regression(weights, from_histogram_boosting(model))


@dataclass(frozen=True)
class Inputs:
    """Inputs of offset and spread for some rows."""

    rows: NDArray[np.int64]
    level: Floats
    terms: Floats
    trees: NDArray[np.float32]

    def take(self, chosen: NDArray[Any]) -> Inputs:
        """Some of the rows."""
        return Inputs(self.rows[chosen], self.level[chosen], self.terms[chosen], self.trees[chosen])


def inputs_of(data: Data, guess: Floats, level: Floats, rows: NDArray[np.int64]) -> Inputs:
    """The inputs of some rows."""
    level, guess = level[rows], guess[rows]
    return Inputs(
        rows,
        level,
        completion.linear_terms(level, guess),
        completion.offset_inputs(data.features[rows], level, guess),
    )


def shape(triples: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation and relative place of the middle of (N, 3) values."""
    low, middle, high = np.sort(triples, axis=1).T
    width = np.maximum(high - low, 1e-9)
    return triples.mean(axis=1), triples.std(axis=1, ddof=1), (middle - low) / width


@dataclass(frozen=True)
class Core:
    """Offset and spread of one fit."""

    offset: Regression
    spread: Regression


def best_above_mean(
    level: Floats, validation: Floats, spread: Floats, other_level: Floats, other_spread: Floats
) -> Floats:
    """By how much the best of three repeats exceeds their mean, on average.

    Args:
        level: (N,) mean test accuracy of cells with three known repeats.
        validation: (N, 3) these repeats.
        spread: (N,) their expected standard deviation.
        other_level: (M,) mean test accuracy of the cells in question.
        other_spread: (M,) their expected standard deviation.

    Returns:
        (M,) float64.
    """
    excess = validation.max(axis=1) - validation.mean(axis=1)
    regions = np.searchsorted(REGIONS, level)
    ratio = np.array(
        [excess[regions == r].mean() / spread[regions == r].mean() for r in range(len(REGIONS) + 1)]
    )
    above: Floats = ratio[np.searchsorted(REGIONS, other_level)] * other_spread
    return above


def calibrate(bests: Inputs, left: Floats) -> Floats:
    """Weights to add to the offset's.

    The bests are a sample of the whole space, which the triples are not: what remains on them, left
    out of the fit, linear in test accuracy and guess, is added.

    Args:
        bests: (M,) cells of which the best run is known.
        left: (M,) what remains.
    """
    few = bests.terms.copy()
    few[:, 11:] = 0.0
    return ridge(few, left, np.ones(len(left)))


def fit_core(triples: Inputs, validation: Floats, bests: Inputs, best: Floats) -> Core:
    """Fits offset and spread.

    Args:
        triples: Cells with three runs, none failed.
        validation: (N, 3) their validation accuracies.
        bests: Cells of which the best run is known.
        best: (M,) its validation accuracy.
    """
    mean, spread, _ = shape(validation)
    ones = np.ones(len(mean))
    # The logarithm's mean over few runs is below that of the standard deviation; only the ratio to
    # the prediction enters the noise model, so that this cancels.
    logs = np.log(np.maximum(spread, 3e-4))
    spread_fit = regress(triples.terms, triples.trees, logs, ones, boost(120, 15, 0.05, 80))
    predicted = np.exp(spread_fit.predict(triples.terms, triples.trees))
    expected = np.exp(spread_fit.predict(bests.terms, bests.trees))
    above_mean = best_above_mean(triples.level, validation, predicted, bests.level, expected)
    offset_fit = regress(
        np.concatenate([triples.terms, bests.terms]),
        np.concatenate([triples.trees, bests.trees]),
        np.concatenate([mean - triples.level, best - above_mean - bests.level]),
        # Inverse variances of the two targets, roughly.
        np.concatenate([ones, np.full(len(best), 0.6)]),
        boost(250, 15, 0.05, 60),
    )
    return Core(offset_fit, spread_fit)


def fit_noise(
    data: Data,
    level: Floats,
    validation: Floats,
    test: Floats,
    expected: Floats,
    spread: Floats,
    above: Floats,
    above_level: Floats,
) -> Noise:
    """Fits the noise model to triples that were left out of the fit of offset and spread.

    Args:
        data: For the failed runs.
        level: (N,) mean test accuracy.
        validation: (N, 3).
        test: (N, 3).
        expected: (N,) mean validation accuracy.
        spread: (N,) standard deviation between repeats.
        above: (M, 2) by how much a cell's best run exceeds the greater of test accuracy and guess,
            and the expected mean.
        above_level: (M,) mean test accuracy of those cells.
    """
    mean, actual, middle = shape(validation)
    ratio = actual / spread
    regions = np.searchsorted(REGIONS, level)
    above_regions = np.searchsorted(REGIONS, above_level)
    usual = np.array([np.median(spread[regions == r]) for r in range(len(REGIONS) + 1)])
    excess = actual / usual[regions]
    bins = np.searchsorted(BIN_EDGES, excess)
    deviation = validation - mean[:, None]
    test_deviation = test - test.mean(axis=1, keepdims=True)
    calm = level > 0.88
    slope = (deviation * test_deviation)[calm].sum() / (deviation**2)[calm].sum()
    left = test_deviation - slope * deviation
    # Robust: a few runs are far out in one of the two.
    remainder = [
        1.4826 * np.median(np.abs(left[regions == r])) * np.sqrt(1.5)
        for r in range(len(REGIONS) + 1)
    ]
    off = mean - expected
    shift = np.zeros(len(REGIONS) + 1)
    for r in range(len(REGIONS) + 1):
        here = regions == r
        if r > 1:
            # In the lowest regions few cells decide the slope.
            shift[r] = np.polyfit(excess[here], off[here], 1)[0]
        # Noise has no mean: expectations are those of the fit, which knows cells of both kinds.
        off[here] -= off[here].mean() + shift[r] * excess[here]
    runs_validation, runs_test = data.triple_validation, data.triple_test
    failed = runs_test < FAILED_BELOW * IMAGES
    return Noise(
        region_edges=np.array(REGIONS),
        levels=LEVELS,
        mean=np.array([np.quantile(off[regions == r], LEVELS) for r in range(len(REGIONS) + 1)]),
        spread=np.array(
            [np.quantile(ratio[regions == r], LEVELS) for r in range(len(REGIONS) + 1)]
        ),
        usual=usual,
        shift=shift,
        bin_edges=np.array(BIN_EDGES),
        middle=np.array(
            [np.quantile(middle[bins == b], LEVELS) for b in range(len(BIN_EDGES) + 1)]
        ),
        test_slope=float(slope),
        test_noise=np.array(remainder),
        headroom=np.array(
            # A tenth more: there are more cells than those measured.
            [
                1.1 * np.quantile(above[above_regions == r], 0.9995, axis=0)
                for r in range(len(REGIONS) + 1)
            ]
        ),
        failed=np.array([np.median(runs_validation[failed]), np.median(runs_test[failed])]).astype(
            np.int64
        ),
        ceiling=CEILING,
    )


def fit_guess(data: Data, trees: int) -> TreeEnsemble:
    """Fits the test accuracy that a structure promises, on all cells.

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


def assemble(guess: TreeEnsemble, core: Core, noise: Noise, **rest: Any) -> Completion:
    """Puts the parts together."""
    return Completion(
        guess=guess,
        offset=core.offset.trees,
        offset_weights=core.offset.weights,
        spread=core.spread.trees,
        spread_weights=core.spread.weights,
        noise=noise,
        **rest,
    )


def fit(data: Data, folds: int = 5, trees: int = 250) -> Completion:
    """Fits everything and cross-validates it."""
    from nprep.data.fit.judge_completion import judge

    print("fitting the test accuracy that a structure promises", flush=True)
    guess_trees = fit_guess(data, trees)
    guess = guess_trees.predict(data.features)
    failed = data.triple_test < FAILED_BELOW * IMAGES
    chance = np.array(
        [np.median(data.triple_validation[failed]), np.median(data.triple_test[failed])]
    ).astype(np.int64)
    failures, level = completion.split_failures(data.total, guess, chance)

    usable = (failures[data.triple_rows] == 0) & ~failed.any(axis=1)
    triples = inputs_of(data, guess, level, data.triple_rows[usable])
    validation = data.triple_validation[usable] / IMAGES
    test = data.triple_test[usable] / IMAGES
    best_all = data.best_validation / IMAGES
    near = (failures[data.best_rows] == 0) & (np.abs(best_all - level[data.best_rows]) < 0.06)
    bests = inputs_of(data, guess, level, data.best_rows[near])
    best = best_all[near]

    rng = np.random.default_rng(0)
    triple_fold = rng.integers(folds, size=len(triples.rows))
    best_fold = rng.integers(folds, size=len(bests.rows))
    triple_out = np.empty((len(triples.rows), 2))
    best_out = np.empty((len(bests.rows), 2))
    for k in range(folds):
        print(f"fitting without fold {k + 1} of {folds}", flush=True)
        a, b = triple_fold == k, best_fold == k
        core = fit_core(triples.take(~a), validation[~a], bests.take(~b), best[~b])
        for out, inputs, chosen in ((triple_out, triples, a), (best_out, bests, b)):
            part = inputs.take(chosen)
            out[chosen, 0] = part.level + core.offset.predict(part.terms, part.trees)
            out[chosen, 1] = np.exp(core.spread.predict(part.terms, part.trees))
    above_mean = best_above_mean(
        triples.level, validation, triple_out[:, 1], bests.level, best_out[:, 1]
    )
    correction = calibrate(bests, best - above_mean - best_out[:, 0])
    triple_out[:, 0] += triples.terms @ correction
    best_out[:, 0] += bests.terms @ correction
    above = [
        np.column_stack(
            [seen - np.maximum(inputs.level, guess[inputs.rows]), seen - expected[:, 0]]
        )
        for seen, inputs, expected in (
            (validation.max(axis=1), triples, triple_out),
            (best, bests, best_out),
        )
    ]
    noise = fit_noise(
        data,
        triples.level,
        validation,
        test,
        triple_out[:, 0],
        triple_out[:, 1],
        np.concatenate(above),
        np.concatenate([triples.level, bests.level]),
    )
    print("fitting to all cells; training time; judging", flush=True)
    core = fit_core(triples, validation, bests, best)
    core = Core(Regression(core.offset.weights + correction, core.offset.trees), core.spread)
    seconds, left, time_statistics = fit_seconds(data, folds)
    model = assemble(
        guess_trees,
        core,
        noise,
        seconds=seconds.trees,
        seconds_weights=seconds.weights,
        seconds_noise=np.quantile(left, LEVELS),
        statistics={},
    )

    def left_out(inputs: Inputs, out: Floats) -> Expectation:
        rows = inputs.rows
        return Expectation(guess[rows], failures[rows], level[rows], out[:, 0], out[:, 1])

    model.statistics.update(
        judge(
            model,
            data.keys[triples.rows],
            left_out(triples, triple_out),
            validation,
            test,
            data.keys[bests.rows],
            left_out(bests, best_out),
            best,
        )
    )
    true_failures = failed.sum(axis=1)
    model.statistics["seconds"] = time_statistics
    model.statistics["failures"] = {
        "cells": len(true_failures),
        "with_failures": int((true_failures > 0).sum()),
        "counted_rightly": int((failures[data.triple_rows] == true_failures).sum()),
    }
    return model


def main() -> None:
    """Fits the model and writes it."""
    parser = argparse.ArgumentParser(description="Fits data/completion.npz to the measured table.")
    parser.add_argument("measured", type=Path, help="measured.npz")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "completion.npz", help="the model"
    )
    arguments = parser.parse_args()
    model = fit(read(arguments.measured))
    digest = hashlib.sha256(arguments.measured.read_bytes()).hexdigest()
    model.statistics["source"] = {"file": arguments.measured.name, "sha256": digest}
    model.statistics["scikit-learn"] = sklearn.__version__
    model.save(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
