"""Predictors of stored trials, trained once more: a run keeps queries, not weights.

The training cells, their accuracies and all seeds of a trial are known, so the same predictor
comes out, whatever has run the trial, but for the last digits of another processor; that it asks
for the same cells as the stored trial did is checked every time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.runs.folder import Results
from nprep.search.rules import SEARCH_STREAM, stream, trial_seed
from nprep.table.view import View


@dataclass(frozen=True)
class Predictions:
    """What a trial's predictor says of every cell.

    Attributes:
        known: (N,) int32 positions of the cells that it was trained on.
        scores: (M,) float32; its predictions of validation accuracy in [0, 1], if they have a unit.
        unit: Whether they have one; else only their order means something.
        accepted: (M,) bool; what the classifier takes for accurate; None without one.
        same: Whether it asks for the cells that the stored trial asked for, in that order.
    """

    known: NDArray[np.int32]
    scores: NDArray[np.float32]
    unit: bool
    accepted: NDArray[np.bool_] | None
    same: bool


def can_refit(settings: dict[str, Any]) -> bool:
    """Whether a method's settings, as ``settings.json`` has them, are those of such a predictor."""
    needed = {"name", "train_samples", "predictor"}
    return needed <= set(settings) <= needed | {"two_stage", "backend"}


def refit(
    settings: dict[str, Any], seed: int, trial: int, results: Results, view: View
) -> Predictions:
    """Trains the predictor of a stored trial again.

    Args:
        settings: The method's, as ``settings.json`` has them.
        seed: Of the replay.
        trial: Number of the trial.
        results: Of all trials of the method.
        view: The cells, as the protocol shows them.

    Raises:
        SettingsError: If the method is not one of those whose predictors are known here.
    """
    # Kernels of predictors cost time to load, which a report without them need not pay.
    from nprep.search.neural_predictor import best_new

    if not can_refit(settings):
        raise SettingsError(
            f"the predictors of method {settings.get('name')!r} cannot be trained again: only "
            "those of np, np-one-stage, np-faithful and mlp are known."
        )
    length = int(results.lengths[trial])
    positions = results.positions[trial, :length]
    repeats = results.repeats[trial, :length]
    sample = min(int(settings["train_samples"]), length)
    _, first = np.unique(positions[:sample], return_index=True)
    # In the order drawn, which decides the first batches.
    first = np.sort(first)
    known = positions[first]
    labels = view.validation[known, repeats[first]]
    seeds = stream(trial_seed(seed, str(settings["name"]), trial), SEARCH_STREAM)
    train = _train_gcn if "two_stage" in settings else _train_perceptron
    scores, unit, accepts = train(settings, view, known, labels, seeds)
    chosen = positions[sample:]
    asked = best_new(scores, known, len(chosen), accepts)
    accepted = None
    if accepts is not None:
        accepted = accepts(np.arange(len(view), dtype=np.int32))
    return Predictions(known, scores, unit, accepted, bool(np.array_equal(asked, chosen)))


_Trained = tuple[NDArray[np.float32], bool, Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None]


def _train_gcn(
    settings: dict[str, Any],
    view: View,
    known: NDArray[np.int32],
    labels: NDArray[np.float32],
    seeds: np.random.SeedSequence,
) -> _Trained:
    from nprep.predictor.gcn import train
    from nprep.predictor.plan import predict
    from nprep.predictor.settings import GcnSettings
    from nprep.search.neural_predictor import plan_of, regressor_samples

    _, classifier_seed, regressor_seed = seeds.spawn(3)
    predictor = GcnSettings(**_tuples(settings["predictor"])).for_samples(len(known))
    accepts = None
    chosen = np.ones(len(known), bool)
    if settings["two_stage"]:
        accurate = labels > predictor.threshold
        classifier = train(view.cells.take(known), accurate, predictor, classifier_seed)

        def accepts(positions: NDArray[np.int32]) -> NDArray[np.bool_]:
            return predict(classifier, view.cells.take(positions)) > 0.5

        chosen = regressor_samples(predictor, accurate, accepts(known))
    regressor = train(view.cells.take(known[chosen]), labels[chosen], predictor, regressor_seed)
    scores = predict(regressor, plan_of(view, predictor))
    return scores, regressor.scale.kind != "score", accepts


def _train_perceptron(
    settings: dict[str, Any],
    view: View,
    known: NDArray[np.int32],
    labels: NDArray[np.float32],
    seeds: np.random.SeedSequence,
) -> _Trained:
    from nprep.predictor.mlp import predict_perceptron, train_perceptron
    from nprep.predictor.settings import MlpSettings
    from nprep.spaces.nb101.cells import encode_flat

    _, regressor_seed = seeds.spawn(2)
    features = encode_flat(view.cells)
    predictor = MlpSettings(**_tuples(settings["predictor"]))
    weights = train_perceptron(features[known], labels, predictor, regressor_seed)
    unit = predictor.loss != "ranking" and predictor.labels != "normal-scores"
    return predict_perceptron(weights, features), unit, None


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Settings from JSON, which has lists where they have tuples."""
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
    }
