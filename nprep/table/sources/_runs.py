"""Training runs as every importer delivers them: one array, joined to the rows of the space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.numeric.lookup import KeyIndex
from nprep.spaces.nb101.cells import CellBatch, build_index, enumerate_space, trainable_parameters
from nprep.spaces.nb101.facts import BUDGETS, REPEATS
from nprep.spaces.nb101.space import NB101
from nprep.table.schema import Content, Metric

VIEWS = {
    "measured": "NASBench-101, the cells with three measured runs of 108 epochs; nothing modelled",
    "completed": "NASBench-101, all cells with a measured run of 108 epochs; nothing modelled",
}

# The order of the last two axes of a source's values, which is that of the official records.
STAGES = ("half_way", "final")
VALUES = ("training_seconds", "train_accuracy", "validation_accuracy", "test_accuracy")


@dataclass(frozen=True)
class SpaceRows:
    """The cells that runs are joined to, in the order of the table's rows.

    Attributes:
        cells: The N cells, in ascending order of their module hashes.
        module_hash: (N, 16) uint8.
        trainable_parameters: (N,) int32.
        index: From canonical keys to rows.
    """

    cells: CellBatch
    module_hash: NDArray[np.uint8]
    trainable_parameters: NDArray[np.int32]
    index: KeyIndex

    def __len__(self) -> int:
        """The number of cells N."""
        return len(self.cells)


def load_space(threads: int | None = None) -> SpaceRows:
    """Enumerates the space, with hashes and parameter counts computed from the cells.

    Args:
        threads: Threads for the hashes; by default one for each processor.
    """
    cells, hashes = enumerate_space(threads)
    return SpaceRows(cells, hashes, trainable_parameters(cells), build_index(cells))


@dataclass(frozen=True)
class Runs:
    """What a source measured.

    Attributes:
        values: (N, 4, 3, 2, 4) float32 [row, budget, repeat, stage, value], NaN where missing; the
            axes are BUDGETS, repeats in the order of the source, STAGES and VALUES.
        attributes: What to keep beside the numbers: where they are from and what was found.
        warnings: Sentences for the person who builds the table.
    """

    values: NDArray[np.float32]
    attributes: Mapping[str, str | int | float]
    warnings: tuple[str, ...] = field(default=())

    def budgets(self) -> tuple[int, ...]:
        """The budgets at which anything was measured."""
        present = ~np.isnan(self.values).all(axis=(0, 2, 3, 4))
        return tuple(b for b, there in zip(BUDGETS, np.atleast_1d(present), strict=True) if there)


def empty_values(rows: int) -> NDArray[np.float32]:
    """The array of ``Runs`` with every value missing."""
    shape = (rows, len(BUDGETS), REPEATS, len(STAGES), len(VALUES))
    return np.full(shape, np.nan, np.float32)


def to_content(source: str, runs: Runs, space: SpaceRows) -> Content:
    """What a table file is written from.

    Args:
        source: Name of the source.
        runs: Its runs; every one of them counts as measured.
        space: What they were joined to.
    """
    metrics = {}
    for stage, stage_name in enumerate(STAGES):
        for value, value_name in enumerate(VALUES):
            values = np.ascontiguousarray(runs.values[..., stage, value])
            if not np.isnan(values).all():
                metrics[stage_name, value_name] = Metric.measured(values)
    return Content(
        source=source,
        space=NB101,
        budgets=BUDGETS,
        repeats=REPEATS,
        cells=space.cells,
        facts={
            "module_hash": space.module_hash,
            "trainable_parameters": space.trainable_parameters,
        },
        metrics=metrics,
        means={},
        views=VIEWS if 108 in runs.budgets() else {},
        sources={source: dict(runs.attributes)},
    )
