from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.kernels.numeric.trees import MAX_THRESHOLDS, TreeEnsemble, tree_depths


def random_ensemble(seed: int, trees: int, features: int, splits: int) -> TreeEnsemble:
    """Trees grown by splitting random leaves, renumbered breadth first."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, features)
    thresholds = [np.sort(rng.permutation(20)[:count]) / 2 for count in counts]
    starts, feature, code, child, value = [0], [], [], [], []
    for _ in range(trees):
        inner: dict[int, tuple[int, int]] = {}
        leaves = [0]
        for _ in range(splits):
            node = leaves.pop(rng.integers(len(leaves)))
            inner[node] = (0, 0)
            leaves += [2 * node + 1, 2 * node + 2]
        order = [0]
        for node in order:
            if node in inner:
                order += [2 * node + 1, 2 * node + 2]
        numbers = {node: k for k, node in enumerate(order)}
        for node in order:
            is_inner = node in inner
            f = int(rng.integers(features)) if is_inner else 0
            feature.append(f)
            code.append(int(rng.integers(counts[f])) if is_inner else MAX_THRESHOLDS)
            child.append(numbers[2 * node + 1] if is_inner else numbers[node])
            value.append(0.0 if is_inner else rng.normal())
        starts.append(starts[-1] + len(order))
    return TreeEnsemble(
        base=np.array([rng.normal()]),
        thresholds=np.concatenate(thresholds).astype(np.float32),
        feature_starts=np.cumsum([0, *counts]).astype(np.int32),
        tree_starts=np.array(starts, np.int32),
        feature=np.array(feature, np.uint16),
        code=np.array(code, np.uint8),
        child=np.array(child, np.uint16),
        value=np.array(value, np.float32),
    )


def naive_predict(trees: TreeEnsemble, features: np.ndarray) -> np.ndarray:
    """Walks every tree for every cell, comparing real thresholds."""
    out = np.zeros(len(features))
    for i, row in enumerate(features):
        for t in range(len(trees)):
            start = int(trees.tree_starts[t])
            node = 0
            while int(trees.child[start + node]) != node:
                f = int(trees.feature[start + node])
                threshold = trees.thresholds[
                    int(trees.feature_starts[f]) + int(trees.code[start + node])
                ]
                node = int(trees.child[start + node]) + (0 if row[f] <= threshold else 1)
            out[i] += float(trees.value[start + node])
    return out + trees.base[0]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    trees=st.integers(0, 5),
    features=st.integers(1, 5),
    splits=st.integers(0, 12),
    cells=st.integers(0, 300),
)
def test_predictions_equal_the_reference_implementation(
    seed: int, trees: int, features: int, splits: int, cells: int
) -> None:
    ensemble = random_ensemble(seed, trees, features, splits)
    # Multiples of 1/4 hit thresholds exactly as well as between them.
    values = np.random.default_rng(seed).integers(-4, 44, (cells, features)) / 4
    batch = values.astype(np.float32)
    np.testing.assert_allclose(
        ensemble.predict(batch), naive_predict(ensemble, batch), rtol=1e-9, atol=1e-12
    )


def test_predict_does_not_depend_on_threads_or_batch() -> None:
    ensemble = random_ensemble(7, 20, 6, 30)
    batch = np.random.default_rng(7).uniform(-1, 11, (1001, 6)).astype(np.float32)
    whole = ensemble.predict(batch)
    np.testing.assert_array_equal(ensemble.predict(batch, threads=3), whole)
    np.testing.assert_array_equal(ensemble.predict(batch[5:6]), whole[5:6])


def test_depths_count_steps() -> None:
    chain = np.array([1, 3, 2, 3, 5, 5, 6, 0], np.uint16)[:7]
    # Nodes 0 -> (1, 2), 1 -> (3, 4), 4 -> (5, 6).
    assert tree_depths(np.array([0, 7], np.int32), chain).tolist() == [3]
    assert tree_depths(np.array([0, 1], np.int32), np.zeros(1, np.uint16)).tolist() == [0]


def test_arrays_round_trip(tmp_path: Path) -> None:
    ensemble = random_ensemble(3, 4, 3, 5)
    path = f"{tmp_path}/trees.npz"
    np.savez_compressed(path, **ensemble.arrays("mean_"))
    with np.load(path, allow_pickle=False) as stored:
        again = TreeEnsemble.from_arrays(stored, "mean_")
    batch = np.random.default_rng(3).uniform(-1, 11, (50, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(batch), ensemble.predict(batch))


@pytest.mark.parametrize(
    ("field", "index", "value"),
    [
        ("child", 0, 65000),
        ("feature", 0, 9),
        ("code", 0, 200),
        ("tree_starts", -1, 3),
        ("feature_starts", 0, 1),
    ],
)
def test_damaged_ensembles_are_refused(field: str, index: int, value: int) -> None:
    arrays = {k: v.copy() for k, v in random_ensemble(5, 2, 3, 4).arrays("").items()}
    arrays[field][index] = value
    with pytest.raises(ValueError, match=r"ensemble|tree"):
        TreeEnsemble.from_arrays(arrays, "")


def test_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(N, 3\)"):
        random_ensemble(5, 2, 3, 4).predict(np.zeros((2, 4), np.float32))


def test_conversion_predicts_as_scikit_learn() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed")
    boosting = pytest.importorskip("nprep.data.fit.boosting")
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 9, (3000, 5)).astype(np.float32)
    batch[:, 3] = rng.normal(size=3000)
    target = batch[:, 0] * batch[:, 1] + batch[:, 3] ** 2
    model = ensemble.HistGradientBoostingRegressor(max_iter=40, max_leaf_nodes=15).fit(
        batch[:2000], target[:2000]
    )
    converted = boosting.from_histogram_boosting(model)
    np.testing.assert_allclose(converted.predict(batch), model.predict(batch), rtol=0, atol=1e-4)
