"""A table file, opened: look-ups, queries and views."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError, MissingValueError, SettingsError, TableError
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.spaces.base import Space
from nprep.spaces.nb101.cells import (
    CellBatch,
    Spec,
    cells_from_specs,
    find_rows,
    parse_hash,
)
from nprep.table._hashes import find_hashes, first_rows
from nprep.table._mapping import SealedMetrics, map_file
from nprep.table.clock import Clock
from nprep.table.schema import (
    METRICS,
    PROVENANCE_NAMES,
    STORED_METRICS,
    UNITS,
    Metric,
    Provenance,
)
from nprep.table.view import Fidelity, View

Repeat = int | Literal["mean", "sample"]

# A shorter training can be asked for in a view where at most this share of cells lacks it.
_LACKING = 0.01


@dataclass(frozen=True)
class Answer:
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
class Table:
    """Measurements of cells, mapped from a file.

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

    path: Path
    attributes: dict[str, Any]
    space: Space
    budgets: tuple[int, ...]
    repeats: int
    sources: dict[str, dict[str, Any]]
    cells: Any
    index: KeyIndex
    metrics: Mapping[tuple[str, str], Metric]
    means: Mapping[tuple[str, str], Metric]
    views: dict[str, str]
    digests: dict[str, str] = field(repr=False)
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    _starts: list[NDArray[np.int32]] = field(default_factory=list, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Table:
        """Opens a table in milliseconds.

        Cells and index are compared with their checksums here, all else when it is first asked for:
        what is handed out is what was written.

        Raises:
            TableError: If the file is no table that this version can read, or is damaged.
        """
        where = Path(path)
        mapped = map_file(where)
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

    def __len__(self) -> int:
        """The number of architectures N."""
        return len(self.cells)

    @property
    def facts(self) -> dict[str, NDArray[Any]]:
        """What the space's ``facts`` name, (N, ...) each."""
        return {name: self.arrays[f"cells/{name}"] for name in self.space.facts}

    def _fact(self, name: str) -> NDArray[Any]:
        """A fact by its name.

        Raises:
            MissingValueError: If tables of this space have none such.
        """
        if name not in self.space.facts:
            raise MissingValueError(
                f"{self.path} is a table of {self.space.title}, which has no {name}."
            )
        return self.arrays[f"cells/{name}"]

    @property
    def module_hash(self) -> NDArray[np.uint8]:
        """(N, 16) uint8; the official module hashes of NASBench-101."""
        return self._fact("module_hash")

    @property
    def key(self) -> NDArray[np.uint64]:
        """(N,) uint64; the canonical keys."""
        return self.arrays["cells/key"]

    @property
    def trainable_parameters(self) -> NDArray[np.int32]:
        """(N,) int32; of the architectures' networks."""
        return self._fact("trainable_parameters")

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

    def _budget(self, budget: int | None) -> tuple[int, int]:
        """A budget, None being the last, and its place.

        Raises:
            SettingsError: If the table has no such budget.
        """
        budget = self.budgets[-1] if budget is None else budget
        if budget not in self.budgets:
            known = ", ".join(map(str, self.budgets))
            raise SettingsError(f"the budget of {budget} epochs is unknown: use {known}.")
        return budget, self.budgets.index(budget)

    def _check_repeat(self, repeat: int | str, rng: np.random.Generator | None) -> None:
        """Refuses an unknown repeat, and a random one without a generator.

        Raises:
            SettingsError: If it is either.
        """
        if isinstance(repeat, str):
            known = repeat in ("mean", "sample")
        else:
            known = not isinstance(repeat, bool | np.bool_) and 0 <= repeat < self.repeats
        if not known:
            numbers = ", ".join(map(str, range(self.repeats)))
            raise SettingsError(
                f"the repeat {repeat!r} is unknown: use {numbers}, 'mean' or 'sample'."
            )
        if repeat == "sample" and not isinstance(rng, np.random.Generator):
            raise SettingsError(
                "repeat='sample' needs a generator: pass rng=np.random.default_rng(0)."
            )

    # Values.

    def _metric(self, name: str, half_way: bool) -> Metric | None:
        if name not in STORED_METRICS:
            known = ", ".join(STORED_METRICS)
            raise SettingsError(f"the metric {name!r} is unknown: use {known}.")
        return self.metrics.get(("half_way" if half_way else "final", name))

    def _mean(self, name: str, budget: int, half_way: bool, rows: Any) -> Metric | None:
        """Means over the repeats that are present, and their provenance: both (M,)."""
        stage = "half_way" if half_way else "final"
        stored = self.means.get((stage, name))
        single = self.metrics.get((stage, name))
        k = self.budgets.index(budget)
        if stored is not None:
            kept = Metric(stored.values[rows, k], stored.provenance[rows, k])
            if single is None or not np.isnan(kept.values).any():
                return kept
        if single is None:
            return None
        values = single.values[rows, k].astype(np.float64)
        codes = single.provenance[rows, k]
        there = ~np.isnan(values)
        count = there.sum(axis=1)
        total = np.where(there, values, 0.0).sum(axis=1)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
        # A mean is as good as the worst value in it; of measured values alone it is derived.
        worst = codes.max(axis=1)
        code = np.where(worst == Provenance.MEASURED, Provenance.DERIVED, worst).astype(np.uint8)
        if stored is not None:
            known = ~np.isnan(stored.values[rows, k])
            mean = np.where(known, stored.values[rows, k], mean)
            code = np.where(known, stored.provenance[rows, k], code)
        return Metric(mean, code)

    def values(
        self,
        metric: str,
        rows: NDArray[np.integer] | slice | None = None,
        *,
        budget: int | None = None,
        repeat: Repeat | NDArray[np.integer] = "mean",
        half_way: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Metric:
        """Values of one metric, without charge.

        Args:
            metric: "validation_accuracy", "test_accuracy", "train_accuracy" or "training_seconds".
            rows: (M,) rows; None: all.
            budget: Length of the training in epochs, one of ``budgets``; None: in full.
            repeat: A number below ``repeats``; "mean" over the repeats that are present;
                "sample": one of them for each row, at random; or an (M,) array of repeats.
            half_way: Values from half-way through the training instead of its end.
            rng: For "sample".

        Returns:
            (M,) values, NaN where missing, and (M,) provenance.

        Raises:
            SettingsError: If metric, budget or repeat is unknown.
            MissingValueError: If the table has nothing of this metric.
            IndexError: If a row is out of range.
        """
        budget, k = self._budget(budget)
        chosen: Any = slice(None) if rows is None else rows
        if not isinstance(repeat, np.ndarray):
            self._check_repeat(repeat, rng)
        single = self._metric(metric, half_way)
        if isinstance(repeat, str) and repeat == "mean":
            mean = self._mean(metric, budget, half_way, chosen)
            if mean is not None:
                return mean
        if single is None:
            stage = "half-way" if half_way else "final"
            raise MissingValueError(
                f"{self.path} has no {stage} {metric.replace('_', ' ')} of single repeats: see "
                "python -m nprep.table info."
            )
        values, codes = single.values[chosen, k], single.provenance[chosen, k]
        if isinstance(repeat, np.ndarray):
            picked = repeat
        elif isinstance(repeat, str):
            assert rng is not None
            picked = sample_repeats(values, rng)
        else:
            return Metric(values[:, repeat], codes[:, repeat])
        at = np.arange(len(values))
        return Metric(values[at, picked], codes[at, picked])

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
    ) -> Answer:
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
        return Answer(
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
        """Trainings of many cells; like :meth:`query` for each of (M,) rows.

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

    # Views.

    def view(self, name: str) -> View:
        """The cells that a search may use, with everything that a replay needs.

        Args:
            name: "measured": the architectures all of whose validation repeats were measured. Any
                other view holds all that have a validation and a test accuracy. One that the
                file's attribute ``search_budgets`` names shows searches trainings of that length,
                for the price of training and one validation; its test accuracies are of trainings
                in full.

        Raises:
            TableError: If the table has no such view.
        """
        if name not in self.views:
            raise TableError(
                f"{self.path} has no view {name!r}: it has {', '.join(sorted(self.views))}."
            )
        validation = self._runs_or_means("validation_accuracy")
        if validation is None:
            raise TableError(f"{self.path} has no final validation accuracy, so no views.")
        full, last = self._budget(None)
        searched = json.loads(self.attributes.get("search_budgets", "{}"))
        shown, k = self._budget(searched.get(name))
        if name == "measured":
            inside = (validation.provenance[:, k] == Provenance.MEASURED).all(axis=1)
        else:
            inside = (validation.provenance[:, k] != Provenance.MISSING).any(axis=1)
        mean = self._mean("test_accuracy", full, half_way=False, rows=slice(None))
        if mean is None:
            raise TableError(f"{self.path} has no test accuracy, so no views.")
        inside &= ~np.isnan(mean.values)
        everything = bool(inside.all())
        rows = np.flatnonzero(inside).astype(np.int32)
        if not len(rows):
            raise TableError(f"the view {name!r} of {self.path} has no cells.")
        chosen: Any = slice(None) if everything else rows
        seconds = self._metric("training_seconds", half_way=False)
        counts = {
            "validation_accuracy": validation.provenance[chosen, k],
            "test_accuracy": mean.provenance[chosen],
        }
        if seconds is None:
            time = np.full((len(rows), validation.values.shape[2]), np.nan, np.float32)
        else:
            time = np.ascontiguousarray(seconds.values[chosen, k])
            if name in searched:
                time = time + self.metrics["final", "validation_seconds"].values[chosen, k]
            counts["training_seconds"] = seconds.provenance[chosen, k]
        runs = self._metric("test_accuracy", half_way=False)
        test_runs = None
        if runs is not None:
            test_runs = np.ascontiguousarray(runs.values[chosen, last])
            known = np.isnan(test_runs) <= np.isnan(validation.values[chosen, k])
            test_runs = test_runs if known.all() else None
            counts["test_accuracy_of_runs"] = runs.provenance[chosen, last]
        return View(
            name=name,
            description=self.views[name],
            rows=rows,
            cells=self.cells if everything else self.cells.take(rows),
            validation=np.ascontiguousarray(validation.values[chosen, k]),
            test=np.ascontiguousarray(mean.values[chosen], np.float32),
            training_seconds=time,
            index=self._index_of(rows, everything),
            provenance={metric: count_provenance(codes) for metric, codes in counts.items()},
            test_runs=test_runs,
            lower={} if name in searched else self._lower(validation, seconds, chosen, time),
            space=self.space,
            full_epochs=shown,
        )

    def _runs_or_means(self, name: str) -> Metric | None:
        """Final values (N, B, R) of a metric; means as one run where only they are known."""
        runs = self._metric(name, half_way=False)
        if runs is not None or ("final", name) not in self.means:
            return runs
        mean = self.means["final", name]
        return Metric(mean.values[:, :, None], mean.provenance[:, :, None])

    def _index_of(self, rows: NDArray[np.int32], everything: bool) -> KeyIndex:
        """The index of a view's cells.

        Raises:
            TableError: If it does not find them: a search would propose cells for ever, none of
                them in the view. A few are tried, ``check`` tries all.
        """
        wrong = TableError(
            f"{self.path} is damaged: its keys are not those of its cells; see python -m "
            "nprep.table check."
        )
        try:
            index = self.index if everything else KeyIndex.build(self.key[rows])
        except TableError:
            raise
        except ValueError as error:
            raise wrong from error
        some = np.unique(np.linspace(0, len(rows) - 1, 64).astype(np.int32))
        if (index.find(self.space.keys(self.cells.take(rows[some]))) != some).any():
            raise wrong
        return index

    def _lower(
        self,
        validation: Metric,
        seconds: Metric | None,
        chosen: Any,
        full_seconds: NDArray[np.float32],
    ) -> dict[int, Fidelity]:
        """The shorter trainings of a view's cells, those that nearly all cells have."""
        above = Fidelity(
            np.full(len(full_seconds), self.budgets[-1], np.uint16),
            validation.values[chosen, -1],
            full_seconds,
        )
        lower = {}
        for k in reversed(range(len(self.budgets) - 1)):
            budget = self.budgets[k]
            codes = validation.provenance[chosen, k]
            absent = (codes == Provenance.MISSING).all(axis=1)
            if absent.mean() > _LACKING:
                continue
            values = np.array(validation.values[chosen, k])
            epochs = np.full(len(values), budget, np.uint16)
            time = np.full(values.shape, np.nan, np.float32)
            if seconds is not None:
                time = np.array(seconds.values[chosen, k])
            values[absent] = above.validation[absent]
            epochs[absent] = above.epochs[absent]
            time[absent] = above.training_seconds[absent]
            lower[budget] = above = Fidelity(epochs, values, time)
        return lower

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


def sample_repeats(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """One of the repeats that are present in each row, uniformly.

    Args:
        values: (M, R), NaN where missing.
        rng: The generator.

    Returns:
        (M,) int64; 0 where none is present.
    """
    there = ~np.isnan(values)
    place = np.minimum(
        (rng.random(len(values)) * there.sum(axis=1)).astype(np.int64), values.shape[1] - 1
    )
    # The place-th of those present: where the running count first exceeds it.
    picked: NDArray[np.int64] = (there.cumsum(axis=1) > place[:, None]).argmax(axis=1)
    return picked


def count_provenance(codes: NDArray[np.uint8]) -> dict[str, int]:
    """Number of values by provenance, without zeros; unknown codes are counted as such."""
    counts = np.bincount(codes.ravel(), minlength=len(PROVENANCE_NAMES))
    named = dict(zip(PROVENANCE_NAMES, counts[: len(PROVENANCE_NAMES)].tolist(), strict=True))
    named["unknown"] = int(counts[len(PROVENANCE_NAMES) :].sum())
    return {name: count for name, count in named.items() if count}
