"""Draws what the surrogate's regression cannot explain: frozen, and alike for cells that are alike.

Each cell gets a standard normal number. Part of it is a random function of the cell's structure,
so that cells that differ by one edit have similar numbers; the rest depends on the cell's key
alone. The random function is a sum of oblivious trees with random splits and random leaves: two
cells share a tree's value if no split of it tells them apart, so deeper trees vary faster. A
quantile function, fitted by region of the prediction, turns the number into a residual.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.numeric.rng import bounded, seed_state
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.kernels.search.noise import noise_word
from nprep.kernels.threads import run_slices

# Random trees per depth: their sum is close to normal, and so is a sum over fewer at one cell.
TREES_PER_DEPTH = 48

_HALVES = 2.0**-53

# Means and variances of so few cells are drawn towards 0 and 1.
_FEW = 20


class Residual(NamedTuple):
    """Distribution of the residual.

    G groups of cells by their size, R regions, Q quantile levels, L depths of random trees.

    Attributes:
        centers: (R,) float64; predictions at which the quantiles were fitted, ascending.
        vertices: (G - 1,) float64; ascending bounds on the number of vertices.
        scores: (Q,) float64, ascending; quantile levels as standard normal numbers.
        quantiles: (G, R, Q) float64; of the residual, in the units of the prediction.
        depths: (L,) int32; of the random trees.
        weights: (L,) float64; shares of the variance, of sum 1, of the trees of each depth in the
            structured part.
        share: (R,) float64 in [0, 1]; share of the structured part in the variance.
    """

    centers: NDArray[np.float64]
    vertices: NDArray[np.float64]
    scores: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    depths: NDArray[np.int32]
    weights: NDArray[np.float64]
    share: NDArray[np.float64]


@kernel
def _draw_nodes(
    state: NDArray[np.uint64], inner: NDArray[np.int64], out: NDArray[np.int64]
) -> None:
    for i in range(len(out)):
        out[i] = inner[bounded(state, len(inner))]


@kernel
def _field(
    features: NDArray[np.float32],
    split_features: NDArray[np.uint64],
    split_thresholds: NDArray[np.float32],
    seed: Integer,
    out: NDArray[np.float64],
) -> None:
    """Sets ``out`` to the sum of the random trees, scaled to variance 1 over their leaves."""
    trees, depth = split_features.shape
    scale = math.sqrt(12.0 / trees)
    tree_seeds = np.empty(trees, np.uint64)
    for tree in range(trees):
        tree_seeds[tree] = noise_word(seed, tree)
    for i in range(len(features)):
        total = 0.0
        for tree in range(trees):
            leaf = np.int64(0)
            for k in range(depth):
                above = features[i, split_features[tree, k]] > split_thresholds[tree, k]
                leaf = 2 * leaf + np.int64(above)
            word = noise_word(tree_seeds[tree], int(leaf))
            total += np.float64(word >> np.uint64(11)) * _HALVES - 0.5
        out[i] = scale * total


def structured_field(
    features: NDArray[np.float32],
    trees: TreeEnsemble,
    depth: int,
    seed: np.random.SeedSequence,
    threads: int = 1,
) -> NDArray[np.float64]:
    """A random function of structure.

    Args:
        features: (N, F) float32.
        trees: Where splits are taken from, each as often as it occurs there.
        depth: Of the random trees; up to 60.
        seed: Decides splits and leaves.
        threads: Number of threads; the result does not depend on it.

    Returns:
        (N,) float64; mean 0 and variance 1 over seeds.
    """
    split_seed, leaf_seed = seed.spawn(2)
    own = np.arange(len(trees.child)) - np.repeat(
        trees.tree_starts[:-1], np.diff(trees.tree_starts)
    )
    inner = np.flatnonzero(trees.child != own)
    nodes = np.empty(TREES_PER_DEPTH * depth, np.int64)
    _draw_nodes(seed_state(split_seed), inner, nodes)
    split_features = trees.feature[nodes].astype(np.int64)
    thresholds = trees.thresholds[trees.feature_starts[split_features] + trees.code[nodes]]
    shape = (TREES_PER_DEPTH, depth)
    columns = split_features.astype(np.uint64).reshape(shape)
    bounds = np.ascontiguousarray(thresholds.reshape(shape))
    features = np.ascontiguousarray(features, np.float32)
    leaves = leaf_seed.generate_state(1, np.uint64)[0]
    out = np.empty(len(features))
    run_slices(
        lambda start, stop: _field(features[start:stop], columns, bounds, leaves, out[start:stop]),
        len(features),
        threads,
    )
    return out


@kernel
def uniform(seed: Integer, counter: Integer) -> float:
    """A uniform double in [0, 1)."""
    return np.float64(noise_word(seed, counter) >> np.uint64(11)) * _HALVES


@kernel
def _normal(seed: Integer, counter: Integer) -> float:
    """A standard normal number from two words, by Box and Muller's formula."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(seed, counter)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, counter + 1))


@kernel
def _quantile(scores: NDArray[np.float64], values: NDArray[np.float64], score: float) -> float:
    """A quantile function of the standard normal number; its end pieces go on beyond the ends."""
    k = min(max(int(np.searchsorted(scores, score)), 1), len(scores) - 1)
    part = (score - scores[k - 1]) / (scores[k] - scores[k - 1])
    return values[k - 1] + part * (values[k] - values[k - 1])


def standardise(
    residual: Residual,
    predicted: NDArray[np.float64],
    group: NDArray[np.int64],
    fields: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The structured part of all cells of the space: mean 0, variance 1 in every region and group.

    A random function of structure is high for one kind of cells and low for another, while the
    residual of a regression has mean 0 for each of its predictions.

    Args:
        residual: Its distribution.
        predicted: (N,) float64.
        group: (N,) int64; the group of each cell.
        fields: (N, L) float64; the structured field of each depth.

    Returns:
        (N,) float64.
    """
    structured = fields @ np.sqrt(residual.weights)
    centers = residual.centers
    region = np.searchsorted((centers[1:] + centers[:-1]) / 2, predicted)
    result = np.empty(len(structured))
    for number in range(len(residual.vertices) + 1):
        inside = group == number
        value, place = structured[inside], region[inside]
        count = np.bincount(place, minlength=len(centers))
        mean = np.bincount(place, value, len(centers)) / (count + _FEW)
        square = np.bincount(place, (value - mean[place]) ** 2, len(centers))
        scale = np.sqrt((square + _FEW) / (count + _FEW))
        value = value - np.interp(predicted[inside], centers, mean)
        result[inside] = value / np.interp(predicted[inside], centers, scale)
    return result


@kernel
def draw_residuals(
    residual: Residual,
    predicted: NDArray[np.float64],
    group: NDArray[np.int64],
    structured: NDArray[np.float64],
    seeds: NDArray[np.uint64],
    out: NDArray[np.float64],
    part_of_structure: NDArray[np.float64],
) -> None:
    """Draws the residual of each cell.

    Args:
        residual: Its distribution.
        predicted: (N,) float64.
        group: (N,) int64; the group of each cell.
        structured: (N,) float64; of ``standardise``.
        seeds: (N,) uint64; one per cell.
        out: (N,) float64, overwritten.
        part_of_structure: (N,) float64, overwritten: the share of the structured part in it,
            without the tails.
    """
    centers = residual.centers
    for i in range(len(predicted)):
        high = min(max(int(np.searchsorted(centers, predicted[i])), 1), len(centers) - 1)
        low = high - 1
        part = (predicted[i] - centers[low]) / (centers[high] - centers[low])
        part = min(max(part, 0.0), 1.0)
        share = residual.share[low] + part * (residual.share[high] - residual.share[low])
        common = math.sqrt(share) * structured[i]
        normal = common + math.sqrt(1.0 - share) * _normal(seeds[i], 0)
        quantiles = residual.quantiles[group[i]]
        below = _quantile(residual.scores, quantiles[low], normal)
        above = _quantile(residual.scores, quantiles[high], normal)
        out[i] = below + part * (above - below)
        width = 0.0
        for sign in (-1.0, 1.0):
            below = _quantile(residual.scores, quantiles[low], sign)
            above = _quantile(residual.scores, quantiles[high], sign)
            width += sign * (below + part * (above - below))
        part_of_structure[i] = common * width / 2.0


@kernel
def draw_failures(
    expected: NDArray[np.float64],
    edges: NDArray[np.float64],
    chances: NDArray[np.float64],
    seeds: NDArray[np.uint64],
    out: NDArray[np.int64],
) -> None:
    """Draws how many of a cell's three runs fail.

    Args:
        expected: (N,) predicted number of failures.
        edges: (B - 1,) float64; ascending bounds on it.
        chances: (B, 4) float64; of 0 to 3 failures.
        seeds: (N,) uint64; one per cell.
        out: (N,) int64, overwritten.
    """
    for i in range(len(expected)):
        bin_ = np.searchsorted(edges, expected[i])
        u = uniform(seeds[i], 2)
        count = 0
        while count < 3 and u >= chances[bin_, count]:
            u -= chances[bin_, count]
            count += 1
        out[i] = count
