"""How far predictions of the gap are to be trusted, by bests that were left out of the fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.data.fit.measurements import REGIONS, Measured, regions_of
from nprep.model.expectation import Calibration

Floats = NDArray[np.float64]


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
