"""What a trial has trained so far, with the specs behind it: for searches that breed from the best.

Such a search trains some random cells and then, round by round, makes candidates, predicts them and
trains the most promising, until the budget ends. No cell is trained twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.nb101.cells import MAX_VERTICES
from nprep.kernels.search.breeding import children_of, draw_many_new
from nprep.search.baselines import space_of
from nprep.search.evaluator import TableEvaluator
from nprep.spaces.nb101.cells import CellBatch
from nprep.table.view import View


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
    """How candidates are made of the best cells.

    Attributes:
        candidates: Candidates wanted in a round.
        parents: The best cells that are mutated, one after another, until there are as many.
        tries: Mutations of each parent.
        edge_rate: Probability that a mutation flips a pair of vertices.
        operation_rate: Probability that it changes an operation.
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


class Archive:
    """The cells that a trial has trained.

    Attributes:
        view: The cells to search.
        evaluator: Answers the queries.
        genotypes: The specs trained, in order.
        values: (N,) float32; their validation accuracies as seen.
    """

    def __init__(self, view: View, evaluator: TableEvaluator, state: NDArray[np.uint64]) -> None:
        """Starts with nothing.

        Args:
            view: The cells to search.
            evaluator: Answers the queries.
            state: (4,) generator state, advanced by every draw.
        """
        self.view = view
        self.evaluator = evaluator
        self.genotypes = Genotypes.empty(0)
        self.values = np.zeros(0, np.float32)
        self._state = state
        self._space = space_of(view)
        self._taken = np.zeros(len(view), np.bool_)

    def __len__(self) -> int:
        """The number of cells trained."""
        return len(self.values)

    @property
    def cells(self) -> CellBatch:
        """The cells trained, in order."""
        return self.view.cells.take(self.genotypes.positions)

    def train(self, chosen: Genotypes) -> None:
        """Trains new cells, as far as the budget goes."""
        answers = self.evaluator.query(chosen.positions)
        chosen = chosen.take(slice(len(answers)))
        self._taken[chosen.positions] = True
        held = self.genotypes
        self.genotypes = Genotypes(
            np.concatenate([held.bits, chosen.bits]),
            np.concatenate([held.operations, chosen.operations]),
            np.concatenate([held.positions, chosen.positions]),
        )
        self.values = np.concatenate([self.values, answers])

    def draw(self, count: int, sampling: str = "specs") -> Genotypes:
        """Random new cells.

        Args:
            count: How many.
            sampling: "specs" or "cells" (see :class:`nprep.search.rules.ReplayProtocol`).

        Returns:
            Different new cells; fewer than ``count`` where fewer are left.
        """
        drawn = Genotypes.empty(count)
        found = draw_many_new(
            self._state, self._space, sampling == "specs", self._taken,
            drawn.bits, drawn.operations, drawn.positions,
        )  # fmt: skip
        drawn = drawn.take(slice(found))
        self._taken[drawn.positions] = False
        return drawn

    def candidates(self, rules: Breeding, capacity: int) -> Genotypes:
        """New cells near the best.

        Args:
            rules: How to breed.
            capacity: Number of candidates that is not exceeded.

        Returns:
            At most ``capacity`` different new cells; fewer than ``rules.candidates`` where that
            many mutations of the parents lead to few new ones; random ones where they lead to none;
            none where no cell is left.
        """
        best = np.argsort(-self.values, kind="stable")[: rules.parents]
        parents = self.genotypes.take(best)
        bred = Genotypes.empty(capacity)
        found = children_of(
            self._state, self._space, parents.bits, parents.operations,
            rules.tries, rules.candidates, rules.edge_rate, rules.operation_rate,
            self._taken, bred.bits, bred.operations, bred.positions,
        )  # fmt: skip
        return bred.take(slice(found)) if found else self.draw(rules.candidates)
