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
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.search.noise import draw_repeats
from nprep.table.view import FULL_EPOCHS, View

# Keys of the independent streams that one trial's seed is split into.
SEARCH_STREAM = 0
NOISE_STREAM = 1

# With free duplicates a search that has nothing new to propose would never end.
MAX_QUERIES_PER_SAMPLE = 100

# What each rule of a protocol may be.
RULES: dict[str, tuple[str, ...]] = {
    "repeats": ("architecture", "query", "mean"),
    "duplicates": ("charged", "free"),
    "sampling": ("cells", "specs"),
    "invalid": ("redrawn", "zero"),
    "report": ("mean", "run"),
    "shows": ("accuracy", "regret"),
    "axis": ("samples", "seconds"),
}


@dataclass(frozen=True)
class ReplayProtocol:
    """The rules of a comparison.

    Those that are known by a name are in ``nprep.runs.protocols``.

    Attributes:
        name: What outputs call it.
        repeats: Which training run a query sees, and so what drives the search. "architecture": one
            repeat, drawn once per trial and cell, as in the paper; "query": drawn anew at every
            query, as in the official API; "mean": the mean of the repeats.
        duplicates: "charged": every query counts, also of a cell seen before; "free": a trial
            remembers what it has seen, and only new cells count.
        sampling: How random cells are drawn. "cells": uniformly over the cells of the view;
            "specs": by the official sampler of random matrices, redrawn outside the view.
        invalid: What becomes of random specs that are no cell. "redrawn": they are drawn again;
            "zero": they enter the first population of evolution with accuracy 0, cost nothing and
            are left out of the trace.
        report: The test accuracy of the incumbent. "mean": over its repeats; "run": of the run that
            the search saw.
        shows: "accuracy" or "regret", which is the distance to the best cell of the view.
        axis: What outputs put accuracy against: "samples" or "seconds" of training.
        seconds: Training time that a trial is charged, or None for no such limit. The training that
            goes beyond it is the last.
    """

    name: str = "wen2020"
    repeats: str = "architecture"
    duplicates: str = "charged"
    sampling: str = "cells"
    invalid: str = "redrawn"
    report: str = "mean"
    shows: str = "accuracy"
    axis: str = "samples"
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuses unknown rules and the pair that has no meaning."""
        for setting, choices in RULES.items():
            value = getattr(self, setting)
            if value not in choices:
                known = " or ".join((", ".join(choices[:-1]), choices[-1]))
                raise SettingsError(f"{setting} is {value!r}, which is unknown: use {known}.")
        if self.repeats == "query" and self.duplicates == "free":
            raise SettingsError(
                "repeats 'query' with duplicates 'free' would hand out free extra training runs: "
                "use repeats 'architecture' or duplicates 'charged'."
            )
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise SettingsError(f"seconds is {self.seconds}: use a number above 0.")


@dataclass(frozen=True)
class Trace:
    """The charged queries of one trial, in order.

    Attributes:
        positions: (S,) int32; the cells, as positions in the view.
        repeats: (S,) uint8; the training run that each query saw.
        validation: (S,) float32 in [0, 1]; as seen.
        seconds: (S,) float32; training time of that run.
        epochs: (S,) uint8; length of that run. None makes it 108 of each.
        rounds: (Q,) int32, ascending from 0; where the rounds begin. The queries of a round wait
            for all rounds before and for nothing else, so that they can be trained in parallel.
            None makes each query a round of its own.
    """

    positions: NDArray[np.int32]
    repeats: NDArray[np.uint8]
    validation: NDArray[np.float32]
    seconds: NDArray[np.float32]
    epochs: NDArray[np.uint8] | None = None
    rounds: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """The number of charged queries S."""
        return len(self.positions)


def trace_of(
    view: View,
    positions: NDArray[np.int32],
    repeats: NDArray[np.integer],
    epochs: NDArray[np.integer] | None = None,
    rounds: Sequence[int] | None = None,
) -> Trace:
    """The trace of queries whose cells and repeats are known.

    Args:
        view: The cells.
        positions: (S,) int32.
        repeats: (S,) integers.
        epochs: (S,) lengths of the runs; None: all in full.
        rounds: See :class:`Trace`.
    """
    validation = view.validation[positions, repeats]
    seconds = view.training_seconds[positions, repeats]
    if epochs is not None:
        for budget in set(np.unique(epochs).tolist()) - {FULL_EPOCHS}:
            short = epochs == budget
            fidelity = view.at(budget)
            validation[short] = fidelity.validation[positions[short], repeats[short]]
            seconds[short] = fidelity.training_seconds[positions[short], repeats[short]]
    return Trace(
        np.ascontiguousarray(positions, np.int32),
        np.ascontiguousarray(repeats, np.uint8),
        validation,
        seconds,
        None if epochs is None else np.ascontiguousarray(epochs, np.uint8),
        None if rounds is None else np.array(rounds, np.int32),
    )


def within_limits(trace: Trace, protocol: ReplayProtocol) -> Trace:
    """A trace up to the training that takes it to the protocol's limit of seconds, that included.

    For methods that do not look at that limit themselves.
    """
    if protocol.seconds is None:
        return trace
    before = np.cumsum(trace.seconds, dtype=np.float64) - trace.seconds
    kept = int((before < protocol.seconds).sum())
    if kept == len(trace):
        return trace
    return Trace(
        trace.positions[:kept],
        trace.repeats[:kept],
        trace.validation[:kept],
        trace.seconds[:kept],
        None if trace.epochs is None else trace.epochs[:kept],
        None if trace.rounds is None else trace.rounds[trace.rounds < kept],
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
    """Answers the queries of one trial and records what is charged.

    A query may train for fewer than 108 epochs where the view knows what comes of it::

        values = evaluator.query(positions, budget=12)

    It is charged 12 / 108 of a sample, 12 epochs and the training time of that run. Each call is a
    round: its cells could have been trained side by side, so a method asks for as many at once as
    it can. A method that asks for shorter trainings says which, so that a view that lacks them is
    refused before anything runs: ``budgets = (4, 12, 36, 108)`` as an attribute of its class.
    """

    def __init__(
        self, view: View, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> None:
        """Prepares a trial.

        Args:
            view: The cells.
            seed: The trial's seed.
            samples: How many queries of 108 epochs may be charged, or shorter ones that have as
                many epochs in all.
            protocol: The rules.
        """
        self._view = view
        self._noise_seed = noise_seed_of(seed)
        self._samples = samples
        self._protocol = protocol
        self._positions: list[NDArray[np.int32]] = []
        self._repeats: list[NDArray[np.uint8]] = []
        self._epochs: list[NDArray[np.uint8]] = []
        self._rounds: list[int] = []
        # By length of training: the cells that were so trained, where they are free then.
        self._seen: dict[int, NDArray[np.bool_]] = {}
        self._over = False
        self.queries = 0
        self.charged = 0
        self.epochs = 0
        self.seconds = 0.0
        # Of the last query: (A,) seconds that each answer was charged.
        self.last_seconds = np.zeros(0)

    @property
    def done(self) -> bool:
        """Whether no further query is answered."""
        limit = self._protocol.seconds
        return (
            self._over
            or self.epochs >= FULL_EPOCHS * self._samples
            or (limit is not None and self.seconds >= limit)
            or self.queries >= MAX_QUERIES_PER_SAMPLE * self._samples
        )

    @property
    def left(self) -> int:
        """How many queries of 108 epochs can still be charged."""
        return self._samples - -(-self.epochs // FULL_EPOCHS)

    def query(self, positions: NDArray[np.int32], budget: int = FULL_EPOCHS) -> NDArray[np.float32]:
        """The validation accuracy of each cell, as one training run gave it.

        Args:
            positions: (N,) int32.
            budget: Length of the runs in epochs, one of ``view.budgets``. A cell that the view
                knows no such run of gets a longer one and is charged for it.

        Returns:
            (A,) float32, A <= N: where the budget ends first, the last cells go unanswered and the
            trial is done.

        Raises:
            IndexError: If a position is outside the view.
            SettingsError: If the view has no runs of that length.
        """
        positions = np.atleast_1d(np.asarray(positions, np.int32))
        if len(positions) and (positions.min() < 0 or positions.max() >= len(self._view)):
            raise IndexError(f"a cell was asked for outside positions 0 to {len(self._view) - 1}")
        allowed = MAX_QUERIES_PER_SAMPLE * self._samples - self.queries
        wanted = len(positions)
        positions = positions[:allowed]
        if budget == FULL_EPOCHS:
            epochs = np.full(len(positions), FULL_EPOCHS, np.uint8)
            validation, seconds = self._view.validation, self._view.training_seconds
        else:
            fidelity = self._view.at(budget)
            epochs = fidelity.epochs[positions]
            validation, seconds = fidelity.validation, fidelity.training_seconds
        new = self._new(positions, budget)
        if self._protocol.repeats == "query":
            counters = np.arange(self.queries, self.queries + len(positions), dtype=np.int64)
        else:
            # Trainings of different lengths are different runs.
            counters = positions + (
                np.where(epochs == FULL_EPOCHS, 0, epochs).astype(np.int64) << 32
            )
        repeats = draw_repeats(validation, self._noise_seed, positions, counters)
        costs = np.where(new, epochs, 0).astype(np.int64)
        fits = self.epochs + np.cumsum(costs) <= FULL_EPOCHS * self._samples
        limit = self._protocol.seconds
        times = np.where(new, seconds[positions, repeats], np.float32(0)).astype(np.float64)
        if limit is not None:
            spent = self.seconds + np.concatenate([[0.0], np.cumsum(times)])[:-1]
            fits &= ~new | (spent < limit)
        answered = len(fits) if fits.all() else int(np.argmin(fits))
        self._over = answered < wanted
        positions, repeats, new = positions[:answered], repeats[:answered], new[:answered]
        if self._protocol.duplicates == "free":
            self._seen[budget][positions] = True
        if new.any():
            self._rounds.append(self.charged)
        self._positions.append(positions[new])
        self._repeats.append(repeats[new])
        self._epochs.append(epochs[:answered][new])
        self.queries += answered
        self.charged += int(new.sum())
        self.epochs += int(costs[:answered].sum())
        self.last_seconds = times[:answered]
        self.seconds += float(self.last_seconds.sum())
        return validation[positions, repeats]

    def _new(self, positions: NDArray[np.int32], budget: int) -> NDArray[np.bool_]:
        """(N,): which queries are charged."""
        if self._protocol.duplicates != "free":
            return np.ones(len(positions), bool)
        if budget not in self._seen:
            self._seen[budget] = np.zeros(len(self._view), bool)
        first = np.zeros(len(positions), bool)
        first[np.unique(positions, return_index=True)[1]] = True
        return first & ~self._seen[budget][positions]

    def trace(self) -> Trace:
        """What was charged so far."""
        none = np.zeros(0, np.int32)
        positions = np.concatenate([none, *self._positions])
        repeats = np.concatenate([none.astype(np.uint8), *self._repeats])
        epochs = np.concatenate([none.astype(np.uint8), *self._epochs])
        short = bool((epochs != FULL_EPOCHS).any())
        return trace_of(self._view, positions, repeats, epochs if short else None, self._rounds)


@dataclass(frozen=True)
class TimedTrace:
    """A trial on many machines.

    Attributes:
        trace: Its queries, in the order of their starts.
        starts: (S,) float64; when each training starts, in seconds from the trial's beginning.
        ends: (S,) float64; when it ends.
    """

    trace: Trace
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]


class Method(Protocol):
    """A search method with all its settings.

    A method may also have an attribute ``train_samples``: the number N of random cells that it
    trains a predictor with. Its trials are then N + K samples long instead of the budget of the
    sequential methods. An attribute ``budgets`` names the lengths of training in epochs that it
    asks for, ``(108,)`` if it has none. An attribute ``max_samples`` ends its trials after so many
    samples, for a method whose rounds get slower the more it has seen.
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
