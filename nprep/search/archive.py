"""What a trial has trained so far: for searches that breed from the best.

Such a search trains some random architectures and then, round by round, makes candidates, predicts
them and trains the most promising, until the budget ends. Nothing is trained twice.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.nb101.cells import MAX_VERTICES
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.search.breeding import children_of, draw_many_new
from nprep.search import plain
from nprep.search.compiled import has_compiled_loops, view_arrays
from nprep.search.evaluator import Evaluator
from nprep.search.pool import Pool
from nprep.table.view import View


class Proposals(Protocol):
    """Architectures that may be trained, and whatever else is known of them."""

    @property
    def positions(self) -> NDArray[np.int32]:
        """(N,) their positions in the pool."""

    def __len__(self) -> int:
        """The number of architectures N."""

    def take(self, places: NDArray[np.integer] | slice, /) -> Proposals:
        """Some of them, in that order."""


@dataclass(frozen=True)
class Positions:
    """Proposals of which nothing but their positions is known.

    Attributes:
        positions: (N,) int32 in the pool.
    """

    positions: NDArray[np.int32]

    def __len__(self) -> int:
        """The number of architectures."""
        return len(self.positions)

    def take(self, places: NDArray[np.integer] | slice) -> Positions:
        """Some of them, in that order."""
        return Positions(self.positions[places])


@dataclass(frozen=True)
class Genotypes:
    """Unpruned specs of cells of a view.

    Attributes:
        bits: (N,) uint32 adjacency bits.
        operations: (N, 7) uint8.
        positions: (N,) int32; the cells, as positions in the view.
    """

    bits: NDArray[np.uint32]
    operations: NDArray[np.uint8]
    positions: NDArray[np.int32]

    def __len__(self) -> int:
        """The number of specs."""
        return len(self.positions)

    @classmethod
    def empty(cls, count: int) -> Genotypes:
        """Room for ``count`` specs."""
        return cls(
            np.empty(count, np.uint32),
            np.empty((count, MAX_VERTICES), np.uint8),
            np.empty(count, np.int32),
        )

    def take(self, places: NDArray[np.integer] | slice) -> Genotypes:
        """Some of them, in that order."""
        return Genotypes(self.bits[places], self.operations[places], self.positions[places])


@dataclass(frozen=True)
class Breeding:
    """How candidates are made of the best.

    Attributes:
        candidates: Candidates wanted in a round.
        parents: The best that are mutated, one after another, until there are as many.
        tries: Mutations of each parent.
        edge_rate: On tables of NASBench-101: probability that a mutation flips a pair of vertices.
        operation_rate: Likewise: probability that it changes an operation.
    """

    candidates: int = 100
    parents: int = 5
    tries: int = 100
    edge_rate: float = 1 / 21
    operation_rate: float = 1 / 5

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        for name in ("candidates", "parents", "tries"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}: use at least 1.")
        for name in ("edge_rate", "operation_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise SettingsError(
                    f"{name} is {getattr(self, name)}: use a probability above 0 and up to 1."
                )


class Archive(abc.ABC):
    """What a trial has trained.

    Attributes:
        pool: The architectures to search.
        evaluator: Answers the queries.
        positions: (N,) int32; what was trained, in order.
        values: (N,) float32; the validation accuracies as seen.
    """

    def __init__(self, pool: Pool, evaluator: Evaluator) -> None:
        """Starts with nothing.

        Args:
            pool: The architectures to search.
            evaluator: Answers the queries.
        """
        self.pool = pool
        self.evaluator = evaluator
        self.positions = np.zeros(0, np.int32)
        self.values = np.zeros(0, np.float32)

    def __len__(self) -> int:
        """The number of trainings."""
        return len(self.values)

    def train(self, chosen: Proposals) -> None:
        """Trains new architectures, as far as the budget goes."""
        answers = self.evaluator.query(chosen.positions)
        chosen = chosen.take(slice(len(answers)))
        self._keep(chosen)
        self.positions = np.concatenate([self.positions, chosen.positions])
        self.values = np.concatenate([self.values, answers])

    @abc.abstractmethod
    def _keep(self, chosen: Proposals) -> None:
        """Remembers what was trained, so that it is not proposed again."""

    @abc.abstractmethod
    def draw(self, count: int, sampling: str = "specs") -> Proposals:
        """Random new architectures.

        Args:
            count: How many.
            sampling: "specs" or "cells" (see ``nprep.search.rules.ReplayProtocol``).

        Returns:
            Different new ones; fewer than ``count`` where fewer are left.
        """

    @abc.abstractmethod
    def candidates(self, rules: Breeding, capacity: int) -> Proposals:
        """New architectures near the best.

        Args:
            rules: How to breed.
            capacity: Number of candidates that is not exceeded.

        Returns:
            At most ``capacity`` different new ones; fewer than ``rules.candidates`` where that many
            mutations of the parents lead to few new ones; random ones where they lead to none; none
            where nothing is left.
        """


def archive_of(pool: Pool, evaluator: Evaluator, seed: np.random.SeedSequence) -> Archive:
    """An archive for a pool.

    Args:
        pool: The architectures to search.
        evaluator: Answers the queries.
        seed: Decides every draw.
    """
    if has_compiled_loops(pool):
        return CellArchive(pool, evaluator, seed_state(seed))
    return PlainArchive(pool, evaluator, np.random.default_rng(seed))


class PlainArchive(Archive):
    """An archive on any pool; children are made by the space's own mutation."""

    def __init__(self, pool: Pool, evaluator: Evaluator, rng: np.random.Generator) -> None:
        """Starts with nothing; see ``Archive``. ``rng`` is advanced by every draw."""
        super().__init__(pool, evaluator)
        self._rng = rng
        self._taken: set[int] = set()

    def _keep(self, chosen: Proposals) -> None:
        self._taken.update(chosen.positions.tolist())

    def draw(self, count: int, sampling: str = "specs") -> Positions:
        """See ``Archive.draw``."""
        return Positions(plain.draw_new(self.pool, self._rng, count, self._taken, sampling))

    def candidates(self, rules: Breeding, capacity: int) -> Positions:
        """See ``Archive.candidates``; the rates of edges and operations mean nothing here."""
        best = np.argsort(-self.values, kind="stable")[: rules.parents]
        found: dict[int, None] = {}
        for parent in self.positions[best]:
            if len(found) >= rules.candidates:
                break
            children = self.pool.mutate(np.full(rules.tries, parent, np.int32), self._rng)
            new = [child for child in children.tolist() if child not in self._taken]
            found.update(dict.fromkeys(new))
        if not found:
            return self.draw(rules.candidates)
        return Positions(np.array([*found][:capacity], np.int32))


class CellArchive(Archive):
    """An archive on a table of NASBench-101, in compiled loops.

    Attributes:
        genotypes: The specs behind the cells trained, whose idle vertices a mutation may connect.
    """

    def __init__(self, view: View, evaluator: Evaluator, state: NDArray[np.uint64]) -> None:
        """Starts with nothing; see ``Archive``. ``state`` is advanced by every draw."""
        super().__init__(view, evaluator)
        self.genotypes = Genotypes.empty(0)
        self._state = state
        self._space = view_arrays(view)
        self._taken = np.zeros(len(view), np.bool_)

    def _keep(self, chosen: Proposals) -> None:
        assert isinstance(chosen, Genotypes)
        self._taken[chosen.positions] = True
        held = self.genotypes
        self.genotypes = Genotypes(
            np.concatenate([held.bits, chosen.bits]),
            np.concatenate([held.operations, chosen.operations]),
            np.concatenate([held.positions, chosen.positions]),
        )

    def draw(self, count: int, sampling: str = "specs") -> Genotypes:
        """See ``Archive.draw``."""
        drawn = Genotypes.empty(count)
        found = draw_many_new(
            self._state, self._space, sampling == "specs", self._taken,
            drawn.bits, drawn.operations, drawn.positions,
        )  # fmt: skip
        drawn = drawn.take(slice(found))
        self._taken[drawn.positions] = False
        return drawn

    def candidates(self, rules: Breeding, capacity: int) -> Genotypes:
        """See ``Archive.candidates``."""
        best = np.argsort(-self.values, kind="stable")[: rules.parents]
        parents = self.genotypes.take(best)
        bred = Genotypes.empty(capacity)
        found = children_of(
            self._state, self._space, parents.bits, parents.operations,
            rules.tries, rules.candidates, rules.edge_rate, rules.operation_rate,
            self._taken, bred.bits, bred.operations, bred.positions,
        )  # fmt: skip
        return bred.take(slice(found)) if found else self.draw(rules.candidates)
