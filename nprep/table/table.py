"""A table file, opened: look-ups, queries and views."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError, MissingValueError
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.spaces.nb101.cells import (
    CellBatch,
    Spec,
    cells_from_specs,
    find_rows,
    parse_hash,
)
from nprep.table._hashes import find_hashes, first_rows
from nprep.table._mapping import map_file
from nprep.table._sealed import SealedMetrics
from nprep.table._values import Repeat, count_provenance, sample_repeats
from nprep.table._views import Viewable
from nprep.table.clock import Clock
from nprep.table.schema import (
    METRICS,
    PROVENANCE_NAMES,
    UNITS,
    Provenance,
)


@dataclass(frozen=True)
class QueryResult:
    """What one query learns.

    Attributes:
        row: Of the cell.
        budget: Epochs.
        repeat: The number of the repeat, or "mean".
        half_way: Whether the values were taken half-way through the training.
        trainable_parameters: Of the network, where the table knows it; else None.
        validation_accuracy: 0 to 1; these four are None where the table has no value.
        test_accuracy: 0 to 1.
        train_accuracy: 0 to 1.
        training_seconds: Seconds.
        provenance: Metric to where its value comes from ("measured", "modelled", ...).
    """

    row: int
    budget: int
    repeat: int | str
    half_way: bool
    trainable_parameters: int | None
    validation_accuracy: float | None
    test_accuracy: float | None
    train_accuracy: float | None
    training_seconds: float | None
    provenance: dict[str, str]


@dataclass(frozen=True)
class Table(Viewable):
    """Measurements of cells, mapped from a file.

    A table is opened in milliseconds, and processes share its pages, because its arrays are mapped:
    the system reads a page from the file when it is first used. So the file must stay whole while
    a table is open. All of this package's commands replace a file by a new one under its name,
    which leaves open tables what they are. A program that cuts the file short or writes into it
    (``rsync --inplace``, ``cp`` onto it, ``truncate``) is another matter: a page that is gone
    ends the process with a bus error, which no ``try`` can catch. Where that may happen, open the
    table with ``in_memory=True``.

    Attributes:
        path: The file.
        attributes: Of the file: source, builder, and what the source added.
        space: The space of the architectures.
        budgets: Lengths of the B trainings in epochs, ascending; the last is a training in full.
        repeats: The number R of training runs of each length.
        sources: Attributes of each source: file, sha256, citation.
        cells: The N architectures, a batch of the space; cells of NASBench-101 are in ascending
            order of their module hashes.
        index: From canonical keys to rows.
        metrics: (stage, metric) to (N, B, R) values [row, budget, repeat] and their provenance.
        means: (stage, metric) to (N, B) means over the repeats, where only they are measured.
        views: Name of each view to what it is.
        digests: Path inside the file to the stored checksum.
        arrays: Path inside the file to the array.
    """

    @classmethod
    def open(cls, path: str | os.PathLike[str], in_memory: bool = False) -> Table:
        """Opens a table in milliseconds.

        Cells and index are compared with their checksums here, all else when it is first asked for:
        what is handed out is what was written.

        Args:
            path: The file.
            in_memory: Whether to read all arrays now instead of mapping them, which takes memory
                as large as the file, and after which nothing that happens to the file matters.

        Raises:
            TableError: If the file is no table that this version can read, or is damaged.
        """
        where = Path(path)
        mapped = map_file(where, in_memory)
        arrays = mapped.arrays
        return cls(
            path=where,
            attributes=mapped.attributes,
            space=mapped.space,
            budgets=mapped.budgets,
            repeats=mapped.repeats,
            sources=mapped.sources,
            cells=mapped.cells,
            index=KeyIndex(arrays["index/slot_keys"], arrays["index/slot_rows"]),
            metrics=SealedMetrics(arrays, "metrics"),
            means=SealedMetrics(arrays, "means"),
            views=json.loads(mapped.attributes["views"]),
            digests=mapped.digests,
            arrays=arrays,
        )

    # Look-ups.

    def find(self, batch: Any) -> NDArray[np.int32]:
        """The rows of valid architectures of the space: (M,) int32, -1 if not in the table."""
        return self.index.find(self.space.keys(batch))

    def find_specs(self, specs: CellBatch) -> NDArray[np.int32]:
        """The rows of specs of NASBench-101, pruned or not: (M,) int32.

        -1 where a spec is invalid or not in the table.
        """
        return find_rows(self.index, specs)

    def find_hashes(self, hashes: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The rows of module hashes (M, 16) uint8: (M,) int32, -1 where not in the table."""
        if not self._starts:
            self._starts.append(first_rows(self.module_hash))
        wanted = np.require(hashes, np.uint8, ("C", "A", "W")).reshape(-1, 16)
        return find_hashes(self.module_hash, self._starts[0], wanted)

    def row_of(self, cell: int | str | bytes | Spec) -> int:
        """The row of one architecture.

        Args:
            cell: A row; for NASBench-101 a module hash (32 hex characters or 16 bytes) or a spec;
                for other spaces the architecture as their ``format`` writes it.

        Raises:
            InvalidSpecError: If it is no architecture of the space.
            MissingValueError: If the table does not hold it.
        """
        hashed = "module_hash" in self.space.facts
        if isinstance(cell, Spec) and hashed:
            row = int(self.find_specs(cells_from_specs([cell]))[0])
            shown = f"the cell {cell}"
        elif isinstance(cell, str | bytes) and hashed:
            digest = parse_hash(cell.hex() if isinstance(cell, bytes) else cell)
            row = int(self.find_hashes(digest)[0])
            shown = f"the module hash {digest.tobytes().hex()}"
        elif isinstance(cell, str):
            row = int(self.find(self.space.parse(cell))[0])
            shown = f"the architecture {cell}"
        elif isinstance(cell, int | np.integer) and not isinstance(cell, bool):
            row = int(cell) if 0 <= cell < len(self) else -1
            shown = f"row {cell}"
        else:
            raise InvalidSpecError(
                f"{cell!r} names no cell: give a row, a module hash or a nprep.Spec."
                if hashed
                else f"{cell!r} names no architecture: give a row or its text."
            )
        if row < 0:
            raise MissingValueError(f"{shown} is not in {self.path}, which has {len(self)} rows.")
        return row

    def _parameters(self, row: int) -> int | None:
        """Trainable parameters of one network, where the table knows them."""
        if "trainable_parameters" not in self.space.facts:
            return None
        return int(self.trainable_parameters[row])

    # Queries.

    def query(
        self,
        cell: int | str | bytes | Spec,
        *,
        budget: int | None = None,
        repeat: Repeat = "sample",
        half_way: bool = False,
        rng: np.random.Generator | None = None,
        clock: Clock | None = None,
    ) -> QueryResult:
        """One training of a cell, looked up in the table.

        Args:
            cell: A row, a module hash (32 hex characters or 16 bytes) or a spec.
            budget: Length of the training in epochs, one of ``budgets``; None: in full.
            repeat: 0, 1, 2, "mean", or "sample": one of the repeats present, at random.
            half_way: Stop half-way: values and cost are those of half the budget.
            rng: For "sample".
            clock: Is charged one query, its epochs and its training seconds (of the mean over the
                repeats for "mean").

        Raises:
            SettingsError: If budget or repeat is unknown or the generator is missing.
            InvalidSpecError: If the cell is not one of the space.
            MissingValueError: If the table lacks the cell or its validation accuracy there.
        """
        budget, k = self._budget(budget)
        self._check_repeat(repeat, rng)
        row = self.row_of(cell)
        rows = np.array([row])
        which: Any = repeat
        if repeat == "sample":
            validation = self._metric("validation_accuracy", half_way)
            known = None if validation is None else validation.values[rows, k]
            if known is not None and not np.isnan(known).all():
                assert rng is not None
                which = int(sample_repeats(known, rng)[0])
        found: dict[str, float | None] = {}
        provenance: dict[str, str] = {}
        for name in METRICS:
            found[name] = None
            provenance[name] = PROVENANCE_NAMES[Provenance.MISSING]
            if which == "sample":
                continue
            try:
                metric = self.values(name, rows, budget=budget, repeat=which, half_way=half_way)
            except MissingValueError:
                continue
            if not np.isnan(metric.values[0]):
                found[name] = float(metric.values[0])
                code = int(metric.provenance[0])
                known = code < len(PROVENANCE_NAMES)
                provenance[name] = PROVENANCE_NAMES[code] if known else "unknown"
        if found["validation_accuracy"] is None:
            stage = " half-way" if half_way else ""
            raise MissingValueError(
                f"{self.path} has no validation accuracy of row {row} at {budget} epochs{stage}, "
                f"repeat {repeat}: query another budget or repeat."
            )
        if clock is not None:
            clock.charge(budget // 2 if half_way else budget, found["training_seconds"])
        return QueryResult(
            row=row,
            budget=budget,
            repeat=which,
            half_way=half_way,
            trainable_parameters=self._parameters(row),
            validation_accuracy=found["validation_accuracy"],
            test_accuracy=found["test_accuracy"],
            train_accuracy=found["train_accuracy"],
            training_seconds=found["training_seconds"],
            provenance=provenance,
        )

    def query_batch(
        self,
        rows: NDArray[np.integer],
        *,
        budget: int | None = None,
        repeat: Repeat = "sample",
        half_way: bool = False,
        rng: np.random.Generator | None = None,
        clock: Clock | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Trainings of many cells; like ``query`` for each of (M,) rows.

        Returns:
            "validation_accuracy" and whatever else of the metrics the table has, each (M,) float32.

        Raises:
            SettingsError: If budget or repeat is unknown or the generator is missing.
            MissingValueError: If a row is out of range or lacks its validation accuracy.
        """
        budget, k = self._budget(budget)
        self._check_repeat(repeat, rng)
        rows = np.asarray(rows)
        outside = (rows < 0) | (rows >= len(self))
        if outside.any():
            raise MissingValueError(
                f"row {rows[outside][0]} is not in {self.path}, which has {len(self)} rows."
            )
        which: Any = repeat
        validation = self._metric("validation_accuracy", half_way)
        if repeat == "sample" and validation is not None:
            assert rng is not None
            which = sample_repeats(validation.values[rows, k], rng)
        out = {}
        for name in METRICS:
            try:
                metric = self.values(
                    name, rows, budget=budget, repeat=which, half_way=half_way, rng=rng
                )
            except MissingValueError:
                if name == "validation_accuracy":
                    raise
                continue
            out[name] = metric.values
        missing = np.isnan(out["validation_accuracy"])
        if missing.any():
            raise MissingValueError(
                f"{self.path} has no validation accuracy of row {rows[missing][0]} at {budget} "
                f"epochs, repeat {repeat}: query another budget or repeat."
            )
        if clock is not None:
            seconds = out.get("training_seconds")
            timed = 0 if seconds is None else int((~np.isnan(seconds)).sum())
            epochs = budget // 2 if half_way else budget
            if seconds is not None:
                clock.charge(epochs * timed, float(np.nansum(seconds, dtype=np.float64)), timed)
            if timed < len(rows):
                clock.charge(epochs * (len(rows) - timed), None, len(rows) - timed)
        return out

    def describe(self) -> dict[str, Any]:
        """What the table holds, for people and for JSON."""
        contents: dict[str, Any] = {}
        for kind, metrics in (("metrics", self.metrics), ("means", self.means)):
            for (stage, name), metric in metrics.items():
                contents[f"{kind}/{stage}/{name}"] = {
                    "unit": UNITS[name],
                    "by_budget": {
                        str(budget): count_provenance(metric.provenance[:, k])
                        for k, budget in enumerate(self.budgets)
                    },
                }
        shown = {k: v for k, v in self.attributes.items() if k not in ("views", "operation_names")}
        return {
            "path": str(self.path),
            "bytes": self.path.stat().st_size,
            "search_space": self.space.name,
            **shown,
            **self.space.summary(self.cells),
            "views": self.views,
            "contents": contents,
            "sources": self.sources,
        }
