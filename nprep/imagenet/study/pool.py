"""The architectures of a study by position: all of a small space, a growing list of a large one.

Both are pools (see ``nprep.search.pool``), so every method that searches a table searches a
study. What lies outside the study's limits is not in the pool. A method that is run again with the
same seed draws the same architectures, and the same positions.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.imagenet.study.limits import Limits
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.search.evaluator import Evaluator
from nprep.search.rules import ReplayProtocol
from nprep.spaces.base import Space
from nprep.spaces.choices import ChoiceSpace

# Spaces up to this size are listed whole.
MOST_LISTED = 1 << 20
# Draws before limits count as unsatisfiable: so many, or so many for each wanted network.
MAX_DRAWS, MAX_DRAWS_EACH = 300_000, 2_000
# Mutations that leave the limits are drawn again so often.
MAX_REDRAWS = 1000
_AT_LEAST = 1024

# Makes the evaluator of one trial: of a pool, its samples and the protocol.
MakeEvaluator = Callable[["StudyPool", int, ReplayProtocol], Evaluator]


@dataclass
class StudyPool(abc.ABC):
    """What the two pools have in common.

    Attributes:
        limits: The space, and what its architectures may cost.
        num_candidates: How many random architectures a predictor ranks, where not all are listed.
        epochs: Length of a training in full.
        parallel: Trainings at a time, which a method may ask for at once.
        threads: Threads for a method's predictor.
        make_evaluator: What answers a trial; None in a pool that is only looked at.
    """

    limits: Limits
    num_candidates: int = 1000
    epochs: int = 1
    parallel: int = 1
    threads: int = 1
    make_evaluator: MakeEvaluator | None = field(default=None, repr=False)

    name = "study"
    closed = False

    @abc.abstractmethod
    def __post_init__(self) -> None:
        """Prepares the list of architectures."""

    @property
    def space(self) -> Space:
        """The space of its architectures."""
        return self.limits.space

    @property
    def budgets(self) -> tuple[int, ...]:
        """Trainings in full alone."""
        return (self.epochs,)

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of positions that are known."""

    @abc.abstractmethod
    def find(self, batch: Any) -> NDArray[np.int32]:
        """The positions of (N,) architectures; -1 outside the limits."""

    @abc.abstractmethod
    def take(self, positions: NDArray[np.integer]) -> Any:
        """The architectures at some positions, as a batch of the space."""

    @abc.abstractmethod
    def sample(
        self, count: int, rng: np.random.Generator, sampling: str = "cells"
    ) -> NDArray[np.int32]:
        """(count,) positions of random architectures, with repetition."""

    @abc.abstractmethod
    def candidates(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """What a predictor ranks: (C,) positions, ascending, all different."""

    def mutate(self, positions: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        """One random child of each architecture, redrawn outside the limits: (N,) positions.

        Raises:
            SettingsError: If an architecture has no child within them, as far as chance can tell.
        """
        positions = np.asarray(positions, np.int32)
        children = np.full(len(positions), -1, np.int32)
        for _ in range(MAX_REDRAWS):
            missing = np.flatnonzero(children < 0)
            if not len(missing):
                return children
            parents = self.take(positions[missing])
            children[missing] = self.find(self.space.mutate(parents, rng))
        raise SettingsError(
            f"{MAX_REDRAWS} mutations of one network all lie outside the limits "
            f"({self.limits.describe()}): widen them."
        )

    def neighbours(self, position: int) -> NDArray[np.int32]:
        """All architectures within the limits one step away from one of them, ascending."""
        found = self.find(self.space.neighbours(self.take(np.array([position]))))
        return np.unique(found[found >= 0])

    def evaluator(
        self, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> Evaluator:
        """What answers one trial: the trainings of the study, which have a seed of their own."""
        assert self.make_evaluator is not None
        return self.make_evaluator(self, samples, protocol)

    def check(self, count: int) -> None:
        """Finds out whether there are enough architectures within the limits.

        Args:
            count: How many different ones a study needs.

        Raises:
            SettingsError: If there are not, as far as chance can tell.
        """
        looked = self
        if not self.closed and self.num_candidates < count:
            looked = replace(self, num_candidates=count)
        found = len(looked.candidates(np.random.default_rng(0)))
        if found < count:
            raise SettingsError(
                f"only {found} of {count} networks were found within the limits "
                f"({self.limits.describe()}): widen them."
            )


class ListedPool(StudyPool):
    """All architectures of a small space that are within the limits."""

    closed = True

    def __post_init__(self) -> None:
        """Enumerates the space."""
        everything = self.space.enumerate()
        self._batch = everything.take(np.flatnonzero(self.limits.hold(everything)))
        self._index = KeyIndex.build(self.space.keys(self._batch))

    def __len__(self) -> int:
        """The number of architectures."""
        return len(self._batch)

    @property
    def cells(self) -> Any:
        """All of them, as a batch of the space."""
        return self._batch

    def find(self, batch: Any) -> NDArray[np.int32]:
        """See ``StudyPool``."""
        return self._index.find(self.space.keys(batch))

    def take(self, positions: NDArray[np.integer]) -> Any:
        """See ``StudyPool``."""
        return self._batch.take(positions)

    def sample(
        self, count: int, rng: np.random.Generator, sampling: str = "cells"
    ) -> NDArray[np.int32]:
        """Uniformly drawn positions."""
        return rng.integers(len(self), size=count, dtype=np.int32)

    def candidates(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """All of them."""
        return np.arange(len(self), dtype=np.int32)


class DrawnPool(StudyPool):
    """The architectures of a large space that were drawn so far."""

    def __post_init__(self) -> None:
        """Begins empty."""
        self._codes = np.zeros((_AT_LEAST, self.space.code_width), np.uint8)
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        """The number of architectures that were drawn."""
        return len(self._places)

    def find(self, batch: Any) -> NDArray[np.int32]:
        """The positions of (N,) architectures, which are taken in; -1 outside the limits."""
        positions = np.full(len(batch), -1, np.int32)
        inside = np.flatnonzero(self.limits.hold(batch))
        if not len(inside):
            return positions
        batch = batch.take(inside)
        keys, codes = self.space.keys(batch).tolist(), self.space.to_codes(batch)
        for row, key, code in zip(inside, keys, codes, strict=True):
            place = self._places.setdefault(key, len(self._places))
            if place == len(self._codes):
                self._codes = np.concatenate([self._codes, np.zeros_like(self._codes)])
            self._codes[place] = code
            positions[row] = place
        return positions

    def take(self, positions: NDArray[np.integer]) -> Any:
        """See ``StudyPool``."""
        return self.space.from_codes(self._codes[: len(self)][positions])

    def sample(
        self, count: int, rng: np.random.Generator, sampling: str = "cells"
    ) -> NDArray[np.int32]:
        """Uniformly drawn positions, with repetition.

        Raises:
            SettingsError: If the limits leave next to nothing.
        """
        found: list[NDArray[np.int32]] = []
        missing, draws = count, 0
        while missing > 0:
            self._refuse_many(draws, count, count - missing)
            block = self.space.sample(max(_AT_LEAST, missing), rng)
            draws += len(block)
            kept = block.take(np.flatnonzero(self.limits.hold(block))[:missing])
            found.append(self.find(kept))
            missing -= len(kept)
        return np.concatenate([np.zeros(0, np.int32), *found])

    def candidates(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """Random positions, ascending, all different.

        As many as the study says, or fewer where chance finds no more.
        """
        seen: set[int] = set()
        draws = 0
        while len(seen) < self.num_candidates:
            if draws > max(MAX_DRAWS, 20 * self.num_candidates):
                break
            block = self.space.sample(max(_AT_LEAST, self.num_candidates - len(seen)), rng)
            draws += len(block)
            for place in self.find(block).tolist():
                if place >= 0 and len(seen) < self.num_candidates:
                    seen.add(place)
        return np.array(sorted(seen), np.int32)

    def _refuse_many(self, draws: int, count: int, found: int) -> None:
        if draws > max(MAX_DRAWS, MAX_DRAWS_EACH * count):
            raise SettingsError(
                f"only {found} of {count} networks were found within the limits in {draws} draws "
                f"({self.limits.describe()}): widen them."
            )


def make_pool(
    limits: Limits,
    num_candidates: int = 1000,
    epochs: int = 1,
    parallel: int = 1,
    threads: int = 1,
) -> StudyPool:
    """The pool of a study: listed where the space is small, else drawn.

    A space that cannot be drawn from uniformly is listed up to a million architectures.
    """
    size = limits.space.size
    most = num_candidates if isinstance(limits.space, ChoiceSpace) else MOST_LISTED
    kind = ListedPool if size is not None and size <= most else DrawnPool
    return kind(limits, num_candidates, epochs, parallel, threads)
