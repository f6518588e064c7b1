"""How far less precise products change the ranks of a whole space, and what they would gain.

    python -m bench.precision TABLE.h5 [--view completed] [--trials 3] [--backend torch:bfloat16]

Trains predictors as the search does, asks each about all cells in float32 and in the other
precision, and prints Kendall's tau of the two rankings, of all cells and of the best thousand, and
how many of the best hundred are the same.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.stats import kendalltau

from nprep.predictor.backends.base import TrainingTask
from nprep.predictor.backends.make import make_backend
from nprep.predictor.plan_store import stored_plan
from nprep.predictor.settings import GcnSettings
from nprep.table.table import Table


def main() -> None:
    """Prints a line for each predictor."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table")
    parser.add_argument("--view", default="completed")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--backend", default="torch:bfloat16")
    options = parser.parse_args()
    view = Table.open(options.table).view(options.view)
    exact, other = make_backend("numba"), make_backend(options.backend)
    settings = GcnSettings()
    plan = stored_plan(view.cells, settings.normalisation, settings.layers)
    print("| predictor | tau | tau of the best 1,000 | same in the best 100 | seconds |")
    print("|---|---|---|---|---|")
    for trial in range(options.trials):
        rng = np.random.default_rng(trial)
        validation = view.validation[:, 0]
        rows = rng.choice(np.flatnonzero(validation > settings.threshold), 100, replace=False)
        task = TrainingTask(
            view.cells.take(rows), validation[rows], settings, np.random.SeedSequence(trial)
        )
        weights = exact.train([task])
        (scores,) = exact.outputs(plan, weights)
        start = time.perf_counter()
        (rounded,) = other.outputs(plan, weights)
        took = time.perf_counter() - start
        best = np.argsort(-scores, kind="stable")[:1000]
        same = len(np.intersect1d(best[:100], np.argsort(-rounded, kind="stable")[:100]))
        print(
            f"| {trial} | {kendalltau(scores, rounded)[0]:.5f} "
            f"| {kendalltau(scores[best], rounded[best])[0]:.4f} | {same} | {took:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
