"""python -m nprep.table check: recomputes what can be recomputed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.nb101.cells import VALID
from nprep.spaces.nb101.cells import cell_keys, module_hashes, prune_cells, trainable_parameters
from nprep.table.schema import (
    BUDGETS,
    CELLS_BY_VERTICES,
    REPEATS,
    SPACE_SIZE,
    Metric,
    Provenance,
)
from nprep.table.table import Table
from nprep.table.writer import digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("table", type=Path, help="the table file")


def _first(wrong: NDArray[np.bool_]) -> int | None:
    """The first row with anything wrong in it."""
    rows = wrong.reshape(len(wrong), -1).any(axis=1)
    return int(rows.argmax()) if rows.any() else None


def _show(value: Any) -> str:
    return value.tobytes().hex() if isinstance(value, np.ndarray) else str(value)


def _cell_mismatches(table: Table) -> Iterator[str]:
    codes, pruned = prune_cells(table.cells)
    changed = (pruned.num_vertices != table.cells.num_vertices) | (codes != VALID)
    row = _first(changed)
    if row is not None:
        # What is computed below holds for valid, pruned cells alone.
        yield f"row {row}: its cell is not a valid, pruned cell of the space"
        return
    for name, stored, computed in (
        (
            "module hash",
            table.module_hash,
            module_hashes(table.cells, os.cpu_count() or 1),
        ),
        ("key", table.key, cell_keys(table.cells)),
        (
            "number of trainable parameters",
            table.trainable_parameters,
            trainable_parameters(table.cells),
        ),
    ):
        row = _first(stored != computed)
        if row is not None:
            yield (
                f"row {row}: its {name} is {_show(stored[row])}, recomputed: {_show(computed[row])}"
            )
    words = table.module_hash.view(">u8").astype(np.uint64)
    ascending = (words[1:, 0] > words[:-1, 0]) | (
        (words[1:, 0] == words[:-1, 0]) & (words[1:, 1] > words[:-1, 1])
    )
    row = _first(~ascending)
    if row is not None:
        yield f"row {row + 1}: its module hash is not above that of the row before"
    row = _first(table.index.find(table.key) != np.arange(len(table)))
    if row is not None:
        yield f"row {row}: the index does not find its key"


def _fact_mismatches(table: Table) -> Iterator[str]:
    if table.attributes["space"] != "complete":
        return
    if len(table) != SPACE_SIZE:
        yield f"the table has {len(table)} rows, the space {SPACE_SIZE} cells"
    counts = np.bincount(table.cells.num_vertices, minlength=8)
    for vertices, expected in CELLS_BY_VERTICES.items():
        if counts[vertices] != expected:
            yield (f"{counts[vertices]} cells have {vertices} vertices, the space has {expected}")


def _metric_mismatches(name: str, metric: Metric) -> Iterator[str]:
    values, codes = metric.values, metric.provenance
    with np.errstate(invalid="ignore"):
        outside = (values < 0) | np.isinf(values)
        if name.endswith("accuracy"):
            outside |= values > 1
    for wrong, what in (
        (outside, "is out of range"),
        (codes > max(Provenance), "has an unknown provenance"),
        (np.isnan(values) != (codes == Provenance.MISSING), "contradicts its provenance"),
    ):
        row = _first(wrong)
        if row is not None:
            yield f"row {row}: {name} {what}"


def _mean_mismatches(table: Table) -> Iterator[str]:
    """A stored mean must agree with the repeats, where all three are there."""
    for (stage, name), mean in table.means.items():
        single = table.metrics.get((stage, name))
        if single is None:
            continue
        for k, budget in enumerate(BUDGETS):
            # Rounding to float32 apart.
            computed = single.values[:, k].mean(axis=1, dtype=np.float64)
            with np.errstate(invalid="ignore"):
                wrong = np.abs(computed - mean.values[:, k]) > 1e-6
            row = _first(wrong)
            if row is not None:
                yield (
                    f"row {row}: the mean of its {REPEATS} repeats of {stage}/{name} at {budget} "
                    f"epochs is {computed[row]:.6f}, stored: {mean.values[row, k]:.6f}"
                )


def mismatches(table: Table) -> Iterator[str]:
    """What is wrong with a table, one sentence each, the most telling first."""
    yield from _cell_mismatches(table)
    yield from _fact_mismatches(table)
    for kind, metrics in (("metrics", table.metrics), ("means", table.means)):
        for (stage, name), metric in metrics.items():
            yield from _metric_mismatches(f"{kind}/{stage}/{name}", metric)
    yield from _mean_mismatches(table)
    for name, stored in table.digests.items():
        if digest(table.arrays[name]) != stored:
            yield f"the dataset {name} is not what was written: its checksum differs"


def command(arguments: argparse.Namespace) -> int:
    """Prints the first mismatch and returns 1, or returns 0."""
    table = Table.open(arguments.table)
    problem = next(mismatches(table), None)
    if problem is not None:
        print(f"{arguments.table}: {problem}")
        return 1
    print(
        f"{arguments.table}: {len(table):,} cells; hashes, keys, parameters, vertex counts, "
        "ranges, provenance, means and checksums agree"
    )
    return 0
