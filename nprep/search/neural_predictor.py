"""The neural predictor (Wen et al., 2020) as a search method, and its ablations.

A trial draws N random architectures, trains them (that is, queries their validation accuracy), fits
a predictor, predicts every candidate and trains the top K that are new, best first. The two-stage
predictor first tells accurate cells of NASBench-101 (validation above 91 %) from the rest with a
classifier, and fits its regressor to those that the classifier accepts; in other spaces there is
one stage (see ``nprep.predictor.defaults``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.predictor.backends.base import Backend, TrainingTask
from nprep.predictor.backends.make import make_backend
from nprep.predictor.defaults import defaults_of
from nprep.predictor.gcn import GcnWeights
from nprep.predictor.labels import has_unit
from nprep.predictor.mlp import predict_perceptron, train_perceptron
from nprep.predictor.plan import predict
from nprep.predictor.settings import FAITHFUL, GcnSettings, MlpSettings
from nprep.predictor.tuning import compare_settings
from nprep.search.evaluator import evaluator_of, keep_predictions
from nprep.search.method import Preset
from nprep.search.pool import Pool
from nprep.search.predicting import (
    backend_of,
    candidates_of,
    encode,
    lifted,
    members_of,
    train_sample,
)
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Predictions, Trace
from nprep.table.view import View

# A regressor needs samples; a classifier that accepts fewer than this is not listened to.
FEWEST_ACCEPTED = 10
# By which the quality of one stage is measured: lifts the trainings that failed, and little else.
ONE_STAGE_FLOOR = 0.1


@dataclass(frozen=True)
class NeuralPredictor(Preset):
    """The neural predictor.

    Attributes:
        name: Name of the method.
        train_samples: Number N of random architectures that it trains on.
        two_stage: Whether a classifier comes before the regressor, in spaces that have a threshold.
        predictor: Architecture and training of both.
        backend: What trains and asks them (see ``nprep.predictor.backends.base``).
        label_floor: What the regressor learns from is lifted to this quantile of it; 0 lifts
            nothing. One stage learns from failed trainings, too, and z-scores of a sample that
            holds one, near 10 %, leave hardly any difference between all others.
    """

    name: str = "np"
    train_samples: int = 172
    kind = "predictor"
    two_stage: bool = True
    predictor: GcnSettings = field(default_factory=GcnSettings)
    backend: str = "auto"
    label_floor: float = 0.0

    def __post_init__(self) -> None:
        """Refuses a floor that is no quantile."""
        if not 0 <= self.label_floor < 1:
            raise SettingsError(
                f"label_floor is {self.label_floor}: use at least 0 and less than 1."
            )

    def settings(self) -> dict[str, object]:
        """The fields; the backend as it is found here."""
        return {**super().settings(), "backend": make_backend(self.backend).describe()}

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
            tasks = [trial.regressor_tasks(trial.members) for trial in group]
            for trial, scores in zip(group, scores_by_task(backend, group, tasks), strict=True):
                mean = scores[0] if len(scores) == 1 else scores.mean(axis=0)
                trial.keep(mean)
                trial.train_best(mean)
        return [trial.evaluator.trace() for trial in trials]


def groups_of(pool: Pool, trials: list[PredictorTrial]) -> list[list[PredictorTrial]]:
    """The trials whose predictors are trained and asked together: those with equal candidates."""
    if pool.closed:
        return [trials] if trials else []
    return [[trial] for trial in trials]


def accept_by_classifiers(backend: Backend, trials: Sequence[PredictorTrial]) -> None:
    """Has the classifiers of two-stage trials decide what is worth training."""
    if not trials or not trials[0].two_stage:
        return
    classifiers = backend.train([trial.classifier_task() for trial in trials])
    whole = trials[0].candidates.scores(backend, classifiers) if backend.whole else None
    for trial, classifier in zip(trials, classifiers, strict=True):
        trial.accept_by(classifier, None if whole is None else next(whole))


def scores_by_task(
    backend: Backend, trials: Sequence[PredictorTrial], tasks: Sequence[list[TrainingTask]]
) -> Iterator[NDArray[np.float32]]:
    """(members, C) predictions for each trial, from the networks of its tasks."""
    networks = backend.train([task for some in tasks for task in some])
    answers = trials[0].candidates.scores(backend, networks)
    for some in tasks:
        yield np.stack([next(answers) for _ in some])


class PredictorTrial:
    """One trial of ``NeuralPredictor``, between the steps that its block does together.

    Attributes:
        evaluator: Of the trial.
        candidates: What its predictor ranks.
        two_stage: Whether a classifier comes before the regressor.
        members: Number of networks whose mean ranks, where the method does not say.
    """

    def __init__(
        self,
        method: NeuralPredictor,
        pool: Pool,
        seed: np.random.SeedSequence,
        samples: int,
        protocol: ReplayProtocol,
    ) -> None:
        """Draws the sample and has it trained."""
        sample_seed, *self._seeds = stream(seed, SEARCH_STREAM).spawn(3)
        self._pool = pool
        self.evaluator = evaluator_of(pool, seed, samples, protocol)
        self._known, self._labels = train_sample(
            pool, self.evaluator, method.train_samples, protocol.sampling, sample_seed
        )
        defaults = defaults_of(pool.space)
        self.two_stage = method.two_stage and defaults.two_stage
        self.members = defaults.members
        self._label_floor = method.label_floor
        if method.two_stage and not self.two_stage:
            # One stage learns from failed trainings, too.
            self._label_floor = max(self._label_floor, ONE_STAGE_FLOOR, defaults.label_floor)
        self._settings = method.predictor.for_samples(max(1, len(self._known)))
        # A real training that failed answers 0, which teaches nothing.
        self._trained = self._labels > 0
        if self._trained.sum() < 2:
            self._trained[:] = True
        self._chosen = self._trained
        if not self.evaluator.done:
            self.candidates = candidates_of(pool, seed)
            self._tuning = compare_settings(
                members_of(pool, self._known[self._chosen]),
                self._labels[self._chosen],
                defaults.settings(self._settings, pool.space.code_width),
                self._seeds[0],
                pool.threads,
                judge=not isinstance(pool, View),
            )
            self._settings = self._tuning.best
        self._accepts: Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None = None
        self._classifier: GcnWeights | None = None
        self._whole: NDArray[np.float32] | None = None

    def classifier_task(self) -> TrainingTask:
        """What the classifier learns."""
        accurate = self._labels > self._settings.threshold
        known = members_of(self._pool, self._known)
        return TrainingTask(known, accurate, self._settings, self._seeds[0])

    def accept_by(self, classifier: GcnWeights, whole: NDArray[np.float32] | None) -> None:
        """Takes the trained classifier, and its predictions for all candidates if there are any."""

        def accepts(positions: NDArray[np.int32]) -> NDArray[np.bool_]:
            if whole is not None:
                return whole[self.candidates.places(positions)] > 0.5
            return predict(classifier, members_of(self._pool, positions)) > 0.5

        self._accepts = accepts
        self._classifier, self._whole = classifier, whole
        accurate = self._labels > self._settings.threshold
        chosen = regressor_samples(self._settings, accurate, accepts(self._known))
        self._chosen = chosen & self._trained

    def regressor_tasks(self, members: int) -> list[TrainingTask]:
        """What each of some regressors learns."""
        chosen = members_of(self._pool, self._known[self._chosen])
        labels = lifted(self._labels[self._chosen], self._label_floor)
        seeds = [self._seeds[1]] if members == 1 else self._seeds[1].spawn(members)
        return [TrainingTask(chosen, labels, self._settings, seed) for seed in seeds]

    def keep(self, scores: NDArray[np.float32]) -> None:
        """Keeps the predictions (C,) of a run's first trial."""

        def predictions() -> Predictions:
            accepted = None
            if self._classifier is not None:
                whole = self._whole
                if whole is None:
                    whole = self.candidates.plan(self._settings).predict(self._classifier)
                accepted = whole > 0.5
            return Predictions(
                self._known,
                scores,
                has_unit(self._settings),
                accepted,
                self.candidates.positions,
                self._tuning,
            )

        keep_predictions(self.evaluator, predictions)

    def train_best(self, scores: NDArray[np.float32]) -> None:
        """Spends what is left of the budget on the best candidates."""
        best = self.candidates.best_new(scores, self._known, self.evaluator.left, self._accepts)
        self.evaluator.query(best, final=True)


@dataclass(frozen=True)
class MlpPredictor(Preset):
    """One-stage search with a perceptron on a flat encoding: the paper's ablation.

    Attributes:
        name: Name of the method.
        train_samples: Number N of random architectures that it trains on.
        predictor: Architecture and training.
    """

    name: str = "mlp"
    train_samples: int = 172
    kind = "predictor"
    predictor: MlpSettings = field(default_factory=MlpSettings)

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        traces = []
        for seed in seeds:
            sample_seed, regressor_seed = stream(seed, SEARCH_STREAM).spawn(2)
            evaluator = evaluator_of(pool, seed, samples, protocol)
            known, labels = train_sample(
                pool, evaluator, self.train_samples, protocol.sampling, sample_seed
            )
            if not evaluator.done:
                candidates = candidates_of(pool, seed)
                learned = pool.space.encode_flat(pool.take(known))
                weights = train_perceptron(learned, labels, self.predictor, regressor_seed)
                scores = predict_perceptron(weights, encode(pool, candidates))
                unit = has_unit(self.predictor)
                keep_predictions(evaluator, partial(Predictions, known, scores, unit))
                best = candidates.best_new(scores, known, evaluator.left)
                evaluator.query(best, final=True)
            traces.append(evaluator.trace())
        return traces


def regressor_samples(
    settings: GcnSettings, accurate: NDArray[np.bool_], accepted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which samples train the two-stage regressor."""
    if settings.regressor_samples == "all":
        return np.ones(len(accurate), bool)
    chosen = accurate if settings.regressor_samples == "observed" else accepted
    return chosen if chosen.sum() >= FEWEST_ACCEPTED else np.ones(len(accurate), bool)


def preset(name: str, train_samples: int) -> NeuralPredictor | MlpPredictor:
    """The method of a name.

    Args:
        name: "np", "np-one-stage", "np-faithful" or "mlp".
        train_samples: The number N of random cells.

    Raises:
        SettingsError: If there is no such name, or N is too small to learn from.
    """
    if train_samples < 2:
        raise SettingsError(
            f"{name} would train on {train_samples} cells: give it at least 2 to learn from."
        )
    if name == "mlp":
        return MlpPredictor(name, train_samples)
    if name == "np":
        return NeuralPredictor(name, train_samples)
    if name == "np-one-stage":
        return NeuralPredictor(name, train_samples, two_stage=False, predictor=GcnSettings())
    if name == "np-faithful":
        return NeuralPredictor(name, train_samples, predictor=FAITHFUL)
    raise SettingsError(f"{name!r} is no predictor: use np, np-one-stage, np-faithful or mlp.")
