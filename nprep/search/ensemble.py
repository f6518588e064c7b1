"""The neural predictor with an ensemble of regressors, whose disagreement is its uncertainty.

Wen et al.: "Neural Predictor for Neural Architecture Search", ECCV 2020, with the deep ensembles of
Lakshminarayanan, Pritzel, Blundell: "Simple and Scalable Predictive Uncertainty Estimation using
Deep Ensembles", NIPS 2017: M networks that differ in their seeds. No number has been published for
the pair; the paper's single predictor is given 94.04 % test accuracy at 219 samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.predictor.gcn import train
from nprep.predictor.plan import predict
from nprep.predictor.settings import GcnSettings
from nprep.search.base import SEARCH_STREAM, Evaluator, Preset, ReplayProtocol, Trace, stream
from nprep.search.neural_predictor import best_new, plan_of, regressor_samples, train_sample
from nprep.table.view import View

RULES = ("mean", "optimistic", "thompson")


@dataclass(frozen=True)
class EnsemblePredictor(Preset):
    """The two-stage neural predictor with M regressors.

    Attributes:
        name: Name of the method.
        train_samples: Number N of random cells that it trains on.
        members: Number M of regressors.
        choice: What ranks the cells: "mean" of the members' predictions; "optimistic": mean plus
            ``beta`` standard deviations; "thompson": a draw from the normal distribution of that
            mean and standard deviation, for each cell by itself.
        beta: Weight of the standard deviation.
        two_stage: Whether a classifier comes before the regressors.
        predictor: Architecture and training of all.
    """

    name: str = "np-ensemble"
    train_samples: int = 172
    members: int = 5
    choice: str = "mean"
    beta: float = 0.5
    two_stage: bool = True
    predictor: GcnSettings = field(default_factory=lambda: GcnSettings(width=48))

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
        """Runs one trial per seed (see :class:`nprep.search.base.Method`)."""
        return [self._trial(view, seed, samples, protocol) for seed in seeds]

    def _trial(
        self, view: View, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> Trace:
        sample_seed, classifier_seed, choice_seed, *networks = stream(seed, SEARCH_STREAM).spawn(
            3 + self.members
        )
        evaluator = Evaluator(view, seed, samples, protocol)
        known, labels = train_sample(
            view, evaluator, self.train_samples, protocol.sampling, sample_seed
        )
        if evaluator.done:
            return evaluator.trace()
        settings = self.predictor.for_samples(len(known))
        accepts: Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None = None
        chosen = np.ones(len(known), bool)
        if self.two_stage:
            accurate = labels > settings.threshold
            classifier = train(view.cells.take(known), accurate, settings, classifier_seed)

            def accepts(positions: NDArray[np.int32]) -> NDArray[np.bool_]:
                return predict(classifier, view.cells.take(positions)) > 0.5

            chosen = regressor_samples(settings, accurate, accepts(known))
        cells, plan = view.cells.take(known[chosen]), plan_of(view, settings)
        predictions = np.stack(
            [predict(train(cells, labels[chosen], settings, each), plan) for each in networks]
        )
        scores = self.rank(predictions, np.random.default_rng(choice_seed))
        evaluator.query(best_new(scores, known, evaluator.left, accepts))
        return evaluator.trace()

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
