"""Does architecture matter here, and does the predictor see it? Judges a pool of trained cells.

The predictor is fitted ten-fold to the accuracies of one seed and judged on those of the other, so
that it can't profit from the luck of a training. Beside it: the parameter count, and a ridge
regression on the numbers of each operation. Then searches on the pool, at equal numbers of
trainings: random search, regularized evolution whose child is one of the pool's cells most like the
parent, and the predictor (train N random cells, then the best predicted). A search sees the
accuracies of one seed; the cell that it ends with is judged by that one and by the other.

Intervals are bootstraps over cells, or over repetitions of a search on this pool; those of
differences are over pairs of repetitions that begin with the same random order of the cells. The
p-value is a permutation test over cells::

    python examples/cells_on_digits/judge.py pool.jsonl --table nasbench-only108 --figure proof.png

``--table`` adds Kendall's tau with the test accuracy published for the same cells.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from train_pool import read_pool

from nprep.predictor.gcn import train
from nprep.predictor.plan import predict
from nprep.predictor.settings import GcnSettings
from nprep.spaces.nb101.cells import CellBatch, encode_flat, enumerate_space

FOLDS = 10
MEMBERS = 3
# Settings of the project's ``np-best``: a narrow network suits a few hundred samples.
SETTINGS = GcnSettings(width=48)
# The digits: 698 images in val/ and 699 in test/, judged together.
WEIGHTS = (698 / 1397, 699 / 1397)
NEIGHBOURS = 10
METHODS = ("random", "evolution", "predictor")
BUDGETS = (20, 40, 60, 80, 120)


def load(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Rows (C,), accuracies (C, 2) of both seeds in percent and parameters (C,) of whole pairs."""
    pairs: dict[Any, dict[Any, dict[str, Any]]] = {}
    for line in read_pool(path):
        pairs.setdefault(line["row"], {})[line["seed"]] = line
    whole = {row: found for row, found in sorted(pairs.items()) if len(found) == 2}
    accuracy = [
        [100 * (WEIGHTS[0] * one["validation"] + WEIGHTS[1] * one["test"]) for one in (f[0], f[1])]
        for f in whole.values()
    ]
    parameters = [found[0]["parameters"] for found in whole.values()]
    return np.array(list(whole)), np.array(accuracy), np.array(parameters)


def fit_and_predict(
    cells: CellBatch, labels: NDArray[np.float64], others: CellBatch, seed: int
) -> NDArray[np.float64]:
    """The mean prediction (M,) of a few networks fitted to accuracies in percent."""
    # One floor, as in np-best: failures must not decide the fit.
    lifted = np.maximum(labels, np.quantile(labels, 0.25)) / 100
    seeds = np.random.SeedSequence(seed).spawn(MEMBERS)
    members = [train(cells, lifted.astype(np.float32), SETTINGS, one) for one in seeds]
    return np.mean([predict(member, others) for member in members], axis=0)


def folds(count: int) -> list[NDArray[np.bool_]]:
    """Masks (C,) of the cells left out, fold by fold."""
    number = np.random.default_rng(0).permutation(count) % FOLDS
    return [number == fold for fold in range(FOLDS)]


def cross_predict(cells: CellBatch, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predictions (C,) of cells by networks that never saw them."""
    predicted = np.empty(len(labels))
    for fold, out in enumerate(folds(len(labels))):
        inside, outside = np.flatnonzero(~out), np.flatnonzero(out)
        predicted[out] = fit_and_predict(
            cells.take(inside), labels[inside], cells.take(outside), fold
        )
    return predicted


def operation_counts(cells: CellBatch) -> NDArray[np.float64]:
    """Numbers (C, 5) of each operation, of edges and of vertices."""
    flat = encode_flat(cells)
    operations = flat[:, :35].reshape(len(cells), 7, 5).sum(axis=1)
    return np.column_stack([operations[:, 1:4], flat[:, 35:].sum(axis=1), cells.num_vertices])


def cross_ridge(features: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predictions (C,) of left-out cells by ridge regression on standardised features."""
    scaled = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    predicted = np.empty(len(labels))
    for out in folds(len(labels)):
        x, y = scaled[~out], labels[~out]
        weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (y - y.mean()))
        predicted[out] = y.mean() + scaled[out] @ weights
    return predicted


def tau(left: NDArray[Any], right: NDArray[Any]) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(left, right).statistic)


def interval(
    left: NDArray[Any], right: NDArray[Any], rng: np.random.Generator, draws: int = 1000
) -> tuple[float, float]:
    """A 95 % bootstrap interval of tau over cells."""
    rows = rng.integers(len(left), size=(draws, len(left)))
    values = [tau(left[one], right[one]) for one in rows]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def top_gain(predicted: NDArray[Any], truth: NDArray[Any]) -> float:
    """Points by which the best predicted tenth lies above the mean of all."""
    best = np.argsort(-predicted)[: max(1, len(truth) // 10)]
    return float(truth[best].mean() - truth.mean())


def permutation_p(
    predicted: NDArray[Any], truth: NDArray[Any], rng: np.random.Generator, draws: int = 9999
) -> float:
    """The chance of a gain as large if predictions had nothing to do with cells."""
    found = top_gain(predicted, truth)
    larger = sum(top_gain(predicted, rng.permutation(truth)) >= found for _ in range(draws))
    return (1 + larger) / (1 + draws)


def search(
    method: str,
    cells: CellBatch,
    seen: NDArray[np.float64],
    nearest: NDArray[np.int64],
    budget: int,
    rng: np.random.Generator,
) -> int:
    """The cell that a search of ``budget`` trainings ends with: its best by what it has seen."""
    order = rng.permutation(len(seen))
    if method == "predictor":
        half = order[: budget // 2]
        scores = fit_and_predict(cells.take(half), seen[half], cells, int(rng.integers(2**31)))
        scores[half] = -np.inf
        tried = np.concatenate([half, np.argsort(-scores)[: budget - len(half)]])
    elif method == "evolution":
        population = list(order[:10])
        tried = list(population)
        while len(tried) < budget:
            rivals = rng.choice(population, 5, replace=False)
            parent = rivals[np.argmax(seen[rivals])]
            new = [cell for cell in nearest[parent] if cell not in tried]
            child = int(rng.choice(new)) if new else int(next(c for c in order if c not in tried))
            tried.append(child)
            population = [*population[1:], child]
        tried = np.array(tried)
    else:
        tried = order[:budget]
    return int(tried[np.argmax(seen[tried])])


def nearest_cells(cells: CellBatch) -> NDArray[np.int64]:
    """For each cell the others (C, 10) with the least different flat encoding."""
    flat = encode_flat(cells)
    distance = (flat[:, None] != flat[None]).sum(axis=2)
    np.fill_diagonal(distance, distance.max() + 1)
    return np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]


def run_searches(
    cells: CellBatch, accuracy: NDArray[np.float64], repetitions: int
) -> dict[str, NDArray[np.float64]]:
    """Accuracy (2, budgets, repetitions) of the cell that each search ends with.

    First under the seed that the search saw, then under the other one.
    """
    nearest = nearest_cells(cells)
    budgets = budgets_for(len(cells))
    found = {}
    for method in METHODS:
        ends = np.empty((2, len(budgets), repetitions))
        for place, budget in enumerate(budgets):
            for number in range(repetitions):
                rng = np.random.default_rng([place, number])
                seed = number % 2
                best = search(method, cells, accuracy[:, seed], nearest, budget, rng)
                ends[:, place, number] = accuracy[best, [seed, 1 - seed]]
        found[method] = ends
    return found


def budgets_for(cells: int) -> list[int]:
    """The numbers of trainings that are at most half of the pool."""
    return [budget for budget in BUDGETS if budget <= cells // 2]


def mean_interval(values: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """A 95 % bootstrap interval of a mean."""
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def draw(
    path: Path,
    predicted: NDArray[np.float64],
    truth: NDArray[np.float64],
    searches: dict[str, NDArray[np.float64]],
    rng: np.random.Generator,
) -> None:
    """Predictions against the other seed, and the searches, as one figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    left, *sides = figure.subplots(1, 3)
    left.plot(100 * predicted, truth, "o", ms=3, alpha=0.6, color="#3b6ea5")
    left.set(xlabel="predicted by networks that never saw the cell (%)",
             ylabel="accuracy in a training with another seed (%)")  # fmt: skip
    styles = {"random": ("#777777", "s", ":"), "evolution": ("#c8792b", "^", "--"),
              "predictor": ("#3b6ea5", "o", "-")}  # fmt: skip
    budgets = budgets_for(len(truth))
    for side, axes in enumerate(sides):
        for method, found in searches.items():
            colour, marker, line = styles[method]
            ends = found[side]
            low, high = np.array([mean_interval(row, rng) for row in ends]).T
            axes.fill_between(budgets, low, high, color=colour, alpha=0.2, lw=0)
            axes.plot(
                budgets, ends.mean(axis=1), color=colour, marker=marker, ls=line, label=method
            )
        told = ("the seed that the search saw", "the other seed")[side]
        axes.set(xlabel="trainings", ylabel=f"cell found, {told} (%)")
    sides[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=120)


def print_searches(
    ends: dict[str, NDArray[np.float64]],
    budgets: list[int],
    whole: float,
    rng: np.random.Generator,
) -> None:
    """Prints what the searches end with (budgets, repetitions), and differences.

    Args:
        ends: Accuracies by method.
        budgets: Trainings of each search.
        whole: The accuracy of the cell that a search would end with that trains the whole pool.
        rng: Draws bootstrap resamples.
    """
    rows = {method: (found, "") for method, found in ends.items()}
    for method in ("random", "evolution"):
        rows[f"predictor less {method}"] = (ends["predictor"] - ends[method], "+")
    print(f"{'trainings':24s}" + "".join(f"{budget:>22d}" for budget in budgets))
    for name, (values, sign) in rows.items():
        print(f"{name:24s}", end="")
        for one in values:
            low, high = mean_interval(one, rng)
            part = f"{one.mean():{sign}.2f} ({low:{sign}.2f}, {high:{sign}.2f})"
            print(f"{part:>22s}", end="")
        print()
    print(f"(the whole pool: {whole:.2f})")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("--table", help="a table of NASBench-101: published accuracies beside ours")
    parser.add_argument("--repetitions", type=int, default=200, help="of each search")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    rows, accuracy, parameters = load(options.pool)
    cells = enumerate_space()[0].take(rows)
    rng = np.random.default_rng(0)
    fitted, truth = accuracy[:, 0], accuracy[:, 1]
    noise = (fitted - truth).std(ddof=1) / np.sqrt(2)
    print(f"{len(rows)} cells with two trainings each; accuracy in percent on 1,397 images")
    print(f"mean {accuracy.mean():.1f}, standard deviation of networks {accuracy.std(ddof=1):.1f},")
    print(f"of a training {noise:.1f}; seeds correlate at {np.corrcoef(fitted, truth)[0, 1]:.2f}")
    scores = {
        "predictor": cross_predict(cells, fitted),
        "ridge on operation counts": cross_ridge(operation_counts(cells), fitted),
        "parameter count": parameters.astype(np.float64),
        "random": np.random.default_rng(1).random(len(rows)),
        "(the same network trained before)": fitted,
    }
    print("\nscored without the cell's own accuracy, fitted to seed 0, judged on seed 1")
    print(f"{'':34s}{'tau':>6s}  {'95 % interval':15s}{'best tenth':>11s}{'p':>9s}")
    for name, predicted in scores.items():
        low, high = interval(predicted, truth, rng)
        print(
            f"{name:34s}{tau(predicted, truth):6.2f}  {low:5.2f} to {high:5.2f} "
            f"{top_gain(predicted, truth):+13.1f}{permutation_p(predicted, truth, rng):9.4f}"
        )
    if options.table:
        from nprep import load as load_table

        published = np.asarray(load_table(options.table).view("completed").test)[rows]
        mean = accuracy.mean(axis=1)
        low, high = interval(mean, published, rng)
        print(f"\ntau with the table's test accuracy: {tau(mean, published):.2f} "
              f"({low:.2f} to {high:.2f})")  # fmt: skip
    searches = run_searches(cells, accuracy, options.repetitions)
    best = accuracy.argmax(axis=0)
    for side, told in enumerate(("the seed that the search saw", "the other seed")):
        print(f"\naccuracy under {told} of the cell found ({options.repetitions} searches)")
        whole = np.mean([accuracy[best[seed], (seed + side) % 2] for seed in (0, 1)])
        ends = {method: found[side] for method, found in searches.items()}
        print_searches(ends, budgets_for(len(rows)), float(whole), rng)
    if options.figure:
        draw(options.figure, scores["predictor"], truth, searches, rng)
        print(json.dumps({"figure": str(options.figure)}))


if __name__ == "__main__":
    main()
