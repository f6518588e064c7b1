"""What the completion model expects of cells before it draws, and the parameters it expects it by.

Failed runs are told apart first: a cell's sum of three test accuracies shows how many there were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.model.known_runs import IMAGES

# By how much a cell's other runs may exceed the accuracy predicted from structure if one failed;
# what would be beyond it is ascribed to the failed run, which may have been better than chance.
_MAX_ABOVE = 0.006


def split_failures(
    total: NDArray[np.integer], guess: NDArray[np.float64], failed: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many of a cell's runs failed, and the mean test accuracy of the others.

    A failed run is at chance (10 %), so the sum of three shows the number of failures: the one that
    brings the others nearest to the accuracy predicted from structure.

    Args:
        total: (N,) sum of the correct test images of three runs.
        guess: (N,) the accuracy predicted from structure.
        failed: (2,) correct validation and test images of a failed run.

    Returns:
        (N,) int64 and (N,) float64, which is the guess itself where all three failed.
    """
    total = np.asarray(total, dtype=np.int64)
    failures = np.zeros(len(total), np.int64)
    level = total / (3 * IMAGES)
    for count in (1, 2):
        rest = (total - count * failed[1]) / ((3 - count) * IMAGES)
        # Beyond 0.03 even a failed run above chance explains nothing: all runs were bad.
        nearer = (np.abs(rest - guess) < np.abs(level - guess)) & (rest < guess + 0.03)
        failures[nearer] = count
        level = np.where(nearer, np.minimum(rest, guess + _MAX_ABOVE), level)
    collapsed = np.abs(total - 3 * failed[1]) < 0.06 * IMAGES
    failures[collapsed] = 3
    return failures, np.where(collapsed, guess, level)


@dataclass(frozen=True)
class Expectation:
    """What the model expects of N cells before it draws.

    Attributes:
        guess: (N,) test accuracy predicted from structure.
        failures: (N,) number of failed runs.
        level: (N,) mean test accuracy of the others.
        validation: (N,) their expected mean validation accuracy.
        spread: (N,) their expected standard deviation.
        effect: (N,) standard deviation of what a cell has beyond its structure.
    """

    guess: NDArray[np.float64]
    failures: NDArray[np.int64]
    level: NDArray[np.float64]
    validation: NDArray[np.float64]
    spread: NDArray[np.float64]
    effect: NDArray[np.float64]

    def take(self, rows: NDArray[np.integer]) -> Expectation:
        """Some of the cells."""
        return Expectation(
            self.guess[rows],
            self.failures[rows],
            self.level[rows],
            self.validation[rows],
            self.spread[rows],
            self.effect[rows],
        )


class Calibration(NamedTuple):
    """What cells left out of the fit say of it, by test accuracy; K knots, linear in between.

    Attributes:
        levels: (K,) float64, ascending.
        scale: (K,) float64; the unit of the process for the gap (mean validation - mean test).
        pivot: (K,) float64; the usual predicted gap.
        slope: (K, 2) float64; measured on predicted difference from it, and its standard error.
        effect: (K, 2) float64; variance of a cell's own effect, and its standard error.
    """

    levels: NDArray[np.float64]
    scale: NDArray[np.float64]
    pivot: NDArray[np.float64]
    slope: NDArray[np.float64]
    effect: NDArray[np.float64]


@dataclass(frozen=True)
class Parameters:
    """One set of parameters: the fitted ones, or a draw of what else they may be.

    Attributes:
        offset: (P,) weights of the process for the gap.
        slope: (K,) of the calibration.
        effect: (K,) variance of the cell effect.
        donors: (D,) the donors in use, ascending.
    """

    offset: NDArray[np.float64]
    slope: NDArray[np.float64]
    effect: NDArray[np.float64]
    donors: NDArray[np.int64]
