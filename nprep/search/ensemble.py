"""The neural predictor with an ensemble of regressors, whose disagreement is its uncertainty.

Wen et al.: "Neural Predictor for Neural Architecture Search", ECCV 2020, with the deep ensembles of
Lakshminarayanan, Pritzel, Blundell: "Simple and Scalable Predictive Uncertainty Estimation using
Deep Ensembles", NIPS 2017: M networks that differ in their seeds. No number has been published for
the pair; the paper's single predictor is given 94.04 % test accuracy at 219 samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.predictor.backends.base import predictions
from nprep.predictor.settings import GcnSettings
from nprep.search.neural_predictor import (
    NeuralPredictor,
    PredictorTrial,
    accept_by_classifiers,
    backend_of,
    plan_of,
)
from nprep.search.rules import ReplayProtocol
from nprep.search.trace import Trace
from nprep.table.view import View

RULES = ("mean", "optimistic", "thompson")


@dataclass(frozen=True)
class EnsemblePredictor(NeuralPredictor):
    """The two-stage neural predictor with M regressors.

    Attributes:
        name: Name of the method.
        train_samples: Number N of random cells that it trains on.
        two_stage: Whether a classifier comes before the regressors.
        predictor: Architecture and training of all.
        backend: What trains and asks them (see ``nprep.predictor.backends.base``).
        members: Number M of regressors.
        choice: What ranks the cells: "mean" of the members' predictions; "optimistic": mean plus
            ``beta`` standard deviations; "thompson": a draw from the normal distribution of that
            mean and standard deviation, for each cell by itself.
        beta: Weight of the standard deviation.
    """

    name: str = "np-ensemble"
    predictor: GcnSettings = field(default_factory=lambda: GcnSettings(width=48))
    members: int = 5
    choice: str = "mean"
    beta: float = 0.5

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        if self.train_samples < 2:
            raise SettingsError(
                f"{self.name} would train on {self.train_samples} cells: give it at least 2."
            )
        if self.members < 1:
            raise SettingsError(f"members is {self.members}: use at least 1.")
        if self.choice not in RULES:
            raise SettingsError(
                f"choice is {self.choice!r}, which is unknown: use {', '.join(RULES)}."
            )
        if not np.isfinite(self.beta):
            raise SettingsError(f"beta is {self.beta}: use a finite number.")

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see :class:`nprep.search.method.Method`)."""
        backend = backend_of(view, self.backend)
        trials = [PredictorTrial(self, view, seed, samples, protocol) for seed in seeds]
        learning = [trial for trial in trials if not trial.evaluator.done]
        if learning:
            plan = plan_of(view, self.predictor)
            if self.two_stage:
                accept_by_classifiers(backend, plan, learning)
            tasks = [trial.regressor_task() for trial in learning]
            networks = backend.train(
                [
                    replace(task, seed=seed)
                    for task in tasks
                    for seed in task.seed.spawn(self.members)
                ]
            )
            answers = predictions(backend, plan, networks)
            for trial, task in zip(learning, tasks, strict=True):
                members = np.stack([next(answers) for _ in range(self.members)])
                trial.keep(members.mean(axis=0), plan)
                trial.train_best(self.rank(members, np.random.default_rng(task.seed)))
        return [trial.evaluator.trace() for trial in trials]

    def rank(
        self, predictions: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """The scores (C,) by which cells are ranked, from the predictions (M, C) of the members."""
        mean = predictions.mean(axis=0)
        if self.choice == "mean":
            return mean
        deviation = predictions.std(axis=0)
        if self.choice == "optimistic":
            return mean + np.float32(self.beta) * deviation
        return rng.normal(mean, deviation).astype(np.float32)


def preset(name: str, train_samples: int) -> EnsemblePredictor:
    """The method of a name, with N training cells."""
    return EnsemblePredictor(name, train_samples)
