"""What the processes expect of measured cells that were left out of their fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.data.fit.calibration import moments
from nprep.data.fit.measurements import FAILED_BELOW, REGIONS, FitData, Measured, regions_of
from nprep.data.fit.processes import choose_process, fit_processes
from nprep.model.expectation import split_failures
from nprep.model.known_runs import IMAGES
from nprep.model.process import Process, basis

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Given:
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


def prepare(data: FitData, guess: Floats) -> Given:
    """Finds failed runs, leaves out their cells, and evaluates the basis."""
    failed = data.triple_test < FAILED_BELOW * IMAGES
    chance = np.array(
        [np.median(data.triple_validation[failed]), np.median(data.triple_test[failed])]
    ).astype(np.int64)
    failures, level = split_failures(data.total, guess, chance)
    process = choose_process(data, level, guess, failures)

    def measured(rows: NDArray[np.int64]) -> Measured:
        functions = basis(process, data.features[rows], level[rows], guess[rows])
        return Measured(rows, level[rows], guess[rows], functions)

    usable = (failures[data.triple_rows] == 0) & ~failed.any(axis=1)
    best = data.best_validation / IMAGES
    near = (failures[data.best_rows] == 0) & (np.abs(best - level[data.best_rows]) < 0.06)
    return Given(
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


def leave_out(given: Given, folds: int) -> LeftOut:
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
