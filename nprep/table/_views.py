"""The views of a table: what a search may use of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.table._values import Measurements, count_provenance
from nprep.table.schema import (
    Metric,
    Provenance,
)
from nprep.table.view import Fidelity, View

# A shorter training can be asked for in a view where at most this share of cells lacks it.
_LACKING = 0.01


@dataclass(frozen=True)
class Viewable(Measurements):
    """Measurements with their views."""

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
