"""What a search method may see of a table: plain arrays, addressed by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.spaces.nb101.cells import CellBatch

if TYPE_CHECKING:
    from nprep.kernels.numeric.lookup import KeyIndex


FULL_EPOCHS = 108


@dataclass(frozen=True)
class Fidelity:
    """What short trainings of the M cells of a view give.

    A cell that no run of this length is known of has the values of the next longer one, and its
    price: nothing is made up.

    Attributes:
        epochs: (M,) uint8; the length of the runs whose values follow.
        validation: (M, R) float32 in [0, 1]; final validation accuracy, NaN where missing.
        training_seconds: (M, R) float32.
    """

    epochs: NDArray[np.uint8]
    validation: NDArray[np.float32]
    training_seconds: NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """A set of M cells with everything that a replay needs.

    Search methods address cells by their position 0..M-1 in the view.

    Attributes:
        name: "measured", "completed" or "surrogate".
        description: One line for figures and logs; says what is measured and what is modelled.
        rows: (M,) int32; the table rows, ascending.
        cells: The M cells.
        validation: (M, 3) float32 in [0, 1]; final validation accuracy of each repeat after 108
            epochs.
        test: (M,) float32 in [0, 1]; mean test accuracy over the repeats, after 108 epochs.
        training_seconds: (M, 3) float32; training time of each repeat of 108 epochs.
        index: Canonical key to position in the view (-1: outside).
        provenance: Counts of values by provenance, for each metric, to be shown and stored.
        test_runs: (M, 3) float32; test accuracy of each repeat after 108 epochs, or None where only
            means are known.
        lower: Shorter trainings, by their number of epochs; see :meth:`at`.
    """

    name: str
    description: str
    rows: NDArray[np.int32]
    cells: CellBatch
    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    training_seconds: NDArray[np.float32]
    index: KeyIndex
    provenance: dict[str, dict[str, int]]
    test_runs: NDArray[np.float32] | None = None
    lower: Mapping[int, Fidelity] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of cells M."""
        return len(self.rows)

    @property
    def budgets(self) -> tuple[int, ...]:
        """The lengths of training that can be asked for, in epochs, ascending."""
        return (*sorted(self.lower), FULL_EPOCHS)

    def at(self, budget: int) -> Fidelity:
        """The values after a training of ``budget`` epochs.

        Raises:
            SettingsError: If the view has none.
        """
        if budget == FULL_EPOCHS:
            epochs = np.full(len(self), FULL_EPOCHS, np.uint8)
            return Fidelity(epochs, self.validation, self.training_seconds)
        if budget not in self.lower:
            raise SettingsError(
                f"view {self.name!r} has no validation accuracy after {budget} epochs, only after "
                f"{', '.join(map(str, self.budgets))}: use another view or a method that trains "
                "in full."
            )
        return self.lower[budget]
