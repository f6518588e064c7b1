"""Whether two backends find the same, trial by trial and as distributions.

    python -m bench.agreement TABLE.h5 [--view completed] [--trials 100]
        [--backends numba,numba:bfloat16] [--top-k 228]

Both run the same trials of the neural predictor: equal seeds, samples and noise. Printed: mean and
standard error of the final test accuracy of each, the p-value of the Kolmogorov-Smirnov test that
both come from one distribution, and in how many trials both report the same cell. Then Kendall's
tau between the rankings by which predictors of the first trials order 20,000 random cells: of the
two backends for one seed, and, for scale, of one backend for two seeds of the same sample.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, ks_2samp

from nprep.predictor.backends.base import TrainingTask
from nprep.predictor.backends.make import make_backend
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.search.neural_predictor import NeuralPredictor
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.table.table import Table
from nprep.table.view import View

_BLOCK = 10


def final_cells(view: View, backend: str, trials: int, top_k: int) -> NDArray[np.int64]:
    """The cell that each trial reports: the best by the validation that it saw."""
    method = NeuralPredictor("np", backend=backend)
    found = []
    for first in range(0, trials, _BLOCK):
        seeds = [trial_seed(0, "np", t) for t in range(first, min(first + _BLOCK, trials))]
        horizon = method.train_samples + top_k
        for trace in method.run_block(view, seeds, horizon, ReplayProtocol()):
            found.append(int(trace.positions[np.argmax(trace.validation)]))
    return np.array(found)


def taus(view: View, names: list[str], count: int) -> tuple[list[float], list[float]]:
    """Kendall's tau between two backends, and between two seeds of the first."""
    settings = GcnSettings()
    rng = np.random.default_rng(0)
    cells = view.cells.take(rng.choice(len(view), min(20_000, len(view)), replace=False))
    plan = SharingPlan.build(cells, settings.normalisation, settings.layers)
    between, within = [], []
    one, other = (make_backend(name) for name in names)
    for trial in range(count):
        validation = view.validation[:, 0]
        rows = rng.choice(np.flatnonzero(validation > settings.threshold), 100, replace=False)
        tasks = [
            TrainingTask(view.cells.take(rows), validation[rows], settings, seed)
            for seed in np.random.SeedSequence(trial).spawn(2)
        ]
        first, second = one.outputs(plan, one.train(tasks))
        (there,) = other.outputs(plan, other.train(tasks[:1]))
        between.append(float(kendalltau(first, there)[0]))
        within.append(float(kendalltau(first, second)[0]))
    return between, within


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table")
    parser.add_argument("--view", default="completed")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--top-k", type=int, default=228)
    parser.add_argument("--backends", default="numba,numba:bfloat16")
    options = parser.parse_args()
    view = Table.open(options.table).view(options.view)
    names = options.backends.split(",")
    cells = [final_cells(view, name, options.trials, options.top_k) for name in names]
    tests = [100 * view.test[found].astype(np.float64) for found in cells]
    for name, test in zip(names, tests, strict=True):
        error = test.std(ddof=1) / np.sqrt(len(test))
        print(f"{name}: {test.mean():.4f} +- {error:.4f} % test, {len(test)} trials")
    print(
        f"Kolmogorov-Smirnov p = {ks_2samp(*tests).pvalue:.3f}; the same cell in "
        f"{int((cells[0] == cells[1]).sum())} trials"
    )
    between, within = taus(view, names, 10)
    print(
        f"tau of 10 predictors: {np.mean(between):.4f} (least {min(between):.4f}) between backends,"
        f" {np.mean(within):.4f} between seeds"
    )


if __name__ == "__main__":
    main()
