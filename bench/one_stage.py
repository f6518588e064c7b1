"""What two choices of the neural predictor are worth: the regressor's samples, and one stage.

    python -m bench.one_stage TABLE.h5 [--view surrogate] [--trials 40] [--seed 11]

Whole searches under ``wen2020`` with N = 172. Every variant starts from the same samples and sees
the same runs in trial t, so differences are taken in pairs. Printed are test accuracies (percent)
of the cell that is best by validation after 219, 300, 403 and 500 samples, and the mean test
accuracy of the 47 cells chosen first, each with its standard error over trials.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.predictor.settings import GcnSettings
from nprep.search.neural_predictor import ONE_STAGE_FLOOR, NeuralPredictor
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.table.table import Table
from nprep.table.view import View

SAMPLES = 172
BUDGETS = (219, 300, 403, 500)
BY_CLASSIFIER = replace(GcnSettings(), regressor_samples="classifier")
VARIANTS = {
    "two stages, observed samples": NeuralPredictor(),
    "two stages, the classifier's samples": NeuralPredictor(predictor=BY_CLASSIFIER),
    "one stage": NeuralPredictor(two_stage=False),
    "one stage, labels lifted": NeuralPredictor(two_stage=False, label_floor=ONE_STAGE_FLOOR),
}
PAIRS = ((0, 1), (3, 2), (0, 2))


def outcome(view: View, method: NeuralPredictor, seed: np.random.SeedSequence) -> list[float]:
    """The numbers of one trial."""
    (trace,) = method.run_block(view, [seed], BUDGETS[-1], ReplayProtocol())
    test = 100.0 * view.test[trace.positions].astype(np.float64)
    best = [float(test[int(trace.validation[:budget].argmax())]) for budget in BUDGETS]
    return [*best, float(test[SAMPLES : SAMPLES + 47].mean())]


def line(name: str, values: NDArray[np.float64], sign: str = "") -> str:
    """Means and standard errors of (T, 5) numbers."""
    errors = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    cells = (
        f"{mean:{sign}.3f} ± {error:.3f}"
        for mean, error in zip(values.mean(axis=0), errors, strict=True)
    )
    return f"{name:<58}" + "  ".join(cells)


def main() -> None:
    """Prints the comparison after every five trials."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--view", default="surrogate")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    view = Table.open(options.table).view(options.view)
    found: dict[str, list[list[float]]] = {name: [] for name in VARIANTS}
    for trial in range(options.trials):
        seed = trial_seed(options.seed, "np", trial)
        for name, method in VARIANTS.items():
            found[name].append(outcome(view, method, seed))
        if trial % 5 != 4 and trial + 1 != options.trials:
            continue
        names = list(VARIANTS)
        arrays = [np.array(found[name]) for name in names]
        print(f"\n{trial + 1} trials; after {', '.join(map(str, BUDGETS))} samples; top 47")
        for name, values in zip(names, arrays, strict=True):
            print(line(name, values))
        for one, other in PAIRS:
            difference = arrays[one] - arrays[other]
            print(line(f"{names[one]} - {names[other]}"[:57], difference, "+"), flush=True)


if __name__ == "__main__":
    main()
