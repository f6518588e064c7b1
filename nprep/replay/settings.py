"""What a replay is told to do, and where its view comes from."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from nprep.errors import SettingsError
from nprep.search.base import Method, ReplayProtocol
from nprep.search.registry import make_method
from nprep.table.view import View

MAX_TRIALS = 1_000_000
MAX_SAMPLES = 10_000_000


@dataclass(frozen=True)
class ReplaySettings:
    """Everything that the results depend on, the view apart.

    Attributes:
        methods: Names for :func:`nprep.search.registry.make_method`.
        trials: Number of trials of each method.
        samples: Budget of the sequential methods.
        train_samples: Number N of cells that predictors train on.
        top_k: Number K of cells that predictors have trained in the end.
        seed: Decides every random draw.
        block: Trials that a method runs together. A predictor's trials may differ in their last
            digits between block sizes, so it belongs to the settings.
        bootstrap: Number of resamples behind each interval.
        protocol: The rules.
    """

    methods: tuple[str, ...] = ("random", "evolution", "np", "oracle")
    trials: int = 100
    samples: int = 10_000
    train_samples: int = 172
    top_k: int = 1000
    seed: int = 0
    block: int = 10
    bootstrap: int = 1000
    protocol: ReplayProtocol = dataclasses.field(default_factory=ReplayProtocol)

    def __post_init__(self) -> None:
        """Refuses numbers that make no sense."""
        if not self.methods:
            raise SettingsError("no method is named: give --methods at least one.")
        for name in self.methods:
            if self.methods.count(name) > 1:
                raise SettingsError(f"method {name!r} is named twice: name each once.")
        for setting, low, high in (
            ("trials", 1, MAX_TRIALS),
            ("samples", 1, MAX_SAMPLES),
            ("train_samples", 1, MAX_SAMPLES),
            ("top_k", 1, MAX_SAMPLES),
            ("seed", 0, 2**64 - 1),
            ("block", 1, MAX_TRIALS),
            ("bootstrap", 10, MAX_TRIALS),
        ):
            value = getattr(self, setting)
            if not low <= value <= high:
                raise SettingsError(
                    f"{setting.replace('_', '-')} is {value}: use a whole number from {low} "
                    f"to {high}."
                )

    def make_methods(self) -> dict[str, Method]:
        """The methods by their names."""
        methods = [make_method(name, self.train_samples) for name in self.methods]
        return dict(zip(self.methods, methods, strict=True))

    def horizon(self, method: Method) -> int:
        """The number of samples that a trial of ``method`` is charged: N + K or the budget."""
        train_samples = train_samples_of(method)
        return train_samples + self.top_k if train_samples else self.samples

    def check_view(self, view: View) -> None:
        """Refuses what a view is too small for.

        Raises:
            SettingsError: If predictors would need more cells than there are.
        """
        for name, method in self.make_methods().items():
            horizon = self.horizon(method)
            if train_samples_of(method) and horizon > len(view):
                raise SettingsError(
                    f"method {name!r} needs {horizon} cells (train-samples + top-k) and view "
                    f"{view.name!r} has {len(view)}: lower --train-samples or --top-k."
                )
        if np.isnan(view.test).any():
            raise SettingsError(
                f"view {view.name!r} has no test accuracy for {int(np.isnan(view.test).sum())} of "
                f"its {len(view)} cells: use a view or a table that has."
            )
        missing = np.isnan(view.validation).all(axis=1)
        if missing.any():
            raise SettingsError(
                f"view {view.name!r} has no validation accuracy for {int(missing.sum())} of its "
                f"{len(view)} cells: use a view or a table that has."
            )

    def to_json(self) -> dict[str, object]:
        """The fields, as JSON has them."""
        return {**dataclasses.asdict(self), "methods": list(self.methods)}


def train_samples_of(method: Method) -> int:
    """The number N of a predictor's training cells; 0 for a sequential method."""
    return int(getattr(method, "train_samples", 0))


class ViewSource(Protocol):
    """Where workers get the view from; must survive pickling."""

    def load(self) -> View:
        """The view."""

    def describe(self) -> dict[str, object]:
        """What to write down about the source."""


@dataclass(frozen=True)
class TableSource:
    """A view of a table file.

    Attributes:
        path: The file.
        view: Name of the view.
    """

    path: Path
    view: str

    def load(self) -> View:
        """Opens the table (see :class:`ViewSource`)."""
        # h5py costs start-up time that a command with a wrong setting need not pay.
        from nprep.table.table import Table

        return Table.open(self.path).view(self.view)

    def describe(self) -> dict[str, object]:
        """The path of the file and the view's name."""
        return {"table": str(self.path), "view": self.view}


def view_digest(view: View) -> str:
    """A digest of all that the results depend on, by which a replaced table is noticed."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (
        view.rows,
        view.cells.adjacency_bits,
        view.cells.operations,
        view.cells.num_vertices,
        view.validation,
        view.test,
        view.training_seconds,
    ):
        digest.update(str(array.dtype).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
