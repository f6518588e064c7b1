"""What a search method may see of a table: plain arrays, addressed by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.spaces.base import Space
from nprep.spaces.nb101.facts import BUDGETS
from nprep.spaces.nb101.space import NB101

if TYPE_CHECKING:
    from nprep.kernels.numeric.lookup import KeyIndex


# Mutations that leave the view are drawn again so often.
MAX_REDRAWS = 1000


@dataclass(frozen=True)
class Fidelity:
    """What short trainings of the M cells of a view give.

    A cell that no run of this length is known of has the values of the next longer one, and its
    price: nothing is made up.

    Attributes:
        epochs: (M,) uint16; the length of the runs whose values follow.
        validation: (M, R) float32 in [0, 1]; final validation accuracy, NaN where missing.
        training_seconds: (M, R) float32.
    """

    epochs: NDArray[np.uint16]
    validation: NDArray[np.float32]
    training_seconds: NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """A set of M architectures with everything that a replay needs.

    It is a pool (see ``nprep.search.pool.Pool``): search methods address architectures by
    their position 0..M-1.

    Attributes:
        name: "measured", "completed" or "surrogate".
        description: One line for figures and logs; says what is measured and what is modelled.
        rows: (M,) int32; the table rows, ascending.
        cells: The M architectures, a batch of the space.
        validation: (M, R) float32 in [0, 1]; final validation accuracy of each repeat after a
            training in full.
        test: (M,) float32 in [0, 1]; mean test accuracy over the repeats, likewise.
        training_seconds: (M, R) float32; training time of each of these repeats.
        index: Canonical key to position in the view (-1: outside).
        provenance: Counts of values by provenance, for each metric, to be shown and stored.
        test_runs: (M, R) float32; test accuracy of each of these repeats, or None where
            only means are known.
        lower: Shorter trainings, by their number of epochs; see ``at``.
        space: The space that the architectures are of.
        full_epochs: Length of a training in full.
    """

    name: str
    description: str
    rows: NDArray[np.int32]
    cells: Any
    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    training_seconds: NDArray[np.float32]
    index: KeyIndex
    provenance: dict[str, dict[str, int]]
    test_runs: NDArray[np.float32] | None = None
    lower: Mapping[int, Fidelity] = field(default_factory=dict)
    space: Space = NB101
    full_epochs: int = BUDGETS[-1]

    def __len__(self) -> int:
        """The number of cells M."""
        return len(self.rows)

    @property
    def budgets(self) -> tuple[int, ...]:
        """The lengths of training that can be asked for, in epochs, ascending."""
        return (*sorted(self.lower), self.full_epochs)

    def at(self, budget: int) -> Fidelity:
        """The values after a training of ``budget`` epochs.

        Raises:
            SettingsError: If the view has none.
        """
        if budget == self.full_epochs:
            epochs = np.full(len(self), self.full_epochs, np.uint16)
            return Fidelity(epochs, self.validation, self.training_seconds)
        if budget not in self.lower:
            raise SettingsError(
                f"view {self.name!r} has no validation accuracy after {budget} epochs, only after "
                f"{', '.join(map(str, self.budgets))}: use another view or a method that trains "
                "in full."
            )
        return self.lower[budget]

    @property
    def closed(self) -> bool:
        """A view holds all its architectures from the start."""
        return True

    @property
    def parallel(self) -> int:
        """A replay charges one training after the other; ``--workers`` schedules them later."""
        return 1

    @property
    def threads(self) -> int:
        """Trials are spread over processes, so each has one thread."""
        return 1

    def sample(
        self, count: int, rng: np.random.Generator, sampling: str = "cells"
    ) -> NDArray[np.int32]:
        """Random architectures, with repetition (see ``nprep.search.pool.Pool``)."""
        if sampling == "cells":
            return rng.integers(len(self), size=count, dtype=np.int32)
        found: list[NDArray[np.int32]] = []
        missing = count
        while missing:
            positions = self.find(self.space.sample(missing, rng))
            found.append(positions[positions >= 0])
            missing -= len(found[-1])
        return np.concatenate([np.zeros(0, np.int32), *found])

    def mutate(self, positions: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        """One random child of each architecture, redrawn outside the view: (N,) positions.

        Raises:
            SettingsError: If an architecture has no child in the view, as far as chance can tell.
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
            f"{MAX_REDRAWS} mutations of one architecture all lie outside the view {self.name!r}: "
            "use a view with more of the space, or a method that does not mutate."
        )

    def neighbours(self, position: int) -> NDArray[np.int32]:
        """All architectures of the view one step away from one of them, ascending."""
        found = self.find(self.space.neighbours(self.take(np.array([position]))))
        return np.unique(found[found >= 0])

    def find(self, batch: Any) -> NDArray[np.int32]:
        """The positions of (N,) architectures of the space; -1 outside the view."""
        return self.index.find(self.space.keys(batch))

    def take(self, positions: NDArray[np.integer]) -> Any:
        """The architectures at some positions, as a batch of the space."""
        return self.cells.take(positions)

    def candidates(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """What a predictor ranks: all of them; the generator is left alone."""
        return np.arange(len(self), dtype=np.int32)
