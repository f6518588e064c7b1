"""What the official interface needs of a data set: a mapped table or a TFRecord file."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep import _console
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.spaces.nb101.cells import CellBatch, cell_keys
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table._progress import ByteProgress
from nprep.table.sources._runs import STAGES, VALUES, load_space
from nprep.table.sources.nasbench import read_nasbench
from nprep.table.table import Table

_HDF5 = b"\x89HDF\r\n\x1a\n"
METRICS = ("training_seconds", "train_accuracy", "validation_accuracy", "test_accuracy")


@dataclass(frozen=True)
class Store:
    """Runs by row.

    Attributes:
        cells: The N cells.
        module_hash: (N, 16) uint8, ascending.
        trainable_parameters: (N,) int32.
        index: From canonical keys to rows.
        values: (stage, metric) to (N, 4, 3) float32 [row, budget, repeat], NaN where missing;
            what a table does not have at all is not there.
        runs: (N, 4) uint8; runs with a final validation accuracy.
    """

    cells: CellBatch
    module_hash: NDArray[np.uint8]
    trainable_parameters: NDArray[np.int32]
    index: KeyIndex
    values: dict[tuple[str, str], NDArray[np.float32]]
    runs: NDArray[np.uint8]

    def valid_epochs(self) -> set[int]:
        """The budgets at which as many cells have a run as at any."""
        covered = (self.runs > 0).sum(axis=0)
        return {
            budget
            for budget, count in zip(BUDGETS, covered.tolist(), strict=True)
            if count and count == covered.max()
        }


def _count_runs(values: dict[tuple[str, str], NDArray[np.float32]], rows: int) -> NDArray[np.uint8]:
    validation = values.get(("final", "validation_accuracy"))
    if validation is None:
        return np.zeros((rows, len(BUDGETS)), np.uint8)
    return (~np.isnan(validation)).sum(axis=2).astype(np.uint8)


def open_store(path: str | os.PathLike[str]) -> Store:
    """Opens a table, or reads an official file into memory.

    Args:
        path: An HDF5 table of nprep, or a TFRecord file.

    Raises:
        TableError: It is neither, or is damaged.
    """
    where = Path(path)
    head = b""
    if where.is_file():
        with where.open("rb") as file:
            head = file.read(len(_HDF5))
    if head == _HDF5 or not where.is_file():
        # Not mapped: a file that is overwritten in place later would end the process.
        table = Table.open(where, in_memory=True)
        values = {key: metric.values for key, metric in table.metrics.items()}
        return _store_of(
            table.cells, table.module_hash, table.trainable_parameters, table.index, values
        )
    space = load_space()
    with (
        _console.messages(as_guest=True),
        contextlib.closing(ByteProgress(f"reading {where.name}")) as bar,
    ):
        # The official API takes the records as they come, so no order is asked for here.
        runs = read_nasbench(
            where,
            space,
            jobs=os.cpu_count() or 1,
            any_order=True,
            allow_missing=True,
            progress=bar,
        )
    values = {
        (stage, value): runs.values[..., s, v]
        for s, stage in enumerate(STAGES)
        for v, value in enumerate(VALUES)
    }
    return _store_of(
        space.cells, space.module_hash, space.trainable_parameters, space.index, values
    )


def _store_of(
    cells: CellBatch,
    module_hash: NDArray[np.uint8],
    trainable_parameters: NDArray[np.int32],
    index: KeyIndex,
    values: dict[tuple[str, str], NDArray[np.float32]],
) -> Store:
    """The cells that have a run; the official API, too, lists what a file holds and no more."""
    counts = _count_runs(values, len(cells))
    held = np.flatnonzero(counts.any(axis=1)).astype(np.int32)
    if 0 < len(held) < len(cells):
        cells = cells.take(held)
        index = KeyIndex.build(cell_keys(cells))
        values = {key: array[held] for key, array in values.items()}
        module_hash, trainable_parameters = module_hash[held], trainable_parameters[held]
        counts = counts[held]
    return Store(cells, module_hash, trainable_parameters, index, values, counts)
