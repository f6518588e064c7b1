"""Boosted regression trees from flat arrays: compact on disk, a few nanoseconds per tree and cell.

Features are first replaced by small codes (how many of the ensemble's thresholds on that feature
they exceed), so that one node fits into 32 bits and a comparison is one of bytes. A leaf is a node
that leads to itself; a walk therefore takes the same number of steps for every cell, without a
branch, and neighbouring cells are walked side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.threads import run_slices

# Limits of the packed node: 12 bits of feature, 8 of code, 12 of child.
MAX_FEATURES = 1 << 12
MAX_THRESHOLDS = 255
MAX_NODES = 1 << 12

# Cells whose codes stay in the first-level cache while all trees pass over them, and cells walked
# side by side.
_BLOCK = 256
_LANES = 8


@dataclass(frozen=True)
class TreeEnsemble:
    """The sum of a constant and T binary regression trees on F features.

    Node k of tree t is at ``tree_starts[t] + k``; its root is node 0. At an inner node a cell goes
    to node ``child`` if its feature is at most the threshold, else to node ``child + 1``.

    Attributes:
        base: (1,) float64; the constant.
        thresholds: (sum,) float32; of feature 0, ascending and distinct, then of feature 1, ...
        feature_starts: (F + 1,) int32; where each feature's thresholds begin.
        tree_starts: (T + 1,) int32; where each tree's nodes begin.
        feature: (nodes,) uint16; 0 at leaves.
        code: (nodes,) uint8; number of the threshold among its feature's; 255 at leaves.
        child: (nodes,) uint16; a leaf's own number at leaves.
        value: (nodes,) float32; 0 at inner nodes.
    """

    base: NDArray[np.float64]
    thresholds: NDArray[np.float32]
    feature_starts: NDArray[np.int32]
    tree_starts: NDArray[np.int32]
    feature: NDArray[np.uint16]
    code: NDArray[np.uint8]
    child: NDArray[np.uint16]
    value: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Refuses arrays that are not binary trees.

        Raises:
            ValueError: If an array has the wrong kind, or a node leads out of its tree or back.
        """
        _check(self)

    @property
    def num_features(self) -> int:
        """The number of features F."""
        return len(self.feature_starts) - 1

    def __len__(self) -> int:
        """The number of trees T."""
        return len(self.tree_starts) - 1

    def arrays(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """The fields by name, for ``np.savez``; ``prefix`` begins each name."""
        return {f"{prefix}{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> TreeEnsemble:
        """The inverse of ``arrays``.

        Raises:
            KeyError: If a field is missing.
            ValueError: If the arrays are no ensemble.
        """
        named: dict[str, Any] = {
            field.name: arrays[f"{prefix}{field.name}"] for field in fields(cls)
        }
        return cls(**named)

    def predict(self, features: NDArray[np.float32], threads: int = 1) -> NDArray[np.float64]:
        """Evaluates the ensemble.

        Args:
            features: (N, F) float32, finite.
            threads: How many threads share the cells; the result does not depend on it.

        Returns:
            (N,) float64.

        Raises:
            ValueError: If the features have the wrong width.
        """
        if features.ndim != 2 or features.shape[1] != self.num_features:
            raise ValueError(f"features are {features.shape}, not (N, {self.num_features})")
        features = np.ascontiguousarray(features, dtype=np.float32)
        nodes = pack_nodes(self.feature, self.code, self.child)
        depths = tree_depths(self.tree_starts, self.child)
        out = np.full(len(features), self.base[0])

        def work(start: int, stop: int) -> None:
            _predict(
                features[start:stop],
                self.thresholds,
                self.feature_starts,
                self.tree_starts,
                depths,
                nodes,
                self.value,
                out[start:stop],
            )

        run_slices(work, len(features), threads)
        return out


_KINDS = {
    "base": np.float64,
    "thresholds": np.float32,
    "feature_starts": np.int32,
    "tree_starts": np.int32,
    "feature": np.uint16,
    "code": np.uint8,
    "child": np.uint16,
    "value": np.float32,
}


def _check(trees: TreeEnsemble) -> None:
    for name, kind in _KINDS.items():
        array = getattr(trees, name)
        if array.dtype != kind or array.ndim != 1:
            raise ValueError(f"{name} is {array.ndim}-D {array.dtype}, not 1-D {np.dtype(kind)}")
    nodes = len(trees.child)
    if len(trees.base) != 1 or any(
        len(array) != nodes for array in (trees.feature, trees.code, trees.value)
    ):
        raise ValueError("the arrays of an ensemble differ in length")
    for starts, end in ((trees.feature_starts, len(trees.thresholds)), (trees.tree_starts, nodes)):
        if len(starts) < 1 or starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 0).any():
            raise ValueError("the starts of an ensemble do not cover its arrays")
    sizes = np.diff(trees.tree_starts)
    per_feature = np.diff(trees.feature_starts)
    if len(per_feature) > MAX_FEATURES or (per_feature > MAX_THRESHOLDS).any():
        raise ValueError("an ensemble has too many features or thresholds")
    if (sizes < 1).any() or (sizes > MAX_NODES).any():
        raise ValueError("a tree is empty or too large")
    size = np.repeat(sizes, sizes)
    own = np.arange(nodes) - np.repeat(trees.tree_starts[:-1], sizes)
    leaf = trees.child == own
    inner_fits = (trees.child > own) & (trees.child.astype(np.int64) + 1 < size)
    if not (leaf | inner_fits).all() or (trees.code[leaf] != MAX_THRESHOLDS).any():
        raise ValueError("a node of an ensemble leads out of its tree or back")
    if len(per_feature) and (
        (trees.feature >= len(per_feature)).any()
        or (trees.code[~leaf] >= per_feature[trees.feature[~leaf]]).any()
    ):
        raise ValueError("a node of an ensemble has an unknown feature or threshold")


def pack_nodes(
    feature: NDArray[np.uint16], code: NDArray[np.uint8], child: NDArray[np.uint16]
) -> NDArray[np.uint32]:
    """One word per node: feature << 20 | code << 12 | child."""
    packed = feature.astype(np.uint32) << 20 | code.astype(np.uint32) << 12 | child
    return packed.astype(np.uint32)


@kernel
def tree_depths(tree_starts: NDArray[np.int32], child: NDArray[np.uint16]) -> NDArray[np.int32]:
    """The longest walk from the root to a leaf, in steps, of each tree: (T,) int32."""
    depths = np.zeros(len(tree_starts) - 1, np.int32)
    level = np.zeros(MAX_NODES, np.int32)
    for tree in range(len(depths)):
        start = tree_starts[tree]
        level[0] = 0
        # A child's number is above its parent's, so one pass in order settles all levels.
        for node in range(tree_starts[tree + 1] - start):
            left = np.int64(child[start + node])
            if left != node:
                level[left] = level[node] + 1
                level[left + 1] = level[node] + 1
            depths[tree] = max(depths[tree], level[node])
    return depths


@kernel
def _encode(
    row: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    feature_starts: NDArray[np.int32],
    codes: NDArray[np.uint8],
) -> None:
    """How many thresholds of its kind each feature of one cell exceeds."""
    for feature in range(len(row)):
        low = feature_starts[feature]
        high = feature_starts[feature + 1]
        first = low
        while low < high:
            middle = (low + high) // 2
            if thresholds[middle] < row[feature]:
                low = middle + 1
            else:
                high = middle
        codes[feature] = low - first


@kernel
def _predict(
    features: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    feature_starts: NDArray[np.int32],
    tree_starts: NDArray[np.int32],
    depths: NDArray[np.int32],
    nodes: NDArray[np.uint32],
    value: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Adds the trees' values to ``out``."""
    codes = np.zeros((_BLOCK, features.shape[1]), np.uint8)
    flat = codes.reshape(-1)
    sums = np.zeros(_BLOCK, np.float64)
    place = np.zeros(_LANES, np.uint64)
    # Unsigned indices spare the test for negative ones, which costs more than the walk itself.
    width = np.uint64(features.shape[1])
    for first in range(0, len(features), _BLOCK):
        count = min(_BLOCK, len(features) - first)
        for i in range(count):
            _encode(features[first + i], thresholds, feature_starts, codes[i])
        sums[:] = 0.0
        for tree in range(len(depths)):
            start = np.uint64(tree_starts[tree])
            for lane_start in range(0, count, _LANES):
                place[:] = 0
                for _ in range(depths[tree]):
                    for lane in range(_LANES):
                        node = nodes[start + place[lane]]
                        row = np.uint64(lane_start + lane) * width
                        code = flat[row + np.uint64(node >> np.uint32(20))]
                        bound = (node >> np.uint32(12)) & np.uint32(255)
                        left = np.uint64(node & np.uint32(4095))
                        place[lane] = left + np.uint64(code > bound)
                for lane in range(_LANES):
                    sums[lane_start + lane] += value[start + place[lane]]
        for i in range(count):
            out[first + i] += sums[i]
