"""Answers the queries of one trial and records what is charged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.search.noise import draw_repeats
from nprep.search.pool import Pool
from nprep.search.rules import (
    MAX_QUERIES_PER_SAMPLE,
    ReplayProtocol,
    is_first_trial,
    noise_seed_of,
)
from nprep.search.trace import Predictions, Trace, trace_of
from nprep.table.view import View


class Evaluator(Protocol):
    """Answers the queries of one trial and records what is charged.

    Each query is a round: its architectures could be trained side by side, so a method asks for as
    many at once as it can.

    Attributes:
        is_first: Whether this is the first trial of a run, whose predictions are kept.
        predictions: Those predictions, once there are any.
    """

    is_first: bool
    predictions: Predictions | None

    @property
    def done(self) -> bool:
        """Whether no further query is answered."""

    @property
    def left(self) -> int:
        """How many trainings in full can still be charged."""

    @property
    def charged(self) -> int:
        """How many trainings were charged so far."""

    def query(
        self, positions: NDArray[np.int32], budget: int | None = None, final: bool = False
    ) -> NDArray[np.float32]:
        """The validation accuracy of each architecture, as one training run gave it.

        Args:
            positions: (N,) int32 positions in the pool.
            budget: Length of the runs in epochs, one of the pool's budgets; None: in full.
            final: Whether these are the trial's last candidates, of which the best is its answer.
                A study that ranks by shorter proxy trainings trains these in full; a table answers
                them as any other.

        Returns:
            (A,) float32 in [0, 1], A <= N: where the samples end first, the last architectures go
            unanswered and the trial is done.
        """

    def trace(self) -> Trace:
        """What was charged so far."""


class OpenPool(Pool, Protocol):
    """A pool that brings its own evaluator, as a study of real trainings does."""

    def evaluator(
        self, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> Evaluator:
        """What answers one trial (see ``evaluator_of``)."""


def evaluator_of(
    pool: Pool, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
) -> Evaluator:
    """What answers the queries of one trial: a table's rows, or the trainings of a study.

    Args:
        pool: The architectures.
        seed: The trial's seed.
        samples: How many trainings in full may be charged.
        protocol: The rules.
    """
    if isinstance(pool, View):
        return TableEvaluator(pool, seed, samples, protocol)
    return cast(OpenPool, pool).evaluator(seed, samples, protocol)


def keep_predictions(evaluator: Evaluator, predict: Callable[[], Predictions]) -> None:
    """Keeps what a trial's predictor predicts for its candidates, if it is to be kept.

    It is for the first trial of a run, where reports show it.

    Args:
        evaluator: Of the trial.
        predict: Gives the predictions; not called if they are not kept.
    """
    if evaluator.is_first:
        evaluator.predictions = predict()


class TableEvaluator:
    """Answers the queries of one trial from a table and records what is charged.

    A query may train for fewer epochs than in full where the view knows what comes of it::

        values = evaluator.query(positions, budget=12)

    Where 108 epochs are a training in full, it is charged 12 / 108 of a sample, 12 epochs and the
    training time of that run. A method that asks for shorter trainings says which, so that a view
    that lacks them is refused before anything runs: ``budgets = (4, 12, 36, 108)`` as an attribute
    of its class.
    """

    def __init__(
        self, view: View, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> None:
        """Prepares a trial.

        Args:
            view: The cells.
            seed: The trial's seed.
            samples: How many trainings in full may be charged, or shorter ones that have as many
                epochs in all.
            protocol: The rules.
        """
        self._view = view
        self._full = view.full_epochs
        self._noise_seed = noise_seed_of(seed)
        self._samples = samples
        self._protocol = protocol
        self._positions: list[NDArray[np.int32]] = []
        self._repeats: list[NDArray[np.uint8]] = []
        self._epochs: list[NDArray[np.uint16]] = []
        self._rounds: list[int] = []
        # By length of training: the cells that were so trained, where they are free then.
        self._seen: dict[int, NDArray[np.bool_]] = {}
        self._over = False
        self.is_first = is_first_trial(seed)
        self.predictions: Predictions | None = None
        self.queries = 0
        self.charged = 0
        self.epochs = 0
        self.seconds = 0.0
        # Of the last query: (A,) seconds that each answer was charged.
        self.last_seconds = np.zeros(0)

    @property
    def done(self) -> bool:
        """Whether no further query is answered."""
        limit = self._protocol.seconds
        return (
            self._over
            or self.epochs >= self._full * self._samples
            or (limit is not None and self.seconds >= limit)
            or self.queries >= MAX_QUERIES_PER_SAMPLE * self._samples
        )

    @property
    def left(self) -> int:
        """How many trainings in full can still be charged."""
        return self._samples - -(-self.epochs // self._full)

    def query(
        self, positions: NDArray[np.int32], budget: int | None = None, final: bool = False
    ) -> NDArray[np.float32]:
        """The validation accuracy of each cell, as one training run gave it.

        Args:
            positions: (N,) int32.
            budget: Length of the runs in epochs, one of ``view.budgets``; None: in full. A cell
                that the view knows no such run of gets a longer one and is charged for it.
            final: Makes no difference here.

        Returns:
            (A,) float32, A <= N: where the budget ends first, the last cells go unanswered and the
            trial is done.

        Raises:
            IndexError: If a position is outside the view.
            SettingsError: If the view has no runs of that length.
        """
        budget = self._full if budget is None else budget
        positions = np.atleast_1d(np.asarray(positions, np.int32))
        if len(positions) and (positions.min() < 0 or positions.max() >= len(self._view)):
            raise IndexError(f"a cell was asked for outside positions 0 to {len(self._view) - 1}")
        allowed = MAX_QUERIES_PER_SAMPLE * self._samples - self.queries
        wanted = len(positions)
        positions = positions[:allowed]
        if budget == self._full:
            epochs = np.full(len(positions), self._full, np.uint16)
            validation, seconds = self._view.validation, self._view.training_seconds
        else:
            fidelity = self._view.at(budget)
            epochs = fidelity.epochs[positions]
            validation, seconds = fidelity.validation, fidelity.training_seconds
        new = self._new(positions, budget)
        if self._protocol.repeats == "query":
            counters = np.arange(self.queries, self.queries + len(positions), dtype=np.int64)
        else:
            # Trainings of different lengths are different runs.
            counters = positions + (
                np.where(epochs == self._full, 0, epochs).astype(np.int64) << 32
            )
        repeats = draw_repeats(validation, self._noise_seed, positions, counters)
        costs = np.where(new, epochs, 0).astype(np.int64)
        fits = self.epochs + np.cumsum(costs) <= self._full * self._samples
        limit = self._protocol.seconds
        times = np.where(new, seconds[positions, repeats], np.float32(0)).astype(np.float64)
        if limit is not None:
            spent = self.seconds + np.concatenate([[0.0], np.cumsum(times)])[:-1]
            fits &= ~new | (spent < limit)
        answered = len(fits) if fits.all() else int(np.argmin(fits))
        self._over = answered < wanted
        positions, repeats, new = positions[:answered], repeats[:answered], new[:answered]
        if self._protocol.duplicates == "free":
            self._seen[budget][positions] = True
        if new.any():
            self._rounds.append(self.charged)
        self._positions.append(positions[new])
        self._repeats.append(repeats[new])
        self._epochs.append(epochs[:answered][new])
        self.queries += answered
        self.charged += int(new.sum())
        self.epochs += int(costs[:answered].sum())
        self.last_seconds = times[:answered]
        self.seconds += float(self.last_seconds.sum())
        return validation[positions, repeats]

    def _new(self, positions: NDArray[np.int32], budget: int) -> NDArray[np.bool_]:
        """(N,): which queries are charged."""
        if self._protocol.duplicates != "free":
            return np.ones(len(positions), bool)
        if budget not in self._seen:
            self._seen[budget] = np.zeros(len(self._view), bool)
        first = np.zeros(len(positions), bool)
        first[np.unique(positions, return_index=True)[1]] = True
        return first & ~self._seen[budget][positions]

    def trace(self) -> Trace:
        """What was charged so far."""
        none = np.zeros(0, np.int32)
        positions = np.concatenate([none, *self._positions])
        repeats = np.concatenate([none.astype(np.uint8), *self._repeats])
        epochs = np.concatenate([none.astype(np.uint16), *self._epochs])
        short = bool((epochs != self._full).any())
        trace = trace_of(self._view, positions, repeats, epochs if short else None, self._rounds)
        return replace(trace, predictions=self.predictions)
