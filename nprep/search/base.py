"""What a search method is, what it may ask, and what it is charged.

A *method* runs blocks of trials on a :class:`~nprep.table.view.View`. Most are easiest to write as
a *searcher*: one object per trial that is asked for cells and told values (see
:class:`SearcherMethod`). Methods that do many trials at once, such as the predictors and the
compiled loops, implement :class:`Method` themselves and draw their noise from
:func:`noise_seed_of` and :class:`Evaluator`, so that all see the same values.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.noise import draw_repeats
from nprep.table.view import View

# Keys of the independent streams that one trial's seed is split into.
SEARCH_STREAM = 0
NOISE_STREAM = 1

# With free duplicates a search that has nothing new to propose would never end.
MAX_QUERIES_PER_SAMPLE = 100


@dataclass(frozen=True)
class ReplayProtocol:
    """The rules of a comparison.

    Attributes:
        name: What outputs call it.
        repeats: Which training run a query sees. "architecture": one repeat, drawn once per trial
            and cell, as in the paper; "query": drawn anew at every query, as in the official API.
        duplicates: "charged": every query counts, also of a cell seen before; "free": a trial
            remembers what it has seen, and only new cells count.
        sampling: How random cells are drawn. "cells": uniformly over the cells of the view;
            "specs": by the official sampler of random matrices, redrawn outside the view.
    """

    name: str = "wen2020"
    repeats: str = "architecture"
    duplicates: str = "charged"
    sampling: str = "cells"

    def __post_init__(self) -> None:
        """Refuses unknown rules and the pair that has no meaning."""
        for setting, choices in (
            ("repeats", ("architecture", "query")),
            ("duplicates", ("charged", "free")),
            ("sampling", ("cells", "specs")),
        ):
            value = getattr(self, setting)
            if value not in choices:
                raise SettingsError(
                    f"{setting} is {value!r}, which is unknown: use {' or '.join(choices)}."
                )
        if self.repeats == "query" and self.duplicates == "free":
            raise SettingsError(
                "repeats 'query' with duplicates 'free' would hand out free extra training runs: "
                "use repeats 'architecture' or duplicates 'charged'."
            )


@dataclass(frozen=True)
class Trace:
    """The charged queries of one trial, in order.

    Attributes:
        positions: (S,) int32; the cells, as positions in the view.
        repeats: (S,) uint8; the training run that each query saw.
        validation: (S,) float32 in [0, 1]; as seen.
        seconds: (S,) float32; training time of that run.
    """

    positions: NDArray[np.int32]
    repeats: NDArray[np.uint8]
    validation: NDArray[np.float32]
    seconds: NDArray[np.float32]

    def __len__(self) -> int:
        """The number of samples S."""
        return len(self.positions)


def trace_of(view: View, positions: NDArray[np.int32], repeats: NDArray[np.integer]) -> Trace:
    """The trace of queries whose cells and repeats are known.

    Args:
        view: The cells.
        positions: (S,) int32.
        repeats: (S,) integers.
    """
    return Trace(
        np.ascontiguousarray(positions, np.int32),
        np.ascontiguousarray(repeats, np.uint8),
        view.validation[positions, repeats],
        view.training_seconds[positions, repeats],
    )


def trial_seed(seed: int, method: str, trial: int) -> np.random.SeedSequence:
    """The seed of a trial, which no other method or trial bears on.

    Args:
        seed: The seed of the whole replay, not negative.
        method: Name of the method.
        trial: Number of the trial, not negative.
    """
    key = int.from_bytes(hashlib.blake2b(method.encode(), digest_size=8).digest(), "little")
    return np.random.SeedSequence(seed, spawn_key=(key, trial))


def stream(seed: np.random.SeedSequence, key: int) -> np.random.SeedSequence:
    """An independent child of a seed; unlike ``spawn`` it leaves the parent as it was."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, key))


def noise_seed_of(seed: np.random.SeedSequence) -> np.uint64:
    """What decides which repeats a trial sees."""
    return np.uint64(stream(seed, NOISE_STREAM).generate_state(1, np.uint64)[0])


class Evaluator:
    """Answers the queries of one trial and records what is charged."""

    def __init__(
        self, view: View, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> None:
        """Prepares a trial.

        Args:
            view: The cells.
            seed: The trial's seed.
            samples: How many queries may be charged.
            protocol: The rules.
        """
        self._view = view
        self._noise_seed = noise_seed_of(seed)
        self._samples = samples
        self._protocol = protocol
        self._positions: list[NDArray[np.int32]] = []
        self._repeats: list[NDArray[np.uint8]] = []
        self._seen = np.zeros(len(view) if protocol.duplicates == "free" else 0, bool)
        self.queries = 0
        self.charged = 0

    @property
    def done(self) -> bool:
        """Whether no further query is answered."""
        return (
            self.charged >= self._samples or self.queries >= MAX_QUERIES_PER_SAMPLE * self._samples
        )

    def query(self, positions: NDArray[np.int32]) -> NDArray[np.float32]:
        """The validation accuracy of each cell, as one training run gave it.

        Args:
            positions: (N,) int32.

        Returns:
            (A,) float32, A <= N: where the budget ends first, the last cells go unanswered.

        Raises:
            IndexError: If a position is outside the view.
        """
        positions = np.atleast_1d(np.asarray(positions, np.int32))
        if len(positions) and (positions.min() < 0 or positions.max() >= len(self._view)):
            raise IndexError(f"a cell was asked for outside positions 0 to {len(self._view) - 1}")
        new = np.ones(len(positions), bool)
        if self._protocol.duplicates == "free":
            first = np.zeros(len(positions), bool)
            first[np.unique(positions, return_index=True)[1]] = True
            new = first & ~self._seen[positions]
        answered = int(np.searchsorted(np.cumsum(new), self._samples - self.charged + 1))
        answered = min(answered, MAX_QUERIES_PER_SAMPLE * self._samples - self.queries)
        positions, new = positions[:answered], new[:answered]
        if self._protocol.repeats == "query":
            counters = np.arange(self.queries, self.queries + answered, dtype=np.int64)
        else:
            counters = positions.astype(np.int64)
        repeats = draw_repeats(self._view.validation, self._noise_seed, positions, counters)
        if self._protocol.duplicates == "free":
            self._seen[positions] = True
        self._positions.append(positions[new])
        self._repeats.append(repeats[new])
        self.queries += answered
        self.charged += int(new.sum())
        return self._view.validation[positions, repeats]

    def trace(self) -> Trace:
        """What was charged so far."""
        none = np.zeros(0, np.int32)
        positions = np.concatenate([none, *self._positions])
        repeats = np.concatenate([none.astype(np.uint8), *self._repeats])
        return trace_of(self._view, positions, repeats)


class Method(Protocol):
    """A search method with all its settings.

    A method may also have an attribute ``train_samples``: the number N of random cells that it
    trains a predictor with. Its trials are then N + K samples long instead of the budget of the
    sequential methods.
    """

    @property
    def name(self) -> str:
        """What the command line and outputs call it; seeds depend on it."""

    def settings(self) -> dict[str, object]:
        """Its settings, for outputs."""

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed.

        Args:
            view: The cells to search.
            seeds: (T,) one seed per trial, which alone decides the trial.
            samples: The number of samples S that each trial is charged.
            protocol: The rules.

        Returns:
            T traces, each of at most S samples.
        """


@dataclass(frozen=True)
class Preset:
    """A base for methods that are frozen dataclasses, each instance a named set of settings.

    Attributes:
        name: Name of the method.
    """

    name: str

    def settings(self) -> dict[str, object]:
        """The fields of the dataclass."""
        return dataclasses.asdict(self)


class Searcher(Protocol):
    """One trial of a sequential method: asked for cells, told their values."""

    def ask(self) -> NDArray[np.int32]:
        """The positions of the cells to train next, one or many; none at all ends the trial."""

    def tell(self, positions: NDArray[np.int32], values: NDArray[np.float32]) -> None:
        """Reports the validation accuracy in [0, 1] of cells that were asked for."""


@dataclass(frozen=True)
class SearcherMethod(Preset):
    """Makes a method of a searcher.

    Example::

        class BestOfNothing:
            def __init__(self, view: View, rng: np.random.Generator) -> None:
                self.cells, self.rng = len(view), rng

            def ask(self) -> NDArray[np.int32]:
                return self.rng.integers(self.cells, size=1, dtype=np.int32)

            def tell(self, positions, values) -> None:
                pass

        method = SearcherMethod("best-of-nothing", BestOfNothing)

    Attributes:
        name: Name of the method.
        start: Makes the searcher of one trial from the view and the trial's generator.
    """

    start: Callable[[View, np.random.Generator], Searcher]

    def settings(self) -> dict[str, object]:
        """The name, and where the searcher comes from."""
        qualified = getattr(self.start, "__qualname__", repr(self.start))
        return {"name": self.name, "searcher": f"{self.start.__module__}:{qualified}"}

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs the trials one after another (see :class:`Method`)."""
        traces = []
        for seed in seeds:
            searcher = self.start(view, np.random.default_rng(stream(seed, SEARCH_STREAM)))
            evaluator = Evaluator(view, seed, samples, protocol)
            while not evaluator.done:
                positions = np.atleast_1d(np.asarray(searcher.ask(), np.int32))
                if not len(positions):
                    break
                values = evaluator.query(positions)
                searcher.tell(positions[: len(values)], values)
            traces.append(evaluator.trace())
        return traces
