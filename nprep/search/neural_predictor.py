"""The neural predictor (Wen et al., 2020) as a search method, and its ablations.

A trial draws N random cells, trains them (that is, queries their validation accuracy), fits a
predictor, predicts every cell of the view and trains the top K that are new, best first. The
two-stage predictor first tells accurate cells (validation above 91 %) from the rest with a
classifier, and fits its regressor to those that the classifier accepts.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.numeric.rng import seed_state, shuffle
from nprep.kernels.search.evolution import draw_positions
from nprep.predictor.backends.base import Backend, TrainingTask, predictions
from nprep.predictor.backends.make import make_backend
from nprep.predictor.gcn import GcnWeights
from nprep.predictor.labels import has_unit
from nprep.predictor.mlp import predict_perceptron, train_perceptron
from nprep.predictor.plan import SharingPlan, predict
from nprep.predictor.plan_store import stored_plan
from nprep.predictor.settings import FAITHFUL, GcnSettings, MlpSettings
from nprep.search.baselines import space_of
from nprep.search.evaluator import TableEvaluator, keep_predictions
from nprep.search.method import Preset
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Predictions, Trace
from nprep.spaces.nb101.cells import encode_flat
from nprep.table.view import View

# A regressor needs samples; a classifier that accepts fewer than this is not listened to.
FEWEST_ACCEPTED = 10
# Of ``np-one-stage``: lifts what failed, about one training in a hundred, and little else.
ONE_STAGE_FLOOR = 0.1
# Cells that are classified at a time, best predicted first.
_CLASSIFIED_AT_ONCE = 2048


class _ViewCache:
    """What was derived from the view in use: a plan costs more than a prediction with it.

    Nothing but time depends on it, and it goes when the view goes.
    """

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._view: weakref.ref[View] | None = None
        self._derived: dict[object, Any] = {}

    def get(self, view: View, key: object, derive: Callable[[], Any]) -> Any:
        """What ``derive`` makes of the view, made once."""
        if self._view is None or self._view() is not view:
            self._view = weakref.ref(view, lambda _: self._derived.clear())
            self._derived = {}
        if key not in self._derived:
            self._derived[key] = derive()
        return self._derived[key]


_CACHE = _ViewCache()


def plan_of(view: View, settings: GcnSettings) -> SharingPlan:
    """The plan for predicting all cells of a view with predictors of these settings."""
    return _CACHE.get(
        view,
        (settings.normalisation, settings.layers),
        lambda: stored_plan(view.cells, settings.normalisation, settings.layers),
    )


def backend_of(view: View, name: str) -> Backend:
    """The backend of a name, kept with what it holds for the view in use."""
    return _CACHE.get(view, ("backend", name), lambda: make_backend(name))


def draw_sample(
    view: View, count: int, sampling: str, state: NDArray[np.uint64]
) -> NDArray[np.int32]:
    """Draws the cells that a predictor is trained on.

    Args:
        view: The cells.
        count: How many.
        sampling: "cells": uniformly, all different; "specs": by the official sampler of random
            matrices, which may draw a cell again.
        state: (4,) generator state, advanced.

    Returns:
        (N,) int32 positions; fewer than ``count`` where the view has fewer cells.
    """
    if sampling == "specs":
        drawn = np.empty(count, np.int32)
        draw_positions(state, space_of(view), True, drawn)
        return drawn
    everything = np.arange(len(view), dtype=np.int32)
    shuffle(state, everything)
    return everything[:count]


def best_new(
    scores: NDArray[np.float32],
    known: NDArray[np.int32],
    count: int,
    accepts: Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None = None,
) -> NDArray[np.int32]:
    """The cells with the highest scores, best first, those known left out.

    Args:
        scores: (M,) predictions.
        known: Positions to leave out.
        count: K.
        accepts: Tells for some positions which are worth training, or None. Cells are passed
            to it in the order of their scores until enough are accepted; the result is the same as
            if all were passed. Cells that it refuses come after all that it accepts.

    Returns:
        (K,) int32 positions; fewer where fewer cells are left. Equal scores go by position.
    """
    new = np.ones(len(scores), bool)
    new[known] = False
    wanted = max(count, _CLASSIFIED_AT_ONCE)
    accepted: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    refused: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    left = np.flatnonzero(new).astype(np.int32)
    found = 0
    while len(left) and found < count:
        if len(left) > wanted:
            limit = np.partition(scores[left], len(left) - wanted)[len(left) - wanted]
            inside = scores[left] >= limit
            head, left = left[inside], left[~inside]
        else:
            head, left = left, left[:0]
        head = head[np.argsort(-scores[head], kind="stable")]
        good = np.ones(len(head), bool) if accepts is None else accepts(head)
        accepted.append(head[good])
        refused.append(head[~good])
        found += int(good.sum())
        wanted *= 2
    return np.concatenate([*accepted, *refused])[:count]


@dataclass(frozen=True)
class NeuralPredictor(Preset):
    """The neural predictor.

    Attributes:
        name: Name of the method.
        train_samples: Number N of random cells that it trains on.
        two_stage: Whether a classifier comes before the regressor.
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
            regressors = backend.train([trial.regressor_task() for trial in learning])
            for trial, scores in zip(learning, predictions(backend, plan, regressors), strict=True):
                trial.keep(scores, plan)
                trial.train_best(scores)
        return [trial.evaluator.trace() for trial in trials]


def accept_by_classifiers(
    backend: Backend, plan: SharingPlan, trials: Sequence[PredictorTrial]
) -> None:
    """Trains the classifiers of trials and has them decide which cells are worth training."""
    classifiers = backend.train([trial.classifier_task() for trial in trials])
    whole = predictions(backend, plan, classifiers) if backend.whole else None
    for trial, classifier in zip(trials, classifiers, strict=True):
        trial.accept_by(classifier, None if whole is None else next(whole))


class PredictorTrial:
    """One trial of :class:`NeuralPredictor`, between the steps that its block does together."""

    def __init__(
        self,
        method: NeuralPredictor,
        view: View,
        seed: np.random.SeedSequence,
        samples: int,
        protocol: ReplayProtocol,
    ) -> None:
        """Draws the sample and has it trained."""
        sample_seed, *self._seeds = stream(seed, SEARCH_STREAM).spawn(3)
        self._view = view
        self._samples = samples
        self.evaluator = TableEvaluator(view, seed, samples, protocol)
        self._known, self._labels = train_sample(
            view, self.evaluator, method.train_samples, protocol.sampling, sample_seed
        )
        self._settings = method.predictor.for_samples(len(self._known))
        self._label_floor = method.label_floor
        self._chosen = np.ones(len(self._known), bool)
        self._accepts: Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None = None
        self._classifier: GcnWeights | None = None
        self._whole: NDArray[np.float32] | None = None

    def classifier_task(self) -> TrainingTask:
        """What the classifier learns."""
        accurate = self._labels > self._settings.threshold
        cells = self._view.cells.take(self._known)
        return TrainingTask(cells, accurate, self._settings, self._seeds[0])

    def accept_by(self, classifier: GcnWeights, whole: NDArray[np.float32] | None) -> None:
        """Takes the trained classifier, and its predictions for all cells if they are there."""

        def accepts(positions: NDArray[np.int32]) -> NDArray[np.bool_]:
            if whole is not None:
                return whole[positions] > 0.5
            return predict(classifier, self._view.cells.take(positions)) > 0.5

        self._accepts = accepts
        self._classifier, self._whole = classifier, whole
        accurate = self._labels > self._settings.threshold
        self._chosen = regressor_samples(self._settings, accurate, accepts(self._known))

    def regressor_task(self) -> TrainingTask:
        """What the regressor learns."""
        cells = self._view.cells.take(self._known[self._chosen])
        labels = lifted(self._labels[self._chosen], self._label_floor)
        return TrainingTask(cells, labels, self._settings, self._seeds[1])

    def keep(self, scores: NDArray[np.float32], plan: SharingPlan) -> None:
        """Keeps the predictions of a run's first trial.

        Args:
            scores: (M,) of the regressor.
            plan: By which all architectures are predicted.
        """

        def predictions() -> Predictions:
            accepted = None
            if self._classifier is not None:
                whole = predict(self._classifier, plan) if self._whole is None else self._whole
                accepted = whole > 0.5
            return Predictions(self._known, scores, has_unit(self._settings), accepted)

        keep_predictions(self.evaluator, predictions)

    def train_best(self, scores: NDArray[np.float32]) -> None:
        """Spends what is left of the budget on the best cells."""
        _train_best(self.evaluator, scores, self._known, self._samples, self._accepts)


@dataclass(frozen=True)
class MlpPredictor(Preset):
    """One-stage search with a perceptron on a flat encoding: the paper's ablation.

    Attributes:
        name: Name of the method.
        train_samples: Number N of random cells that it trains on.
        predictor: Architecture and training.
    """

    name: str = "mlp"
    train_samples: int = 172
    kind = "predictor"
    predictor: MlpSettings = field(default_factory=MlpSettings)

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see :class:`nprep.search.method.Method`)."""
        features = _CACHE.get(view, "flat", lambda: encode_flat(view.cells))
        traces = []
        for seed in seeds:
            sample_seed, regressor_seed = stream(seed, SEARCH_STREAM).spawn(2)
            evaluator = TableEvaluator(view, seed, samples, protocol)
            known, labels = train_sample(
                view, evaluator, self.train_samples, protocol.sampling, sample_seed
            )
            if not evaluator.done:
                weights = train_perceptron(features[known], labels, self.predictor, regressor_seed)
                scores = predict_perceptron(weights, features)
                unit = has_unit(self.predictor)
                keep_predictions(evaluator, partial(Predictions, known, scores, unit))
                _train_best(evaluator, scores, known, samples, None)
            traces.append(evaluator.trace())
        return traces


def train_sample(
    view: View,
    evaluator: TableEvaluator,
    count: int,
    sampling: str,
    seed: np.random.SeedSequence,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Queries random cells; returns those answered, each once, and their first values."""
    positions = draw_sample(view, count, sampling, seed_state(seed))
    values = evaluator.query(positions)
    _, first = np.unique(positions[: len(values)], return_index=True)
    # In the order drawn: unique() sorts, and the order decides the first batches.
    first = np.sort(first)
    return positions[first], values[first]


def lifted(labels: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Labels, those below a quantile of them replaced by it.

    Args:
        labels: (N,) accuracies.
        floor: The quantile, 0 to below 1; 0 replaces nothing.
    """
    raised: NDArray[np.float32] = np.maximum(labels, np.quantile(labels, floor).astype(np.float32))
    return raised


def regressor_samples(
    settings: GcnSettings, accurate: NDArray[np.bool_], accepted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which samples train the two-stage regressor."""
    if settings.regressor_samples == "all":
        return np.ones(len(accurate), bool)
    chosen = accurate if settings.regressor_samples == "observed" else accepted
    return chosen if chosen.sum() >= FEWEST_ACCEPTED else np.ones(len(accurate), bool)


def _train_best(
    evaluator: TableEvaluator,
    scores: NDArray[np.float32],
    known: NDArray[np.int32],
    samples: int,
    accepts: Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None,
) -> None:
    """Spends what is left of the budget on the best cells."""
    evaluator.query(best_new(scores, known, samples - evaluator.charged, accepts))


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
            f"{name} would train on {train_samples} cells: give it at least 2 to learn from"
        )
    if name == "mlp":
        return MlpPredictor(name, train_samples)
    if name == "np":
        return NeuralPredictor(name, train_samples)
    if name == "np-one-stage":
        return NeuralPredictor(name, train_samples, two_stage=False, predictor=GcnSettings())
    if name == "np-faithful":
        return NeuralPredictor(name, train_samples, predictor=FAITHFUL)
    raise SettingsError(f"{name!r} is no predictor: use np, np-one-stage, np-faithful or mlp")
