"""Regressions on structure: test accuracy of all cells, and the logarithm of the training time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from nprep.data.fit.boosting import from_histogram_boosting
from nprep.data.fit.measurements import FitData
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.model import completion
from nprep.model.known_runs import IMAGES

Floats = NDArray[np.float64]


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


def fit_guess(data: FitData, trees: int) -> TreeEnsemble:
    """Fits test accuracy to structure, on all cells.

    No validation accuracy enters, so cells left out of the later fits may have been in this one.
    """
    target = np.maximum(data.total / (3 * IMAGES), 0.86)
    model = boost(trees, 63, 0.2, 40)
    return from_histogram_boosting(model.fit(data.features, target))


def fit_seconds(data: FitData, folds: int) -> tuple[Regression, Floats, dict[str, float]]:
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
