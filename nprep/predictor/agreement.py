"""How well predictions agree with the truth: rank correlations, errors, the overlap of the tops."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.numeric.ranks import count_inversions


def _pairs(counts: NDArray[np.integer]) -> int:
    """The number of pairs within groups of these sizes."""
    sizes = counts.astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())


def kendall_tau(
    x: NDArray[np.floating], y: NDArray[np.floating], constant: float = math.nan
) -> float:
    """Kendall's tau-b, in O(n log n) (Knight, 1966).

    Args:
        x: (N,) without NaN.
        y: (N,) without NaN.
        constant: The result where one side does not vary, for which tau is not defined.
    """
    pairs = len(x) * (len(x) - 1) // 2
    order = np.lexsort((y, x))
    left, right = np.asarray(x, np.float64)[order], np.asarray(y, np.float64)[order]
    discordant = int(count_inversions(right))
    tied_x = _pairs(np.unique(left, return_counts=True)[1])
    tied_y = _pairs(np.unique(right, return_counts=True)[1])
    differs = np.append(True, (left[1:] != left[:-1]) | (right[1:] != right[:-1]))
    tied_both = _pairs(np.diff(np.append(np.flatnonzero(differs), len(left))))
    balance = pairs - tied_x - tied_y + tied_both - 2 * discordant
    scale = math.sqrt(pairs - tied_x) * math.sqrt(pairs - tied_y)
    return balance / scale if scale else constant


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse.reshape(-1)]


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x)) * math.sqrt(float(y @ y))
    return float(x @ y) / scale if scale else math.nan


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; NaN where one side does not vary."""
    return pearson(average_ranks(x), average_ranks(y))


def precision_at(predicted: NDArray[np.float64], truth: NDArray[np.float64], top: int) -> float:
    """The share of the ``top`` best predicted that are among the ``top`` truly best.

    Equal values go by their order.
    """
    top = min(top, len(truth))
    best = np.argsort(-predicted, kind="stable")[:top]
    return len(np.intersect1d(best, np.argsort(-truth, kind="stable")[:top])) / top


@dataclass(frozen=True)
class Agreement:
    """How predictions of some cells agree with the truth.

    Attributes:
        cells: Number of cells.
        tau: Kendall's tau-b.
        spearman: Spearman's rank correlation.
        mse: Mean squared error in squared percentage points.
        r2: One minus the error over the variance of the truth.
        precision: Numbers of cells to the precision there.
    """

    cells: int
    tau: float
    spearman: float
    mse: float
    r2: float
    precision: dict[int, float]


def squared_error(
    predicted: NDArray[np.floating], truth: NDArray[np.floating]
) -> tuple[float, float]:
    """The mean squared error of accuracies in [0, 1], in squared percentage points, and R2.

    NaN where there is nothing to compare, or, of R2, where the truth does not vary.
    """
    if not len(truth):
        return math.nan, math.nan
    error = float(1e4 * ((predicted.astype(np.float64) - truth.astype(np.float64)) ** 2).mean())
    variance = float(1e4 * truth.astype(np.float64).var())
    return error, 1 - error / variance if variance else math.nan


def agreement(
    scores: NDArray[np.floating],
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    tops: tuple[int, ...],
) -> Agreement:
    """Compares predictions with the truth.

    Args:
        scores: (N,) numbers that order the cells.
        predicted: (N,) accuracies in [0, 1].
        truth: (N,) accuracies in [0, 1].
        tops: For which numbers of best cells to give the precision; those above N are left out.
    """
    ranks, values = scores.astype(np.float64), truth.astype(np.float64)
    few = len(truth) < 2
    return Agreement(
        len(truth),
        math.nan if few else kendall_tau(ranks, values),
        math.nan if few else spearman(ranks, values),
        *squared_error(predicted, truth),
        {top: precision_at(ranks, values, top) for top in tops if top <= len(truth)},
    )
