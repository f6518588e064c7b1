"""Answers the queries of a method by training: the other of the two evaluators.

A network that a method asks for again costs nothing: its training is known. A training that failed
(the loss was no number, the network did not fit in memory) answers 0, which no method likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.imagenet.study.pool import StudyPool
from nprep.search.rules import MAX_QUERIES_PER_SAMPLE
from nprep.search.trace import Predictions, Trace

FAILED = 0.0


@dataclass(frozen=True)
class Answer:
    """What a training gave.

    Attributes:
        accuracy: Top-1 on the validation images, in [0, 1]; None if it failed.
        seconds: Time of training.
    """

    accuracy: float | None
    seconds: float


class NetworkTrainer(Protocol):
    """Trains networks for one method; what was trained before is answered at once."""

    separate: bool

    def answer(self, batch: Any, final: bool, promoted: bool = False) -> list[Answer]:
        """Trains networks, side by side as far as there is room.

        Args:
            batch: The networks.
            final: Whether they are trained in full, where proxy trainings are shorter.
            promoted: Whether the study chose them, not the method.
        """


class StudyEvaluator:
    """One trial of a study (see ``nprep.search.evaluator.Evaluator``).

    Attributes:
        is_first: A method has one trial in a study, whose predictions are kept.
        predictions: What the method's predictor said, once it did.
        failed: Positions whose training failed.
        said_final: Whether the method named its last candidates.
    """

    def __init__(self, pool: StudyPool, trainer: NetworkTrainer, samples: int) -> None:
        """Prepares a trial.

        Args:
            pool: The architectures.
            trainer: Trains them.
            samples: How many trainings may be charged.
        """
        self._pool, self._trainer, self._samples = pool, trainer, samples
        self._values: dict[tuple[bool, int], float] = {}
        self._positions: list[int] = []
        self._charged_values: list[float] = []
        self._seconds: list[float] = []
        self._rounds: list[int] = []
        self._queries = 0
        self._over = False
        self.is_first = True
        self.predictions: Predictions | None = None
        self.failed: set[int] = set()
        self.said_final = False

    @property
    def done(self) -> bool:
        """Whether no further query is answered."""
        return (
            self._over or self.left <= 0 or self._queries >= MAX_QUERIES_PER_SAMPLE * self._samples
        )

    @property
    def left(self) -> int:
        """How many trainings can still be charged."""
        return self._samples - self.charged

    @property
    def charged(self) -> int:
        """How many trainings were charged so far."""
        return len(self._positions)

    def query(
        self, positions: NDArray[np.int32], budget: int | None = None, final: bool = False
    ) -> NDArray[np.float32]:
        """Trains architectures (see ``nprep.search.evaluator.Evaluator``).

        Raises:
            IndexError: If a position is outside the pool.
            SettingsError: If trainings of that length were not agreed on.
        """
        positions = np.atleast_1d(np.asarray(positions, np.int32))
        if len(positions) and (positions.min() < 0 or positions.max() >= len(self._pool)):
            raise IndexError(
                f"a network was asked for outside positions 0 to {len(self._pool) - 1}"
            )
        if budget is not None and budget not in self._pool.budgets:
            raise SettingsError(
                f"a method asks for trainings of {budget} epochs, and this study trains for "
                f"{', '.join(map(str, self._pool.budgets))}: use a method that trains in full."
            )
        self.said_final |= final
        final = final or not self._trainer.separate
        answered: list[int] = []
        new: list[int] = []
        for position in positions.tolist():
            known = (final, position) in self._values or position in new
            if not known and len(new) == self.left:
                break
            if self._queries + len(answered) >= MAX_QUERIES_PER_SAMPLE * self._samples:
                break
            answered.append(position)
            if not known:
                new.append(position)
        self._over = len(answered) < len(positions)
        self._queries += len(answered)
        if new:
            self._train(new, final)
        return np.array([self._values[final, position] for position in answered], np.float32)

    def _train(self, new: list[int], final: bool, promoted: bool = False) -> None:
        batch = self._pool.take(np.array(new, np.int32))
        self._rounds.append(self.charged)
        answers = self._trainer.answer(batch, final, promoted)
        for position, answer in zip(new, answers, strict=True):
            if answer.accuracy is None:
                self.failed.add(position)
            value = FAILED if answer.accuracy is None else answer.accuracy
            self._values[final, position] = value
            self._charged_values.append(value)
            self._positions.append(position)
            self._seconds.append(answer.seconds)

    def promote(self, count: int) -> None:
        """Trains the best of the proxy trainings in full, for a method that names no last ones.

        Args:
            count: How many; failures are left out.
        """
        tried = [p for final, p in self._values if not final and p not in self.failed]
        best = sorted(tried, key=lambda position: -self._values[False, position])[:count]
        if best:
            self._train(best, final=True, promoted=True)

    def trace(self) -> Trace:
        """What was charged so far."""
        return Trace(
            np.array(self._positions, np.int32),
            np.zeros(len(self._positions), np.uint8),
            np.array(self._charged_values, np.float32),
            np.array(self._seconds, np.float32),
            None,
            np.array(self._rounds, np.int32),
        )
