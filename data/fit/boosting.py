"""Turns gradient-boosted trees of scikit-learn into the arrays that the project evaluates.

Used by the scripts that fit the models of this folder; nothing at run time needs scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.numeric.trees import MAX_THRESHOLDS, TreeEnsemble


def _float32_below(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each value: it splits float32 features in the same way."""
    rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


def _breadth_first(nodes: NDArray[np.void]) -> NDArray[np.int64]:
    """The nodes in an order in which siblings are neighbours and follow their parent."""
    order = [0]
    for node in order:
        if not nodes["is_leaf"][node]:
            order += [int(nodes["left"][node]), int(nodes["right"][node])]
    return np.array(order)


def from_histogram_boosting(model: Any) -> TreeEnsemble:
    """Converts a fitted ``HistGradientBoostingRegressor`` without categorical features.

    Args:
        model: The fitted regressor, with the identity as its link (squared or absolute error).

    Returns:
        An ensemble with the same predictions for finite float32 features, up to the rounding of
        the leaf values to float32.

    Raises:
        ValueError: If a feature has more than 255 thresholds.
    """
    trees = [predictors[0].nodes for predictors in model._predictors]
    trees = [nodes[_breadth_first(nodes)] for nodes in trees]
    everything = np.concatenate(trees)
    inner = ~everything["is_leaf"].astype(bool)
    node_feature = everything["feature_idx"].astype(np.int64)
    node_threshold = _float32_below(everything["num_threshold"])

    thresholds = [
        np.unique(node_threshold[inner & (node_feature == feature)])
        for feature in range(model.n_features_in_)
    ]
    counts = [len(values) for values in thresholds]
    if max(counts) > MAX_THRESHOLDS:
        raise ValueError(f"a feature has {max(counts)} thresholds; fit with max_bins=255 or fewer")
    code = np.full(len(everything), MAX_THRESHOLDS, np.uint8)
    for feature, values in enumerate(thresholds):
        rows = inner & (node_feature == feature)
        code[rows] = np.searchsorted(values, node_threshold[rows])

    child = []
    for nodes in trees:
        leaf = nodes["is_leaf"].astype(bool)
        # In breadth-first order the k-th inner node's children are nodes 2 k + 1 and 2 k + 2.
        left = 2 * (np.cumsum(~leaf) - 1) + 1
        child.append(np.where(leaf, np.arange(len(nodes)), left))
    return TreeEnsemble(
        base=np.array([float(np.squeeze(model._baseline_prediction))]),
        thresholds=np.concatenate(thresholds).astype(np.float32),
        feature_starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        tree_starts=np.cumsum([0, *(len(nodes) for nodes in trees)]).astype(np.int32),
        feature=np.where(inner, node_feature, 0).astype(np.uint16),
        code=code,
        child=np.concatenate(child).astype(np.uint16),
        value=np.where(inner, 0.0, everything["value"]).astype(np.float32),
    )
