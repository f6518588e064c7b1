"""Search with a regressor of your own: anything with ``fit`` and ``predict``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.search.evaluator import evaluator_of, keep_predictions
from nprep.search.method import Preset
from nprep.search.pool import Pool
from nprep.search.predicting import candidates_of, train_sample
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Predictions, Trace


class Regressor(Protocol):
    """What a predictor must be able to do; scikit-learn's regressors are."""

    def fit(self, features: NDArray[Any], labels: NDArray[Any], /) -> object:
        """Learns from (N, F) features and (N,) accuracies in [0, 1]."""

    def predict(self, features: NDArray[Any], /) -> NDArray[Any]:
        """Predicts (M,) accuracies, or anything in their order, from (M, F) features."""


@dataclass(frozen=True)
class RegressorSearch(Preset):
    """Trains N random architectures, fits a regressor and trains the K that it predicts best.

    Attributes:
        name: Name of the method.
        make: Makes an untrained regressor from a seed; called once a trial.
        train_samples: Number N of random architectures that it trains on.
        encode: Gives the (M, F) features of a batch of M architectures; None takes the flat
            encoding of the space.
    """

    make: Callable[[int], Regressor]
    train_samples: int = 172
    kind = "predictor"
    encode: Callable[[Any], NDArray[Any]] | None = None

    def settings(self) -> dict[str, object]:
        """The fields, and where functions come from."""
        return {
            "name": self.name,
            "train_samples": self.train_samples,
            "regressor": _origin(self.make),
            "features": "encode_flat" if self.encode is None else _origin(self.encode),
        }

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``).

        Raises:
            SettingsError: If the regressor does not give one finite number a cell.
        """
        encode = self.encode or pool.space.encode_flat
        everything = None
        traces = []
        for seed in seeds:
            sample_seed, regressor_seed = stream(seed, SEARCH_STREAM).spawn(2)
            evaluator = evaluator_of(pool, seed, samples, protocol)
            known, labels = train_sample(
                pool, evaluator, self.train_samples, protocol.sampling, sample_seed
            )
            if not evaluator.done:
                candidates = candidates_of(pool, seed)
                if everything is None or not pool.closed:
                    everything = np.asarray(encode(pool.take(candidates.positions)))
                regressor = self.make(int(regressor_seed.generate_state(1)[0]))
                # What an encoding makes of one architecture may depend on the others.
                learned = everything[known] if pool.closed else encode(pool.take(known))
                regressor.fit(np.asarray(learned), labels)
                scores = np.asarray(regressor.predict(everything))
                if scores.shape != (len(candidates),) or not np.isfinite(scores).all():
                    raise SettingsError(
                        f"the regressor of method {self.name!r} gives {scores.shape} numbers for "
                        f"{len(candidates)} cells, or some that are not finite: predict must give "
                        "one finite number a cell."
                    )
                scores = scores.astype(np.float32)
                # A regressor of one's own may predict anything that ascends with accuracy.
                keep_predictions(evaluator, partial(Predictions, known, scores, unit=False))
                best = candidates.best_new(scores, known, evaluator.left)
                evaluator.query(best, final=True)
            traces.append(evaluator.trace())
        return traces


def _origin(function: object) -> str:
    """Where a function is defined, for outputs."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}:{name}"
