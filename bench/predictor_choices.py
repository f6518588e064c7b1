"""What the paper leaves open about the predictor, settled by experiment.

    python bench/predictor_choices.py TABLE.h5 [--view completed] [--kind two-stage|one-stage|mlp]
        [--trials 16] [--first-trial 0] [--variants a,b] [--set name=value,...] [--raw FILE.npz]

Every variant sees the same samples, the same first values and the same classifier in trial t, so
differences to the default are taken in pairs. Printed for the default are means, for every other
variant mean differences, each with its standard error over trials:

- 219, 300, 403, 500: test accuracy (percent) of the cell that is best by validation after that many
  samples. It is averaged over 200 draws of the repeats that the chosen cells show, which removes
  most of the noise of one replay. ``mean`` is the mean of the four;
- top 47: mean test accuracy (percent) of the first 47 cells chosen;
- tau, tau > 91: Kendall's tau with test accuracy, over all cells and over those above 91 %;
- mse: squared error (percent squared) against mean validation; of the two-stage regressor over
  cells above 91 %, else over all cells.

The completed view is large. There tau and mse are taken over 8,000 random cells, and the GCN
chooses among candidates only: the best 4,000 cells of each of 24 predictors of diverse settings.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from nprep.predictor.gcn import train
from nprep.predictor.mlp import predict_perceptron, train_perceptron
from nprep.predictor.plan import SharingPlan, predict
from nprep.predictor.settings import FAITHFUL, GcnSettings, MlpSettings, TrainingSettings
from nprep.search.predicting import best_new
from nprep.spaces.nb101.cells import encode_flat
from nprep.table.table import Table
from nprep.table.view import View

Settings = TypeVar("Settings", bound=Any)

SAMPLES = 172
BUDGETS = (219, 300, 403, 500)
NAMES = ("mean", *map(str, BUDGETS), "top 47", "tau > 91", "tau", "mse")
NOISE_DRAWS = 200

# Names of variants and what each changes.
COMMON: dict[str, dict[str, Any]] = {
    "labels sigmoid": {"labels": "sigmoid"},
    "labels sigmoid-percent": {"labels": "sigmoid-percent"},
    "labels normal-scores": {"labels": "normal-scores"},
    "loss ranking": {"loss": "ranking"},
    "initialisation glorot": {"initialisation": "glorot"},
    "initialisation he": {"initialisation": "he"},
    "initialisation torch-linear": {"initialisation": "torch-linear"},
    "no head biases": {"head_bias": False},
    "linear head": {"activation": "linear"},
    "no dropout": {"dropout_head": 0.0},
    "no decay": {"weight_decay": 0.0},
    "decay 1e-4": {"weight_decay": 1e-4},
    "decay 3e-3": {"weight_decay": 3e-3},
    "decay 1e-2": {"weight_decay": 1e-2},
    "decay 3e-2": {"weight_decay": 3e-2},
    "decoupled decay 0.1": {"weight_decay": 0.1, "decoupled": True},
    "decoupled decay 1": {"weight_decay": 1.0, "decoupled": True},
    "batch 5": {"batch": 5},
    "batch 20": {"batch": 20},
}
GCN: dict[str, dict[str, Any]] = {
    "normalisation row": {"normalisation": "row"},
    "normalisation symmetric": {"normalisation": "symmetric"},
    "normalisation sum": {"normalisation": "sum"},
    "layer biases": {"layer_bias": True},
    "no hidden dense layer": {"head": ()},
    "dropout after GCN layers": {"dropout_layers": 0.1},
    "dropout of the mean": {"dropout_readout": 0.1},
    "width 48": {"width": 48},
    "width 96": {"width": 96},
    "width 208": {"width": 208},
    "2 layers": {"layers": 2},
    "4 layers": {"layers": 4},
}
TWO_STAGE: dict[str, dict[str, Any]] = {
    "samples observed": {"regressor_samples": "observed"},
    "samples all": {"regressor_samples": "all"},
    "samples classifier": {"regressor_samples": "classifier"},
}
MLP: dict[str, dict[str, Any]] = {
    "one hidden layer": {"head": (128,)},
    "hidden layers of 64": {"head": (64, 64)},
    "hidden layers of 256": {"head": (256, 256)},
    "three hidden layers": {"head": (128, 128, 128)},
}
RATES: dict[str, dict[str, Any]] = {
    f"{epochs} epochs, rate {rate:g}": {"epochs": epochs, "learning_rate": rate}
    for epochs, rates in {
        50: (3e-4, 1e-3, 2e-3),
        100: (3e-4, 6e-4, 1e-3, 2e-3),
        200: (1e-4, 3e-4, 1e-3),
        300: (1e-4, 3e-4, 1e-3),
    }.items()
    for rate in rates
}


def one_repeat(
    view: View, rows: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.float32]:
    """One of the repeats that are there, for each cell."""
    values = view.validation[rows]
    keys = np.where(np.isnan(values), -1.0, rng.random(values.shape))
    return values[np.arange(len(rows)), keys.argmax(1)]


def draw_sample(view: View, trial: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The training cells of a trial and the validation of one random repeat of each."""
    rng = np.random.default_rng(1000 + trial)
    rows = rng.choice(len(view), SAMPLES, replace=False).astype(np.int32)
    return rows, one_repeat(view, rows, rng)


def find_candidates(view: View, plan: SharingPlan, predictors: int = 24) -> NDArray[np.int32]:
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
    found = np.zeros(len(view), bool)
    for number in range(predictors):
        rows, values = draw_sample(view, 5000 + number)
        if number % 5 != 4:
            rows, values = rows[values > 0.91], values[values > 0.91]
        chosen = replace(settings[number % len(settings)], normalisation="row", layers=3)
        weights = train(view.cells.take(rows), values, chosen, np.random.SeedSequence(number))
        found[np.argpartition(-predict(weights, plan), 3999)[:4000]] = True
    return np.flatnonzero(found).astype(np.int32)


class Judge:
    """Scores settings on one view."""

    def __init__(
        self, view: View, kind: str, base: TrainingSettings, kept: Path | None = None
    ) -> None:
        self.view, self.kind, self.base = view, kind, base
        everything = np.arange(len(view), dtype=np.int32)
        self.probe = self.candidates = everything
        self.plans: dict[tuple[str, int, bool], SharingPlan] = {}
        self.classified: dict[int, NDArray[np.bool_]] = {}
        if kind == "mlp":
            self.features = encode_flat(view.cells)
        if len(view) > 50_000:
            rng = np.random.default_rng(99)
            self.probe = np.sort(rng.choice(everything, 8000, replace=False))
            if kind != "mlp":
                if kept is not None and kept.exists():
                    self.candidates = np.load(kept)
                else:
                    self.candidates = find_candidates(view, SharingPlan.build(view.cells))
                    if kept is not None:
                        np.save(kept, self.candidates)
        self.places = np.full(len(view), -1, np.int32)
        self.places[self.candidates] = np.arange(len(self.candidates))

    def plan(self, settings: GcnSettings, probe: bool) -> SharingPlan:
        key = settings.normalisation, settings.layers, probe and self.probe is not self.candidates
        if key not in self.plans:
            cells = self.view.cells.take(self.probe if probe else self.candidates)
            self.plans[key] = SharingPlan.build(cells, *key[:2])
        return self.plans[key]

    def accepts(self, trial: int) -> NDArray[np.bool_]:
        """What the default's classifier says of the candidates, then of the sample."""
        if trial not in self.classified:
            assert isinstance(self.base, GcnSettings)
            sample, values = draw_sample(self.view, trial)
            cells = self.view.cells.take(sample)
            labels = values > self.base.threshold
            classifier = train(cells, labels, self.base, np.random.SeedSequence([trial, 1]))
            answers = (
                predict(classifier, self.plan(self.base, probe=False)),
                predict(classifier, cells),
            )
            self.classified[trial] = np.concatenate(answers) > 0.5
        return self.classified[trial]

    def fit(
        self, settings: TrainingSettings, trial: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], str, NDArray[np.bool_] | None]:
        """Scores of the candidates and of the probe, their unit, and what a classifier accepts."""
        sample, values = draw_sample(self.view, trial)
        seed = np.random.SeedSequence([trial, 0])
        if isinstance(settings, MlpSettings):
            perceptron = train_perceptron(self.features[sample], values, settings, seed)
            scores = predict_perceptron(perceptron, self.features)
            return scores, scores[self.probe], perceptron.scale.kind, None
        assert isinstance(settings, GcnSettings)
        settings = settings.for_samples(SAMPLES)
        fitted, accepted = np.ones(SAMPLES, bool), None
        if self.kind == "two-stage":
            accepted = self.accepts(trial)
            if settings.regressor_samples != "all":
                by_classifier = settings.regressor_samples == "classifier"
                fitted = accepted[-SAMPLES:] if by_classifier else values > settings.threshold
        weights = train(self.view.cells.take(sample[fitted]), values[fitted], settings, seed)
        scores = predict(weights, self.plan(settings, probe=False))
        probed = scores
        if self.probe is not self.candidates:
            probed = predict(weights, self.plan(settings, probe=True))
        return scores, probed, weights.scale.kind, accepted

    def trial(self, settings: TrainingSettings, trial: int) -> list[float]:
        view = self.view
        sample, values = draw_sample(view, trial)
        scores, probed, unit, accepted = self.fit(settings, trial)
        test = view.test[self.probe]
        good = test > 0.91
        judged = good if self.kind == "two-stage" else np.ones_like(good)
        means = np.nanmean(view.validation[self.probe], axis=1)
        errors = 100 * (probed - means)[judged]
        known = self.places[sample]
        accepts = None if accepted is None else (lambda p: accepted[:-SAMPLES][p])
        best = best_new(scores, known[known >= 0], max(BUDGETS) - SAMPLES, accepts)
        chosen = self.candidates[best]
        rng = np.random.default_rng([trial, 7])
        shown = one_repeat(view, np.tile(chosen, NOISE_DRAWS), rng).reshape(NOISE_DRAWS, -1)
        seen = np.concatenate([np.tile(values, (NOISE_DRAWS, 1)), shown], axis=1)
        reported = 100 * view.test[np.append(sample, chosen)].astype(np.float64)
        curve = [reported[seen[:, :budget].argmax(axis=1)].mean() for budget in BUDGETS]
        return [
            float(np.mean(curve)),
            *curve,
            float(reported[SAMPLES : SAMPLES + 47].mean()),
            kendalltau(probed[good], test[good])[0],
            kendalltau(probed, test)[0],
            float((errors**2).mean()) if unit != "score" else np.nan,
        ]


def defaults(kind: str) -> TrainingSettings:
    """The settings that a method of this kind has."""
    from nprep.search.neural_predictor import preset

    names = {"two-stage": "np", "one-stage": "np-one-stage", "mlp": "mlp"}
    return preset(names[kind], SAMPLES).predictor


def variants(kind: str, base: TrainingSettings) -> dict[str, TrainingSettings]:
    """The variants of a kind that differ from its default."""
    own = {"two-stage": {**GCN, **TWO_STAGE}, "one-stage": GCN, "mlp": MLP}[kind]
    made = {name: replace(base, **changes) for name, changes in {**COMMON, **own, **RATES}.items()}
    if kind != "mlp":
        made["faithful"] = FAITHFUL
    return {name: settings for name, settings in made.items() if settings != base}


def parse(base: Settings, changes: str) -> Settings:
    """The settings with ``name=value,...`` changed; values are Python literals or words."""
    known = {field.name for field in fields(base)}
    for change in filter(None, changes.split(",")):
        name, _, value = change.partition("=")
        if name not in known:
            raise SystemExit(
                f"there is no setting {name!r}; choose from {', '.join(sorted(known))}"
            )
        for kind in (int, float):
            try:
                base = replace(base, **{name: kind(value)})
                break
            except ValueError:
                continue
        else:
            word = {"True": True, "False": False, "None": None}.get(value, value)
            base = replace(base, **{name: word})
    return base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table")
    parser.add_argument("--view", default="completed")
    parser.add_argument("--kind", default="two-stage", choices=("two-stage", "one-stage", "mlp"))
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--first-trial", type=int, default=0)
    parser.add_argument("--variants", default="", help="separated by ';'; default: all but rates")
    parser.add_argument("--set", default="", help="name=value,... changes the default compared to")
    parser.add_argument("--candidates", type=Path, help="keep them in this file between runs")
    parser.add_argument("--raw", type=Path, help="write the results of every trial here (.npz)")
    options = parser.parse_args()
    base = parse(defaults(options.kind), options.set)
    known = variants(options.kind, base)
    wanted = [name for name in known if name not in RATES]
    if options.variants == "rates":
        wanted = [name for name in known if name in RATES]
    elif options.variants:
        wanted = [name.strip() for name in options.variants.split(";")]
    view = Table.open(options.table).view(options.view)
    judge = Judge(view, options.kind, base, options.candidates)
    trials = range(options.first_trial, options.first_trial + options.trials)
    print(f"{options.view}, {options.kind}, trials {trials.start} to {trials.stop - 1}")
    print(base)
    print("| variant | " + " | ".join(NAMES) + " | s |")
    print("|---" * (len(NAMES) + 2) + "|", flush=True)
    reference = None
    raw: dict[str, NDArray[np.float64]] = {}
    for name in ["default", *wanted]:
        settings = base if name == "default" else known.get(name) or parse(base, name)
        start = time.thread_time()
        results = np.array([judge.trial(settings, trial) for trial in trials])
        seconds = (time.thread_time() - start) / options.trials
        raw[name] = results
        shown = results if reference is None else results - reference
        reference = results if reference is None else reference
        errors = shown.std(axis=0, ddof=1) / np.sqrt(options.trials)
        sign = "" if name == "default" else "+"
        cells = [f"{m:{sign}.3f} ± {e:.3f}" for m, e in zip(shown.mean(0), errors, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {seconds:.2f} |", flush=True)
    if options.raw:
        np.savez(options.raw, **raw)


if __name__ == "__main__":
    main()
