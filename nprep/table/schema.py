"""What a table file holds: names, axes, units and where values come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from nprep.spaces.nb101.cells import CellBatch

FORMAT = "nprep-table"
SCHEMA_VERSION = 1

BUDGETS = (4, 12, 36, 108)
REPEATS = 3
STAGES = ("final", "half_way")
METRICS = ("validation_accuracy", "test_accuracy", "train_accuracy", "training_seconds")

SPACE_SIZE = 423_624
CELLS_BY_VERTICES = {2: 1, 3: 6, 4: 84, 5: 2_441, 6: 62_010, 7: 359_082}

UNITS = {
    "validation_accuracy": "share of 10,000 validation images, 0 to 1",
    "test_accuracy": "share of 10,000 test images, 0 to 1",
    "train_accuracy": "share of the training images, 0 to 1",
    "training_seconds": "seconds of training, evaluation excluded",
}

CITATION = (
    "Ying, Klein, Christiansen, Real, Murphy, Hutter: NAS-Bench-101: Towards Reproducible Neural "
    "Architecture Search, ICML 2019"
)


class Provenance(IntEnum):
    """Where one value comes from."""

    MISSING = 0
    # Recorded by a training run, as published.
    MEASURED = 1
    # Computed from measured values alone.
    DERIVED = 2
    # Drawn from a model, fitted to measurements, that knows a measured value of the same cell.
    MODELLED = 3
    # Drawn from a model, fitted to measurements, that knows the cell's structure alone.
    FITTED = 4


PROVENANCE_NAMES = tuple(code.name.lower() for code in Provenance)

Attributes = Mapping[str, "str | int | float"]


@dataclass(frozen=True)
class Metric:
    """Values of one metric and where each comes from.

    Attributes:
        values: float32, (N, 4, 3) [row, budget, repeat] or (N, 4) means over the repeats; NaN where
            missing.
        provenance: uint8 of :class:`Provenance`, the same shape; MISSING just where NaN.
    """

    values: NDArray[np.float32]
    provenance: NDArray[np.uint8]

    @staticmethod
    def measured(values: NDArray[np.floating]) -> Metric:
        """A metric whose values, NaN apart, were all measured."""
        values = np.asarray(values, dtype=np.float32)
        provenance = np.where(np.isnan(values), Provenance.MISSING, Provenance.MEASURED)
        return Metric(values, provenance.astype(np.uint8))


@dataclass(frozen=True)
class Content:
    """Everything that a table file is written from.

    Attributes:
        source: Name of the source that built it.
        cells: N pruned cells in ascending order of their module hashes.
        module_hash: (N, 16) uint8.
        trainable_parameters: (N,) int32.
        metrics: (stage, metric) to values of the repeats; what a source lacks is left out.
        means: (stage, metric) to means over the repeats, where only they are measured.
        views: Name to the one line that says what is measured and what is modelled in it.
        sources: Name to the attributes of each source: file, sha256, citation and so on.
        attributes: More attributes of the file, such as ``build_seed``.
    """

    source: str
    cells: CellBatch
    module_hash: NDArray[np.uint8]
    trainable_parameters: NDArray[np.int32]
    metrics: Mapping[tuple[str, str], Metric]
    means: Mapping[tuple[str, str], Metric]
    views: Mapping[str, str]
    sources: Mapping[str, Attributes]
    attributes: Attributes = field(default_factory=dict)
