"""What a table file holds: names, axes, units and where values come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.spaces.base import Space

FORMAT = "nprep-table"
SCHEMA_VERSION = 2
# Version 1 is version 2 of a table of NASBench-101 without its attribute search_space.
READABLE_VERSIONS = (1, 2)

STAGES = ("final", "half_way")
METRICS = ("validation_accuracy", "test_accuracy", "train_accuracy", "training_seconds")
# What a table may also hold, where its source has it; no search asks for it.
MORE_METRICS = (
    "train_loss",
    "validation_loss",
    "test_loss",
    "validation_seconds",
    "test_seconds",
    "latency_seconds",
)
STORED_METRICS = (*METRICS, *MORE_METRICS)

UNITS = {
    "validation_accuracy": "share of the validation images, 0 to 1",
    "test_accuracy": "share of the test images, 0 to 1",
    "train_accuracy": "share of the training images, 0 to 1",
    "training_seconds": "seconds of training, evaluation excluded",
    "train_loss": "cross-entropy on the training images",
    "validation_loss": "cross-entropy on the validation images",
    "test_loss": "cross-entropy on the test images",
    "validation_seconds": "seconds of one evaluation on the validation images",
    "test_seconds": "seconds of one evaluation on the test images",
    "latency_seconds": "seconds of inference for one batch",
}


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
        values: float32, (N, B, R) [row, budget, repeat] or (N, B) means over the repeats; NaN where
            missing.
        provenance: uint8 of ``Provenance``, the same shape; MISSING just where NaN.
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
        space: The space of the architectures.
        budgets: Lengths of the B trainings in epochs, ascending; the last is a training in full.
        repeats: The number R of training runs of each length.
        cells: N different architectures, a batch of the space; cells of NASBench-101 are pruned and
            in ascending order of their module hashes.
        facts: What the space's ``facts`` name, (N, ...) each.
        metrics: (stage, metric) to values of the repeats; what a source lacks is left out.
        means: (stage, metric) to means over the repeats, where only they are measured.
        views: Name to the one line that says what is measured and what is modelled in it.
        sources: Name to the attributes of each source: file, sha256, citation and so on.
        attributes: More attributes of the file, such as ``build_seed``.
    """

    source: str
    space: Space
    budgets: tuple[int, ...]
    repeats: int
    cells: Any
    facts: Mapping[str, NDArray[Any]]
    metrics: Mapping[tuple[str, str], Metric]
    means: Mapping[tuple[str, str], Metric]
    views: Mapping[str, str]
    sources: Mapping[str, Attributes]
    attributes: Attributes = field(default_factory=dict)
