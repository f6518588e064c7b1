"""Search with a regressor of your own: anything with ``fit`` and ``predict``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.search.evaluator import TableEvaluator, keep_predictions
from nprep.search.method import Preset
from nprep.search.neural_predictor import best_new, train_sample
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Predictions, Trace
from nprep.spaces.nb101.cells import CellBatch, encode_flat
from nprep.table.view import View


class Regressor(Protocol):
    """What a predictor must be able to do; scikit-learn's regressors are."""

    def fit(self, features: NDArray[Any], labels: NDArray[Any], /) -> object:
        """Learns from (N, F) features and (N,) accuracies in [0, 1]."""

    def predict(self, features: NDArray[Any], /) -> NDArray[Any]:
        """Predicts (M,) accuracies, or anything in their order, from (M, F) features."""


@dataclass(frozen=True)
class RegressorSearch(Preset):
    """Trains N random cells, fits a regressor to them and trains the K cells it thinks best.

    Attributes:
        name: Name of the method.
        make: Makes an untrained regressor from a seed; called once a trial.
        train_samples: Number N of random cells that it trains on.
        encode: Gives the (M, F) features of M cells.
    """

    make: Callable[[int], Regressor]
    train_samples: int = 172
    kind = "predictor"
    encode: Callable[[CellBatch], NDArray[Any]] = encode_flat

    def settings(self) -> dict[str, object]:
        """The fields, and where functions come from."""
        return {
            "name": self.name,
            "train_samples": self.train_samples,
            "regressor": _origin(self.make),
            "features": _origin(self.encode),
        }

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see :class:`nprep.search.method.Method`).

        Raises:
            SettingsError: If the regressor does not give one finite number a cell.
        """
        features = np.asarray(self.encode(view.cells))
        traces = []
        for seed in seeds:
            sample_seed, regressor_seed = stream(seed, SEARCH_STREAM).spawn(2)
            evaluator = TableEvaluator(view, seed, samples, protocol)
            known, labels = train_sample(
                view, evaluator, self.train_samples, protocol.sampling, sample_seed
            )
            if not evaluator.done:
                regressor = self.make(int(regressor_seed.generate_state(1)[0]))
                regressor.fit(features[known], labels)
                scores = np.asarray(regressor.predict(features))
                if scores.shape != (len(view),) or not np.isfinite(scores).all():
                    raise SettingsError(
                        f"the regressor of method {self.name!r} gives {scores.shape} numbers for "
                        f"{len(view)} cells, or some that are not finite: predict must give one "
                        "finite number a cell."
                    )
                scores = scores.astype(np.float32)
                # A regressor of one's own may predict anything that ascends with accuracy.
                keep_predictions(evaluator, partial(Predictions, known, scores, unit=False))
                left = samples - evaluator.charged
                evaluator.query(best_new(scores, known, left))
            traces.append(evaluator.trace())
        return traces


def _origin(function: object) -> str:
    """Where a function is defined, for outputs."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}:{name}"
