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
from pathlib import Path

import numpy as np
import sklearn
from numpy.typing import NDArray

from nprep.data.fit.calibration import calibrate, stretched
from nprep.data.fit.judge_completion import judge
from nprep.data.fit.left_out import leave_out, prepare
from nprep.data.fit.measurements import FAILED_BELOW, FitData, Measured, read
from nprep.data.fit.processes import best_above_mean, fit_processes
from nprep.data.fit.regressions import fit_guess, fit_seconds
from nprep.data.fit.runs import fit_effect, fit_noise
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.model.completion import Completion
from nprep.model.expectation import Expectation
from nprep.model.known_runs import IMAGES

Floats = NDArray[np.float64]

# Quantiles of the training time that are kept.
TAILS = (0.0005, 0.002, 0.005, 0.01, 0.02, 0.035)
LEVELS = np.array([*TAILS, *np.arange(0.05, 0.951, 0.025), *(1 - t for t in reversed(TAILS))])
# Draws from the posterior of the weights of the gap that are kept.
SAMPLES = 96


def fit(data: FitData, guess_trees: TreeEnsemble, folds: int = 5) -> Completion:
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
