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
from nprep.predictor.settings import GcnSettings
from nprep.search.neural_predictor import (
    NeuralPredictor,
    PredictorTrial,
    accept_by_classifiers,
    groups_of,
    scores_by_task,
)
from nprep.search.pool import Pool
from nprep.search.predicting import backend_of
from nprep.search.rules import ReplayProtocol
from nprep.search.trace import Trace

CHOICES = ("mean", "optimistic", "thompson")


@dataclass(frozen=True)
class EnsemblePredictor(NeuralPredictor):
    """The two-stage neural predictor with M regressors.

    Attributes:
        name: Name of the method.
        train_samples: Number N of random architectures that it trains on.
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
        if self.choice not in CHOICES:
            raise SettingsError(
                f"choice is {self.choice!r}, which is unknown: use {', '.join(CHOICES)}."
            )
        if not np.isfinite(self.beta):
            raise SettingsError(f"beta is {self.beta}: use a finite number.")

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        backend = backend_of(pool, self.backend)
        trials = [PredictorTrial(self, pool, seed, samples, protocol) for seed in seeds]
        for group in groups_of(pool, [trial for trial in trials if not trial.evaluator.done]):
            accept_by_classifiers(backend, group)
            singles = [trial.regressor_tasks(1)[0] for trial in group]
            tasks = [
                [replace(single, seed=seed) for seed in single.seed.spawn(self.members)]
                for single in singles
            ]
            answers = scores_by_task(backend, group, tasks)
            for trial, single, members in zip(group, singles, answers, strict=True):
                trial.keep(members.mean(axis=0))
                trial.train_best(self.rank(members, np.random.default_rng(single.seed)))
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
