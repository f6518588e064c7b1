"""What the paper leaves open about the predictor, settled by experiment: a small version.

    python bench/predictor_choices.py TABLE.h5 [--view completed] [--trials 8] [--variants a,b]

Every variant sees the same samples and the same validation noise in trial t. Printed for each, as
mean and standard error over trials:

- the regressor's Kendall tau against the test accuracy of 8,000 random cells: all of them, and
  those above 91 %; its mean squared error in percent squared against their mean validation above
  91 % (all cells for one-stage variants);
- the search: test accuracy of the best-by-validation cell at N + K samples, and the mean and the
  best test accuracy of the first 47 cells chosen.

To be quick the search looks at candidates only: the union of the best 4,000 cells of 40 predictors
of diverse settings (about 23,000 cells). ``--whole`` searches the whole view, with the classifier.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from nprep.predictor.gcn import train
from nprep.predictor.plan import SharingPlan, predict
from nprep.predictor.settings import FAITHFUL, GcnSettings
from nprep.search.base import ReplayProtocol, trial_seed
from nprep.search.neural_predictor import NeuralPredictor
from nprep.table.table import Table
from nprep.table.view import View

SAMPLES = 172
BUDGETS = (219, 300, 403, 500)
BASE = GcnSettings()
VARIANTS: dict[str, GcnSettings] = {
    "default": BASE,
    "faithful": FAITHFUL,
    "300 epochs, rate 1e-4": replace(BASE, epochs=300, learning_rate=1e-4),
    "labels sigmoid": replace(BASE, labels="sigmoid"),
    "labels sigmoid-percent": replace(BASE, labels="sigmoid-percent"),
    "labels normal-scores": replace(BASE, labels="normal-scores"),
    "loss ranking": replace(BASE, loss="ranking"),
    "normalisation symmetric": replace(BASE, normalisation="symmetric"),
    "normalisation sum": replace(BASE, normalisation="sum"),
    "initialisation he": replace(BASE, initialisation="he"),
    "initialisation torch-linear": replace(BASE, initialisation="torch-linear"),
    "layer biases": replace(BASE, layer_bias=True),
    "no head biases": replace(BASE, head_bias=False),
    "linear head": replace(BASE, activation="linear"),
    "no hidden dense layer": replace(BASE, head=()),
    "no dropout": replace(BASE, dropout_head=0.0),
    "dropout after GCN layers": replace(BASE, dropout_layers=0.1),
    "dropout of the mean": replace(BASE, dropout_readout=0.1),
    "rate x 3": replace(BASE, learning_rate=3 * BASE.learning_rate),
    "rate / 3": replace(BASE, learning_rate=BASE.learning_rate / 3),
    "no decay": replace(BASE, weight_decay=0.0),
    "decay 3e-3": replace(BASE, weight_decay=3e-3),
    "decay 1e-2": replace(BASE, weight_decay=1e-2),
    "decoupled decay 0.1": replace(BASE, weight_decay=0.1, decoupled=True),
    "width 64": replace(BASE, width=64),
    "width 96": replace(BASE, width=96),
    "width 208": replace(BASE, width=208),
    "2 layers": replace(BASE, layers=2),
    "4 layers": replace(BASE, layers=4),
    "batch 5": replace(BASE, batch=5),
    "batch 20": replace(BASE, batch=20),
}


def draw_sample(view: View, trial: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The training cells of a trial and the validation of one random repeat of each."""
    rng = np.random.default_rng(1000 + trial)
    rows = rng.choice(len(view), SAMPLES, replace=False)
    return rows, one_repeat(view, rows, rng)


def one_repeat(
    view: View, rows: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.float32]:
    """One of the repeats that are there, for each cell."""
    values = view.validation[rows]
    keys = np.where(np.isnan(values), -1.0, rng.random(values.shape))
    return values[np.arange(len(rows)), keys.argmax(1)]


def find_candidates(view: View, predictors: int = 40) -> NDArray[np.int64]:
    """The union of the best 4,000 cells of diverse predictors."""
    small = GcnSettings(initialisation="he", learning_rate=1e-3, epochs=100, width=64)
    settings = [
        small,
        replace(small, initialisation="glorot", learning_rate=3e-4),
        replace(small, weight_decay=1e-2),
        replace(small, activation="linear"),
        replace(small, dropout_layers=0.1),
        replace(small, weight_decay=3e-2),
        replace(small, loss="ranking"),
        replace(small, epochs=40),
    ]
    plan = SharingPlan.build(view.cells)
    found = np.zeros(len(view), bool)
    for number in range(predictors):
        rows, values = draw_sample(view, 5000 + number)
        if number % 5 != 4:
            rows, values = rows[values > 0.91], values[values > 0.91]
        weights = train(
            view.cells.take(rows),
            values,
            settings[number % len(settings)],
            np.random.SeedSequence(number),
        )
        best = min(4000, len(view))
        found[np.argpartition(-predict(weights, plan), best - 1)[:best]] = True
    return np.flatnonzero(found)


class Judge:
    """Scores settings on one view."""

    def __init__(self, view: View, one_stage: bool) -> None:
        self.view = view
        self.one_stage = one_stage
        rng = np.random.default_rng(99)
        self.probe = rng.choice(len(view), min(8000, len(view)), replace=False)
        self.candidates = find_candidates(view)
        self.plans: dict[tuple[str, int], tuple[SharingPlan, SharingPlan]] = {}

    def plans_for(self, settings: GcnSettings) -> tuple[SharingPlan, SharingPlan]:
        key = settings.normalisation, settings.layers
        if key not in self.plans:
            self.plans[key] = (
                SharingPlan.build(self.view.cells.take(self.probe), *key),
                SharingPlan.build(self.view.cells.take(self.candidates), *key),
            )
        return self.plans[key]

    def trial(self, settings: GcnSettings, trial: int) -> list[float]:
        view = self.view
        sample, values = draw_sample(view, trial)
        fitted = np.ones(SAMPLES, bool) if self.one_stage else values > settings.threshold
        settings = settings.for_samples(SAMPLES)
        weights = train(
            view.cells.take(sample[fitted]), values[fitted], settings, np.random.SeedSequence(trial)
        )
        probe_plan, candidate_plan = self.plans_for(settings)
        scores, test = predict(weights, probe_plan), view.test[self.probe]
        good = test > settings.threshold
        judged = np.ones_like(good) if self.one_stage else good
        errors = 100 * (scores - np.nanmean(view.validation[self.probe], axis=1))[judged]
        unit = weights.scale.kind != "score"
        scored = [
            kendalltau(scores, test)[0],
            kendalltau(scores[good], test[good])[0],
            float((errors**2).mean()) if unit else np.nan,
        ]
        ranks = predict(weights, candidate_plan)
        ranks[np.isin(self.candidates, sample)] = -np.inf
        chosen = self.candidates[np.argsort(-ranks, kind="stable")[: max(BUDGETS) - SAMPLES]]
        seen = np.append(values, one_repeat(view, chosen, np.random.default_rng(trial)))
        reported = 100 * view.test[np.append(sample, chosen)]
        scored += [reported[:budget][np.argmax(seen[:budget])] for budget in BUDGETS]
        first = reported[SAMPLES : SAMPLES + 47]
        return [*scored, first.mean(), first.max()]

    def whole(self, settings: GcnSettings, trial: int) -> list[float]:
        method = NeuralPredictor("np", SAMPLES, not self.one_stage, settings)
        seed = trial_seed(0, "np", trial)
        trace = method.run_block(self.view, [seed], max(BUDGETS), ReplayProtocol())[0]
        reported = 100 * self.view.test[trace.positions]
        scored = [reported[:budget][np.argmax(trace.validation[:budget])] for budget in BUDGETS]
        first = reported[SAMPLES : SAMPLES + 47]
        return [np.nan, np.nan, np.nan, *scored, first.mean(), first.max()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table")
    parser.add_argument("--view", default="completed")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--first-trial", type=int, default=0)
    parser.add_argument("--variants", default="", help="comma-separated; default: all")
    parser.add_argument("--one-stage", action="store_true")
    parser.add_argument("--whole", action="store_true", help="search the whole view")
    options = parser.parse_args()
    judge = Judge(Table.open(options.table).view(options.view), options.one_stage)
    names = ("tau", "tau>91", "mse", *map(str, BUDGETS), "mean47", "max47")
    print("variant | " + " | ".join(names) + " | s/trial", flush=True)
    for name in options.variants.split(",") if options.variants else VARIANTS:
        start = time.thread_time()
        run = judge.whole if options.whole else judge.trial
        trials = range(options.first_trial, options.first_trial + options.trials)
        results = np.array([run(VARIANTS[name], trial) for trial in trials])
        seconds = (time.thread_time() - start) / options.trials
        errors = results.std(0, ddof=1) / np.sqrt(options.trials)
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(results.mean(0), errors, strict=True)]
        print(f"{name} | {' | '.join(cells)} | {seconds:.2f}", flush=True)


if __name__ == "__main__":
    main()
