"""Fits the surrogate to the measured table: python data/fit/fit_surrogate.py measured.npz.

Fitted, to a random half of the cells: mean test accuracy, as boosted trees on structural features,
and which cells have failed runs; and, on the other half, the law of what the same trees leave: its
quantiles by region of the prediction and its correlation between cells a few edits apart. What is
drawn from that law is drawn anew; the file holds no value of any cell.

Everything is done in one run, the choice of the seeds included. Needs the extra ``fit``. On busy
processors, set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import kendalltau, norm, rankdata
from sklearn.ensemble import HistGradientBoostingRegressor

from nprep.data.fit.boosting import from_histogram_boosting
from nprep.data.fit.choose_landscape import (
    COUNTED,
    SEEDS,
    Data,
    changed,
    choose_noise,
    choose_seed,
    completed_table,
    counts_above,
    fit_carry,
    wanted_curves,
)
from nprep.kernels.nb101.sample import mutate_one_batch
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.model.completion import Completion
from nprep.model.known_runs import IMAGES
from nprep.model.surrogate import SMALL, Surrogate, from_scale, to_scale
from nprep.model.surrogate_draws import Residual, structured_field
from nprep.model.surrogate_features import surrogate_features
from nprep.spaces.nb101.cells import CellBatch, build_index, cell_keys, find_rows
from nprep.table.table import Table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The share of the cells that is left out of the fit of the trees.
LEFT_OUT = 0.5

# Predictions at which the residual's quantiles are fitted, on the cells nearest to each.
CENTERS = (
    *(0.78, 0.82, 0.84, 0.855, 0.865, 0.875, 0.885, 0.895, 0.9025, 0.9075, 0.9125, 0.9175),
    *(0.921, 0.924, 0.927, 0.929, 0.931, 0.933, 0.935, 0.937),
)
TAILS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.035)
LEVELS = np.array([*TAILS, *np.arange(0.05, 0.951, 0.025), *(1 - t for t in reversed(TAILS))])

# Groups of cells whose residuals have laws of their own, and the fewest cells behind one law.
VERTICES = np.array([5.5, 6.5])
WINDOW = 400

DEPTHS = (3, 6, 10, 16, 24, 32)
EDITS = (1, 2, 3, 4, 5)
SHARE_EDGES = (0.88, 0.90, 0.915, 0.93)

FAILURE_EDGES = np.array([0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.0, 2.7])


def read(path: Path) -> Data:
    """Reads the measured table."""
    with np.load(path, allow_pickle=False) as archive:
        cells = CellBatch(archive["adjacency_bits"], archive["operations"], archive["num_vertices"])
        return Data(
            cells=cells,
            keys=cell_keys(cells),
            features=surrogate_features(cells, archive["trainable_parameters"]),
            total=archive["test_correct_108_sum3"].astype(np.int64),
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        )


def boost(trees: int, leaves: int, rate: float) -> HistGradientBoostingRegressor:
    """Boosted trees whose result depends on nothing but the data."""
    return HistGradientBoostingRegressor(
        max_iter=trees,
        max_leaf_nodes=leaves,
        learning_rate=rate,
        min_samples_leaf=20,
        l2_regularization=1.0,
        max_features=0.15,
        early_stopping=False,
        random_state=0,
    )


def fit_mean(data: Data, rows: NDArray[Any]) -> TreeEnsemble:
    """Fits accuracy to structure, without the cells that had a failed run (below 70 %)."""
    target = to_scale(data.total / (3 * IMAGES))
    usable = rows[data.total[rows] > 0.7 * 3 * IMAGES]
    return from_histogram_boosting(boost(300, 63, 0.2).fit(data.features[usable], target[usable]))


def fit_small(data: Data, mean: TreeEnsemble, rows: NDArray[Any]) -> TreeEnsemble:
    """Fits what the mean's trees leave of small cells."""
    usable = rows[data.total[rows] > 0.7 * 3 * IMAGES]
    features = data.features[usable]
    left = to_scale(data.total[usable] / (3 * IMAGES)) - mean.predict(features)
    model = boost(200, 8, 0.05).set_params(min_samples_leaf=8, max_features=1.0)
    return from_histogram_boosting(model.fit(features, left))


def fit_failure(data: Data, failures: Integers, rows: NDArray[Any]) -> TreeEnsemble:
    """Fits the expected number of failed runs."""
    return from_histogram_boosting(
        boost(100, 15, 0.1).fit(data.features[rows], failures[rows].astype(np.float64))
    )


def split_failures(total: Integers, guess: Floats) -> tuple[Integers, Floats, int]:
    """Numbers of failed runs, the others' mean accuracy, and a failed run's correct images.

    A failed run is at chance, so the number is the one that brings the rest nearest to ``guess``.
    """
    collapsed = total < 3 * 0.13 * IMAGES
    failed = int(np.median(total[collapsed]) / 3)
    failures = np.where(collapsed, 3, 0)
    level = total / (3 * IMAGES)
    for count in (1, 2):
        rest = (total - count * failed) / ((3 - count) * IMAGES)
        nearer = ~collapsed & (np.abs(rest - guess) < np.abs(level - guess)) & (rest < 0.95)
        failures[nearer] = count
        level = np.where(nearer, rest, level)
    return failures, np.where(collapsed, guess, level), failed


def window_quantiles(predicted: Floats, left: Floats, center: float, bounds: Floats) -> Floats:
    """Quantiles of the residual near one prediction, of at least ``WINDOW`` cells.

    Levels with fewer than four cells beyond them are no estimates: there the quantile function
    continues as a straight line in the standard normal number.
    """
    near = np.argsort(np.abs(predicted - center), kind="stable")[:WINDOW]
    inside = np.union1d(near, np.flatnonzero((predicted >= bounds[0]) & (predicted < bounds[1])))
    scores, edge = norm.ppf(LEVELS), 4 / len(inside)
    quantiles = np.quantile(left[inside], LEVELS)
    good = np.flatnonzero((edge <= LEVELS) & (1 - edge >= LEVELS))
    for end, step in ((good[0], 1), (good[-1], -1)):
        slope = (quantiles[end + 2 * step] - quantiles[end]) / (
            scores[end + 2 * step] - scores[end]
        )
        beyond = np.arange(len(LEVELS)) < end if step == 1 else np.arange(len(LEVELS)) > end
        quantiles[beyond] = quantiles[end] + slope * (scores[beyond] - scores[end])
    return quantiles


def normal_scores(left: Floats, predicted: Floats, bins: int = 60) -> Floats:
    """The residuals as standard normal numbers, by their ranks among similar predictions."""
    scores = np.empty(len(left))
    place = np.searchsorted(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1]), predicted)
    for k in range(bins):
        inside = place == k
        scores[inside] = norm.ppf((rankdata(left[inside]) - 0.5) / inside.sum())
    return scores


def edit_pairs(data: Data, held: Any, seed: int) -> list[tuple[Integers, Integers]]:
    """Pairs of 7-vertex cells, both left out of the fit, by their distance in edits."""
    start = np.flatnonzero(data.cells.num_vertices == 7)
    index = build_index(data.cells)
    state = seed_state(np.random.SeedSequence(seed))
    pairs = []
    bits, operations = data.cells.adjacency_bits[start], data.cells.operations[start]
    for _ in EDITS:
        bits, operations = mutate_one_batch(state, bits, operations, True)
        seven = np.full(len(bits), 7, np.uint8)
        end = find_rows(index, CellBatch(bits, operations, seven)).astype(np.int64)
        good = (end >= 0) & (end != start)
        good &= held[start] & held[np.maximum(end, 0)]
        pairs.append((start[good], end[good]))
    return pairs


def correlation(values: Floats, pair: tuple[Integers, Integers], inside: Any = None) -> float:
    """Correlation over pairs, of those that lie ``inside`` on both sides."""
    a, b = pair
    if inside is not None:
        both = inside[a] & inside[b]
        a, b = a[both], b[both]
    return float(np.corrcoef(values[a], values[b])[0, 1])


def fit_residual(
    data: Data, mean: TreeEnsemble, predicted: Floats, left: Floats, used: Any, held: Any
) -> tuple[Residual, dict[str, Any]]:
    """Fits the law of the residual to cells left out of the fit of the mean."""
    centers = to_scale(np.array(CENTERS))
    bounds = np.concatenate([[-np.inf], (centers[1:] + centers[:-1]) / 2, [np.inf]])
    group = np.searchsorted(VERTICES, data.cells.num_vertices)
    quantiles = np.array(
        [
            [
                window_quantiles(predicted[rows], left[rows], center, bounds[k : k + 2])
                for k, center in enumerate(centers)
            ]
            for rows in (np.flatnonzero(used & (group == g)) for g in range(len(VERTICES) + 1))
        ]
    )
    scores = np.full(len(left), np.nan)
    scores[used] = normal_scores(left[used], predicted[used])
    pairs = [
        (a[used[a] & used[b]], b[used[a] & used[b]]) for a, b in edit_pairs(data, held, seed=1)
    ]
    observed = np.array([correlation(scores, pair) for pair in pairs])
    fields = np.array(
        [
            [correlation(field, pair) for pair in pairs]
            for field in (
                structured_field(data.features, mean, depth, np.random.SeedSequence(depth))
                for depth in DEPTHS
            )
        ]
    )
    weights, _ = nnls(fields.T, observed)
    kept = weights > 0.002
    total = weights[kept].sum()
    by_region = []
    place = np.searchsorted(to_scale(np.array(SHARE_EDGES)), predicted)
    for k in range(len(SHARE_EDGES) + 1):
        by_region.append(correlation(scores, pairs[0], used & (place == k)))
    near = np.searchsorted(SHARE_EDGES, CENTERS)
    # Pairs within one region are nearer to each other than all pairs are; the fields show by how
    # much, so that the region's share is what explains the region's correlation.
    mixed = (fields[kept, 0] * weights[kept]).sum() / total
    share = np.clip(np.array(by_region)[near] / mixed, 0.0, 0.9)
    residual = Residual(
        centers=centers,
        vertices=VERTICES,
        scores=norm.ppf(LEVELS),
        quantiles=quantiles,
        depths=np.array(DEPTHS, np.int32)[kept],
        weights=weights[kept] / total,
        share=share,
    )
    return residual, {
        "correlation_by_edits": dict(zip(map(str, EDITS), observed.round(4).tolist(), strict=True)),
        "correlation_at_one_edit_by_region": [round(c, 4) for c in by_region],
    }


def tau(first: Floats, second: Floats) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(first, second)[0])


def accuracy_statistics(predicted: Floats, actual: Floats) -> dict[str, float]:
    """R2 and Kendall's tau, over all cells and over the good ones."""
    out = {"r2": float(1 - np.mean((predicted - actual) ** 2) / np.var(actual))}
    for name, bound in (("all", 0.0), ("above_91", 0.91), ("above_93", 0.93)):
        good = actual > bound
        out[f"tau_{name}"] = tau(predicted[good], actual[good])
    return out


def fit(data: Data, table: Table) -> Surrogate:
    """Fits everything and judges it on the cells left out."""
    held = np.random.default_rng(0).random(len(data.total)) < LEFT_OUT
    kept = np.flatnonzero(~held)
    mean = fit_mean(data, kept)
    print("fitted the mean", flush=True)
    few = data.cells.num_vertices <= SMALL
    small = fit_small(data, mean, np.flatnonzero(few & ~held))
    predicted = mean.predict(data.features)
    predicted[few] += small.predict(data.features[few])
    guess = from_scale(predicted)
    failures, level, failed = split_failures(data.total, guess)
    used = held & (failures < 3)
    left = to_scale(level) - predicted
    residual, statistics = fit_residual(data, mean, predicted, left, used, held)
    print("fitted what is left", flush=True)

    failure = fit_failure(data, failures, kept)
    expected = failure.predict(data.features)
    place = np.searchsorted(FAILURE_EDGES, expected)
    chances = np.zeros((len(FAILURE_EDGES) + 1, 4))
    for k in range(len(chances)):
        counts = np.bincount(failures[held & (place == k)], minlength=4)
        chances[k] = counts / max(counts.sum(), 1)
    model = Surrogate(
        mean=mean,
        small=small,
        residual=residual,
        failure=failure,
        failure_edges=FAILURE_EDGES,
        failure_chances=chances,
        failed=failed,
        carry=0.0,
        seed=0,
        noise_seed=0,
        statistics={},
    )
    actual = data.total / (3 * IMAGES)
    good = used & (failures == 0)
    expected_mean = ((3 - expected) * guess + expected * failed / IMAGES) / 3
    statistics |= {
        "left_out_cells_without_failed_runs": accuracy_statistics(guess[good], actual[good]),
        "left_out_cells": accuracy_statistics(expected_mean[held], actual[held]),
        "number_left_out": int(held.sum()),
        "failed_runs": {str(k): int((failures == k).sum()) for k in range(4)},
        "measured": {"file": "measured.npz", "sha256": data.digest, "cells": len(actual)},
        "scikit_learn": sklearn.__version__,
        "seeds_tried": SEEDS,
    }
    prediction = model.predict(data.features, threads=2)
    completion = Completion.load()
    model = changed(model, carry=fit_carry(model, data, prediction, completion))
    print(f"carry {model.carry:.3f}", flush=True)
    real = table.view("completed")
    wanted, aim = wanted_curves(table)
    seed, choice = choose_seed(model, data, prediction, completion, real, wanted)
    model = changed(model, seed=seed)
    noise_seed, choice_of_noise = choose_noise(model, data, prediction, completion, real, wanted)
    model = changed(model, noise_seed=noise_seed)
    drawn = model.draw(data.features, data.keys, prediction).total
    statistics["aim_of_the_choice"] = aim
    statistics["choice_of_seed"] = choice
    statistics["choice_of_noise_seed"] = choice_of_noise
    statistics["landscape"] = accuracy_statistics(drawn / (3 * IMAGES), actual)
    statistics["cells_above"] = {
        f"{bound:.3f}": counts
        for bound, *counts in zip(
            COUNTED, counts_above(data.total), counts_above(drawn), strict=True
        )
    }
    return changed(model, statistics=statistics)


def main() -> None:
    """Fits, saves and prints the statistics."""
    parser = argparse.ArgumentParser(description="Fits the surrogate to the measured table.")
    parser.add_argument("measured", type=Path, help="measured.npz")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "surrogate.npz", help="weights"
    )
    arguments = parser.parse_args()
    with completed_table(arguments.measured) as table:
        model = fit(read(arguments.measured), table)
    model.save(arguments.output)
    for name, value in model.statistics.items():
        print(f"{name}: {value}")
    size = arguments.output.stat().st_size
    print(f"seeds {model.seed} and {model.noise_seed}; {arguments.output}: {size:,} bytes")


if __name__ == "__main__":
    main()
