"""The accuracies that tables and profiles are given at: fixed for NASBench-101, else of the view.

Fixed levels keep runs of the benchmark comparable. Elsewhere they run up to what a perfect search
finds, from what the best one in a hundred architectures have: there methods differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.table.view import View

_TARGETS = 15
_TOP_SHARE = 0.01


@dataclass(frozen=True)
class Levels:
    """Accuracies in percent, ascending.

    Attributes:
        targets: By metric, (K,): what methods are asked to reach.
        thresholds: (P,): of performance profiles, by test accuracy.
        failed: Mean test accuracy below which a cell has a failed run; None where none is known to.
    """

    targets: Mapping[str, NDArray[np.float64]]
    thresholds: NDArray[np.float64]
    failed: float | None = None


# The best mean test accuracy of the space is 94.32, the best mean validation 95.06.
NASBENCH101 = Levels(
    {
        "test": np.round(np.arange(93.5, 94.2001, 0.05), 2),
        "validation": np.round(np.arange(94.3, 95.1001, 0.05), 2),
    },
    np.round(np.arange(93.0, 94.3001, 0.05), 2),
    failed=80.0,
)


def levels_of(view: View) -> Levels:
    """The levels for a view, as the protocol shows it.

    Args:
        view: What was searched.
    """
    if view.space.name == "nb101":
        return NASBENCH101
    means = mean_accuracies(view)
    top = np.argsort(-means["validation"], kind="stable")
    top = top[: max(2, int(_TOP_SHARE * len(top)))]
    targets = {}
    thresholds = np.empty(0)
    for metric, values in means.items():
        low, high = sorted((float(values[top].mean()), float(values[top[0]])))
        targets[metric] = _rounded(np.linspace(low, high, _TARGETS))
        # Beyond both ends by as many steps as the fixed ones.
        step = (high - low) / (_TARGETS - 1)
        thresholds = _rounded(low + step * np.arange(-10, _TARGETS + 2))
    return Levels(targets, thresholds)


def mean_accuracies(view: View) -> dict[str, NDArray[np.float64]]:
    """(M,) mean accuracies of a view's architectures by metric, in percent; 0 where none is known.

    Args:
        view: What was searched.
    """
    present = ~np.isnan(view.validation)
    total = np.where(present, view.validation, 0).sum(axis=1, dtype=np.float64)
    return {
        "validation": 100 * (total / np.maximum(present.sum(axis=1), 1)),
        "test": 100 * view.test.astype(np.float64),
    }


def _rounded(percent: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Levels with two decimals, none twice and none above what they were made from."""
    return np.unique(np.floor(100 * percent.astype(np.float64) + 1e-6) / 100)
