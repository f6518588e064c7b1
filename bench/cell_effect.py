"""Has validation a cell-level effect beyond structure? python bench/cell_effect.py measured.npz.

Of a cell with three measured repeats, left out of the fit, mean validation less what is expected of
it has two parts: the noise of three runs, given their test accuracies, and what the cell itself has
beyond its structure. The first is known from the repeats within cells; what remains of the variance
is room for the second. Prints both by mean test accuracy, and the slope of measured differences on
predicted ones, which is 1 if structure's part is neither shrunk nor stretched. Takes two minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.data.fit.fit_completion import FAILED_BELOW, fit_core, fit_guess, inputs_of, read
from nprep.model.completion import split_failures
from nprep.model.draws import IMAGES

Floats = NDArray[np.float64]

SPANS = ((0.91, 0.92), (0.92, 0.93), (0.93, 0.935), (0.935, 1.0), (0.90, 1.0))
FOLDS = 5
RESAMPLES = 400


def left_out_expectations(path: Path) -> tuple[Floats, Floats, Floats, Floats]:
    """Level (N,), expected mean validation (N,), validation (N, 3) and test (N, 3) of triples."""
    data = read(path)
    guess = fit_guess(data, 250).predict(data.features)
    failed = data.triple_test < FAILED_BELOW * IMAGES
    chance = np.array(
        [np.median(data.triple_validation[failed]), np.median(data.triple_test[failed])]
    ).astype(np.int64)
    failures, level = split_failures(data.total, guess, chance)
    usable = (failures[data.triple_rows] == 0) & ~failed.any(axis=1)
    triples = inputs_of(data, guess, level, data.triple_rows[usable])
    validation = data.triple_validation[usable] / IMAGES
    best = data.best_validation / IMAGES
    near = (failures[data.best_rows] == 0) & (np.abs(best - level[data.best_rows]) < 0.06)
    bests = inputs_of(data, guess, level, data.best_rows[near])
    rng = np.random.default_rng(0)
    triple_fold = rng.integers(FOLDS, size=len(triples.rows))
    best_fold = rng.integers(FOLDS, size=len(bests.rows))
    expected = np.empty(len(triples.rows))
    for k in range(FOLDS):
        out, kept = triple_fold == k, best_fold != k
        core = fit_core(triples.take(~out), validation[~out], bests.take(kept), best[near][kept])
        part = triples.take(out)
        expected[out] = part.level + core.offset.predict(part.terms, part.trees)
    return triples.level, expected, validation, data.triple_test[usable] / IMAGES


def parts(left: Floats, validation: Floats, test: Floats) -> tuple[float, float, float]:
    """Noise of a mean of three given its tests, residual, and the variance beyond; in points."""
    validation = validation - validation.mean(axis=1, keepdims=True)
    test = test - test.mean(axis=1, keepdims=True)
    slope = (validation * test).sum() / (test**2).sum()
    noise = ((validation - slope * test) ** 2).sum() / (2 * len(left) - 1) / 3
    return 100 * noise**0.5, 100 * float(left.std()), 1e4 * float(left.var() - noise)


def main() -> None:
    parser = argparse.ArgumentParser(description="Looks for a cell-level effect on validation.")
    parser.add_argument("measured", type=Path, help="measured.npz")
    level, expected, validation, test = left_out_expectations(parser.parse_args().measured)
    rng = np.random.default_rng(0)
    for low, high in SPANS:
        rows = np.flatnonzero((level >= low) & (level < high))
        gap = validation[rows].mean(axis=1) - level[rows]
        predicted = expected[rows] - level[rows]
        left = gap - predicted
        slope = np.polyfit(predicted, gap, 1)[0]
        error = left.std() / predicted.std() / len(rows) ** 0.5
        noise, residual, beyond = parts(left, validation[rows], test[rows])
        resampled = []
        for _ in range(RESAMPLES):
            drawn = rng.integers(len(rows), size=len(rows))
            resampled.append(parts(left[drawn], validation[rows[drawn]], test[rows[drawn]])[2])
        ends = np.quantile(resampled, [0.025, 0.975])
        print(
            f"test accuracy {100 * low:.1f} to {100 * high:.1f}: {len(rows):,} cells; residual "
            f"{residual:.3f} points, noise of three runs {noise:.3f}; variance beyond it "
            f"{beyond:.4f} ({ends[0]:.4f} to {ends[1]:.4f}); slope {slope:.2f} +- {error:.2f}"
        )


if __name__ == "__main__":
    main()
