"""Fits the law of the runs to triples, and the cell effect to what bests scatter by beyond it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.data.fit.calibration import moments
from nprep.data.fit.measurements import FAILED_BELOW, REGIONS, FitData, Measured, regions_of
from nprep.model import completion
from nprep.model.donors import Noise
from nprep.model.draws import draw_cells
from nprep.model.expectation import Calibration
from nprep.model.known_runs import IMAGES, Known

Floats = NDArray[np.float64]

# Donors: all above the bound, and so many of each region below; the length of their window.
DONORS_ABOVE = 0.93
DONORS_BELOW = 300
WINDOW = 300


def fit_noise(
    data: FitData,
    triples: Measured,
    validation: Floats,
    test: Floats,
    gap: Floats,
    spread: Floats,
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
