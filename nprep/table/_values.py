"""Measurements of architectures, mapped from a file, and their values by budget and repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nprep.errors import MissingValueError, SettingsError
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.spaces.base import Space
from nprep.table.schema import (
    PROVENANCE_NAMES,
    STORED_METRICS,
    Metric,
    Provenance,
)

Repeat = int | Literal["mean", "sample"]


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


@dataclass(frozen=True)
class Measurements:
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
