"""What a search method may see of a table: plain arrays, addressed by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nprep.space import CellBatch

if TYPE_CHECKING:
    from nprep.kernels.lookup import KeyIndex


@dataclass(frozen=True)
class View:
    """A set of M cells with everything that a replay needs at 108 epochs.

    Search methods address cells by their position 0..M-1 in the view.

    Attributes:
        name: "measured", "completed" or "surrogate".
        description: One line for figures and logs; says what is measured and what is modelled.
        rows: (M,) int32; the table rows, ascending.
        cells: The M cells.
        validation: (M, 3) float32 in [0, 1]; final validation accuracy of each repeat.
        test: (M,) float32 in [0, 1]; mean test accuracy over the repeats.
        training_seconds: (M, 3) float32; training time of each repeat.
        index: Canonical key to position in the view (-1: outside).
        provenance: Counts of values by provenance, for each metric, to be shown and stored.
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

    def __len__(self) -> int:
        """The number of cells M."""
        return len(self.rows)
