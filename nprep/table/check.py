"""python -m nprep.table check: recomputes what can be recomputed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.table.schema import Metric, Provenance
from nprep.table.table import Table
from nprep.table.writer import digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("table", type=Path, help="the table file")


def _first(wrong: NDArray[np.bool_]) -> int | None:
    """The first row with anything wrong in it."""
    rows = wrong.reshape(len(wrong), -1).any(axis=1)
    return int(rows.argmax()) if rows.any() else None


def _cell_mismatches(table: Table) -> Iterator[str]:
    problem = None
    for problem in table.space.problems(table.cells, table.facts):
        yield problem
    if problem is not None:
        # Keys can only be computed for what is an architecture.
        return
    keys = table.space.keys(table.cells)
    row = _first(table.key != keys)
    if row is not None:
        yield f"row {row}: its key is {table.key[row]}, recomputed: {keys[row]}"
    row = _first(table.index.find(table.key) != np.arange(len(table)))
    if row is not None:
        yield f"row {row}: the index does not find its key"
    if table.attributes["space"] == "complete" and len(table) != table.space.size:
        yield f"the table has {len(table)} rows, the space {table.space.size} architectures"


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
    """A stored mean must agree with the repeats, where all of them are there."""
    for (stage, name), mean in table.means.items():
        single = table.metrics.get((stage, name))
        if single is None:
            continue
        for k, budget in enumerate(table.budgets):
            # Rounding to float32 apart.
            computed = single.values[:, k].mean(axis=1, dtype=np.float64)
            with np.errstate(invalid="ignore"):
                wrong = np.abs(computed - mean.values[:, k]) > 1e-6
            row = _first(wrong)
            if row is not None:
                yield (
                    f"row {row}: the mean of its {table.repeats} repeats of {stage}/{name} at "
                    f"{budget} epochs is {computed[row]:.6f}, stored: {mean.values[row, k]:.6f}"
                )


def mismatches(table: Table) -> Iterator[str]:
    """What is wrong with a table, one sentence each, the most telling first."""
    yield from _cell_mismatches(table)
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
        f"{arguments.table}: {len(table):,} architectures of {table.space.title}; "
        f"{', '.join(name.replace('_', ' ') for name in table.space.facts) or 'codes'}, keys, "
        "ranges, provenance, means and checksums agree"
    )
    return 0
