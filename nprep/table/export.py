"""Takes a table, or architectures chosen by value, out of its file: arrays, ``.npz``, Parquet.

One row is one architecture. Columns are ``test_accuracy_108_0`` (metric, budget, repeat), with
``half_way_`` before it for values from half-way, and ``test_accuracy_108_mean``; each has a second
column whose name ends in ``_provenance``. Columns without any value are left out.
"""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep._console import add_output
from nprep._optional import need
from nprep.errors import SettingsError
from nprep.table.schema import PROVENANCE_NAMES, STAGES, STORED_METRICS, Metric
from nprep.table.table import Table
from nprep.table.writer import replaced_when_done

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_PARQUET_ROWS = 1 << 16


@dataclass(frozen=True)
class Condition:
    """What a cell's value must be.

    Attributes:
        column: A numeric column, or a metric's name for its final mean after a training in full.
        comparison: One of >=, <=, ==, >, <.
        value: What to compare with; a missing value fulfils no condition.
    """

    column: str
    comparison: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Reads "test_accuracy >= 0.94".

        Raises:
            SettingsError: It cannot be read.
        """
        match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|==|>|<)\s*(\S+)\s*", text)
        try:
            if match is None:
                raise ValueError
            return cls(match[1], match[2], float(match[3]))
        except ValueError as error:
            raise SettingsError(
                f"the condition {text!r} cannot be read: write a column, one of >= <= == > < and a "
                "number, such as 'test_accuracy >= 0.94'."
            ) from error


def _names(table: Table) -> list[str]:
    """All metric columns that the table may have values for."""
    names = []
    for stage in STAGES:
        prefix = "half_way_" if stage == "half_way" else ""
        for metric in STORED_METRICS:
            single, mean = (stage, metric) in table.metrics, (stage, metric) in table.means
            for budget in table.budgets:
                for repeat in [*range(table.repeats)] if single else []:
                    names.append(f"{prefix}{metric}_{budget}_{repeat}")
                if single or mean:
                    names.append(f"{prefix}{metric}_{budget}_mean")
    return names


def _values(table: Table, name: str, rows: NDArray[np.integer] | None) -> Metric:
    """The values of a metric column."""
    half_way = name.startswith("half_way_")
    metric, budget, repeat = name.removeprefix("half_way_").rsplit("_", 2)
    which: Any = repeat if repeat == "mean" else int(repeat)
    return table.values(metric, rows, budget=int(budget), repeat=which, half_way=half_way)


def _column(table: Table, name: str) -> NDArray[Any]:
    """The numbers that a condition is about.

    Raises:
        SettingsError: There is no such column.
    """
    if name in STORED_METRICS:
        name = f"{name}_{table.budgets[-1]}_mean"
    derived = table.space.columns(table.cells)
    if name in derived:
        return derived[name]
    names = _names(table)
    if name not in names:
        known = [*derived, *names]
        raise SettingsError(
            f"{table.path} has no column {name!r}: it has {', '.join(known[:12])} and so on."
        )
    return _values(table, name, None).values


def select_rows(table: Table, conditions: Sequence[Condition]) -> NDArray[np.int32]:
    """The rows whose values fulfil all conditions.

    Args:
        table: The table.
        conditions: None of them: all rows.

    Returns:
        (M,) int32, ascending.

    Raises:
        SettingsError: A condition is about a column that the table does not have.
    """
    chosen = np.ones(len(table), np.bool_)
    for condition in conditions:
        compare = _COMPARISONS[condition.comparison]
        # Comparisons with NaN are false.
        chosen &= compare(_column(table, condition.column), condition.value)
    return np.flatnonzero(chosen).astype(np.int32)


def to_numpy(table: Table, conditions: Sequence[Condition] = ()) -> dict[str, NDArray[Any]]:
    """Columns of a table as arrays.

    Args:
        table: The table.
        conditions: Which cells; none: all.

    Returns:
        "row" (M,) int32, the columns of the space, and the metric columns: float32, with uint8
        codes of ``Provenance``. The columns of NASBench-101 are
        "module_hash" (M,) of 32 bytes, "adjacency_bits" (M,) uint32, "operations" (M, 7) uint8
        codes, "num_vertices" and "trainable_parameters"; other spaces have at least
        "architecture" (M,) bytes.

    Raises:
        SettingsError: A condition is about a column that the table does not have.
    """
    rows = select_rows(table, conditions)
    facts = {name: values[rows] for name, values in table.facts.items()}
    columns: dict[str, NDArray[Any]] = {
        "row": rows,
        **table.space.export(table.cells.take(rows), facts),
    }
    for name in _names(table):
        metric = _values(table, name, rows)
        if not np.isnan(metric.values).all():
            columns[name] = metric.values
            columns[f"{name}_provenance"] = metric.provenance
    return columns


def to_npz(table: Table, path: Path, conditions: Sequence[Condition] = ()) -> int:
    """Writes the arrays of ``to_numpy`` to a compressed ``.npz``; no pickled objects.

    Returns:
        The number of cells.

    Raises:
        TableError: The file cannot be written.
        SettingsError: A condition is about a column that the table does not have.
    """
    columns = to_numpy(table, conditions)
    with replaced_when_done(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type] # Taken for other arguments.
    return len(columns["row"])


def to_parquet(table: Table, path: Path, conditions: Sequence[Condition] = ()) -> int:
    """Writes a Parquet file, for pandas, polars, DuckDB and the like.

    Instead of codes it has texts: provenances are "measured", "modelled" and so on; of cells of
    NASBench-101 "operations" is the official comma-joined list and "adjacency" the official string
    of n x n digits. The attributes of the table's sources are in the file's metadata.

    Returns:
        The number of cells.

    Raises:
        MissingDependencyError: pyarrow cannot be imported.
        TableError: The file cannot be written.
        SettingsError: A condition is about a column that the table does not have.
    """
    instead = "export to a file that ends in .npz"
    arrow = need("pyarrow", "write Parquet", extra="parquet", instead=instead)
    parquet = need("pyarrow.parquet", "write Parquet", extra="parquet", instead=instead)
    columns = to_numpy(table, conditions)
    metrics = [name for name in _names(table) if name in columns]
    measured = {each for name in metrics for each in (name, f"{name}_provenance")}
    own = {n: values for n, values in columns.items() if n != "row" and n not in measured}
    shown: dict[str, Any] = {"row": arrow.array(columns["row"])}
    for name, values in table.space.export_texts(own).items():
        wide = isinstance(values, np.ndarray) and values.ndim > 1
        shown[name] = arrow.array([*values] if wide else values)
    for name in metrics:
        # NaN marks what is missing; Parquet has a null for that.
        shown[name] = arrow.array(columns[name], mask=np.isnan(columns[name]))
        codes = columns[f"{name}_provenance"].astype(np.int8)
        shown[f"{name}_provenance"] = arrow.DictionaryArray.from_arrays(
            codes, list(PROVENANCE_NAMES)
        )
    content = arrow.table(shown)
    notes = {
        f"{source}.{key}": str(value)
        for source, attributes in table.sources.items()
        for key, value in attributes.items()
    }
    notes["views"] = "; ".join(f"{name}: {meaning}" for name, meaning in table.views.items())
    content = content.replace_schema_metadata(notes)
    with replaced_when_done(path) as temporary:
        parquet.write_table(content, temporary, row_group_size=_PARQUET_ROWS)
    return len(columns["row"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("table", type=Path, help="the table file")
    add_output(parser, "the file to write, whose name ends in .parquet or .npz")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only cells with, for example, 'test_accuracy >= 0.94'; may be repeated",
    )


def command(arguments: argparse.Namespace) -> int:
    """Writes the file."""
    output: Path | None = arguments.output
    if output is None:
        raise SettingsError("no file to write is named: give one with --out.")
    if output.suffix not in (".parquet", ".npz"):
        raise SettingsError(f"{output} ends in neither .parquet nor .npz: name such a file.")
    conditions = [Condition.parse(text) for text in arguments.where]
    table = Table.open(arguments.table)
    write = to_parquet if output.suffix == ".parquet" else to_npz
    count = write(table, output, conditions)
    print(f"{output}: {count:,} architectures")
    return 0
