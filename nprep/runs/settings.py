"""What a replay is told to do, and where its view comes from."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nprep.errors import SettingsError
from nprep.predictor.backends.names import parse_backend
from nprep.runs.protocols import differences, protocol_named, with_rules
from nprep.search.method import Method, check_pool
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol
from nprep.table.view import View

MAX_TRIALS = 1_000_000
MAX_SAMPLES = 10_000_000
MAX_WORKERS = 1_000_000


@dataclass(frozen=True)
class ReplaySettings:
    """Everything that the results depend on, the view apart.

    Attributes:
        methods: Names for ``nprep.search.registry.make_method``, or methods themselves.
        trials: Number of trials of each method.
        samples: Budget of the sequential methods.
        train_samples: Number N of cells that predictors train on.
        top_k: Number K of cells that predictors have trained in the end.
        seed: Decides every random draw.
        block: Trials that a method runs together. A predictor's trials may differ in their last
            digits between block sizes, so it belongs to the settings.
        bootstrap: Number of resamples behind each interval.
        protocol: The rules.
        workers: Numbers of machines to simulate the searches on, each once, ascending.
        predictor_seconds: Time that a predictor takes between two rounds of trainings, in that
            simulation.
        backend: What trains and asks predictors (see ``nprep.predictor.backends.base``).
    """

    methods: tuple[str | Method, ...] = ("random", "evolution", "np", "oracle")
    trials: int = 100
    samples: int = 10_000
    train_samples: int = 172
    top_k: int = 1000
    seed: int = 0
    block: int = 10
    bootstrap: int = 1000
    protocol: ReplayProtocol = dataclasses.field(default_factory=ReplayProtocol)
    workers: tuple[int, ...] = ()
    predictor_seconds: float = 0.0
    backend: str = "auto"

    def __post_init__(self) -> None:
        """Refuses numbers that make no sense."""
        if not self.methods:
            raise SettingsError("no method is named: give --methods at least one.")
        for name in self.names:
            if self.names.count(name) > 1:
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

        for workers in self.workers:
            if not 1 <= workers <= MAX_WORKERS or self.workers.count(workers) > 1:
                raise SettingsError(
                    f"workers is {workers}: use whole numbers from 1 to {MAX_WORKERS}, each once."
                )
        parse_backend(self.backend)
        if not 0 <= self.predictor_seconds < math.inf:
            raise SettingsError(
                f"predictor-seconds is {self.predictor_seconds}: use a number of 0 or more."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the methods."""
        return tuple(each if isinstance(each, str) else each.name for each in self.methods)

    @staticmethod
    def of_protocol(name: str, **changes: Any) -> ReplaySettings:
        """The settings that a named protocol comes with, some of them changed.

        Args:
            name: One of ``nprep.runs.protocols.PROTOCOLS``.
            changes: Fields of the settings, or rules of the protocol.

        Raises:
            SettingsError: If there is no such protocol, or a setting makes no sense.
        """
        named = protocol_named(name)
        rules = {rule.name for rule in dataclasses.fields(ReplayProtocol)}
        given = {key: value for key, value in changes.items() if key in rules}
        fields = {key: value for key, value in changes.items() if key not in rules}
        return ReplaySettings(
            **{
                "methods": named.methods,
                "samples": named.samples,
                "train_samples": named.train_samples,
                "top_k": named.top_k,
                "protocol": dataclasses.replace(named.rules, **given),
                **fields,
            }
        )

    def view_source(self, source: ViewSource) -> ViewSource:
        """Where methods get the view from: ``source``, as the protocol lets them see it."""
        return _ProtocolSource(source, self.protocol)

    def make_methods(self) -> dict[str, Method]:
        """The methods by their names."""
        methods = [
            make_method(each, self.train_samples, self.backend) if isinstance(each, str) else each
            for each in self.methods
        ]
        return dict(zip(self.names, methods, strict=True))

    def horizon(self, method: Method) -> int:
        """The number of samples that a trial of ``method`` is charged.

        It is N + K for predictors, else the budget, or as much of it as the method takes.
        """
        train_samples = method.train_samples
        if train_samples:
            return train_samples + self.top_k
        return min(self.samples, self.samples if method.max_samples is None else method.max_samples)

    def check_view(self, view: View) -> None:
        """Refuses a view that a method or the protocol cannot be used with.

        Raises:
            SettingsError: If it has too few cells or lacks values.
        """
        for name, method in self.make_methods().items():
            horizon = self.horizon(method)
            if method.train_samples and horizon > len(view):
                raise SettingsError(
                    f"method {name!r} needs {horizon} cells (train-samples + top-k) and view "
                    f"{view.name!r} has {len(view)}: lower --train-samples or --top-k."
                )
            check_pool(method, view)
        if self.protocol.report == "run" and view.test_runs is None:
            raise SettingsError(
                f"protocol {self.protocol.name} reports the test accuracy of single runs, and view "
                f"{view.name!r} has means only: use --report mean or another table."
            )
        if (self.protocol.seconds is not None or self.workers) and not is_timed(view):
            what = "--workers needs" if self.workers else "the protocol's --seconds needs"
            raise SettingsError(
                f"view {view.name!r} does not know all training times, which {what}: use another "
                "table, or --seconds unlimited and no --workers."
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
        return {
            **dataclasses.asdict(dataclasses.replace(self, methods=self.names)),
            "methods": list(self.names),
            "workers": list(self.workers),
            "protocol_differs_in": differences(self.protocol),
        }


def settings_from(run: dict[str, Any]) -> ReplaySettings:
    """The settings that ``ReplaySettings.to_json`` made JSON of.

    Args:
        run: What lies under "run" in ``settings.json``; methods are known by their names.

    Raises:
        SettingsError: If this version knows no such settings.
        KeyError: If one is missing.
        TypeError: If it holds something else.
    """
    settings: ReplaySettings = _rebuilt(ReplaySettings, run)
    return settings


def _rebuilt(kind: Any, content: Any) -> Any:
    """A value of a settings class, or of a field of one, from what JSON made of it."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        kinds = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: _rebuilt(kinds[name], content[name]) for name in names})
    return tuple(content) if isinstance(content, list) else content


def is_timed(view: View) -> bool:
    """Whether a view knows the training time of every run."""
    runs = [(view.validation, view.training_seconds)]
    runs += [(lower.validation, lower.training_seconds) for lower in view.lower.values()]
    return not any(np.isnan(seconds[~np.isnan(validation)]).any() for validation, seconds in runs)


class ViewSource(Protocol):
    """Where workers get the view from; must survive pickling."""

    def load(self) -> View:
        """The view."""

    def describe(self) -> dict[str, object]:
        """What to write down about the source."""


@dataclass(frozen=True)
class _ProtocolSource:
    """A view as a protocol lets methods see it.

    Attributes:
        source: Where the view comes from.
        protocol: The rules.
    """

    source: ViewSource
    protocol: ReplayProtocol

    def load(self) -> View:
        """The view (see ``ViewSource``)."""
        return with_rules(self.source.load(), self.protocol)

    def describe(self) -> dict[str, object]:
        """What the source says."""
        return self.source.describe()


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
        """Opens the table (see ``ViewSource``)."""
        # h5py costs start-up time that a command with a wrong setting need not pay.
        from nprep.table.table import Table

        return Table.open(self.path).view(self.view)

    def describe(self) -> dict[str, object]:
        """The path of the file and the view's name."""
        return {"table": str(self.path), "view": self.view}


@dataclass(frozen=True)
class ViewInMemory:
    """Hands out a view that is at hand already (see ``ViewSource``).

    Attributes:
        view: The view.
    """

    view: View

    def load(self) -> View:
        """The view itself."""
        return self.view

    def describe(self) -> dict[str, object]:
        """Its name: it is in no file."""
        return {"view": self.view.name, "memory": True}


def view_digest(view: View) -> str:
    """A digest of all that the results depend on, by which a replaced table is noticed."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (
        view.rows,
        *view.space.to_arrays(view.cells).values(),
        view.validation,
        view.test,
        view.training_seconds,
        *(() if view.test_runs is None else (view.test_runs,)),
        *(
            getattr(view.lower[budget], name)
            for budget in sorted(view.lower)
            for name in ("epochs", "validation", "training_seconds")
        ),
    ):
        digest.update(str(array.dtype).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
