"""Random search, regularized evolution and the oracle: trials that run in compiled loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.nb101.cells import MAX_VERTICES, NUM_PAIRS
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.search.evolution import Evolution, Rules, Space, evolve, random_search
from nprep.kernels.search.noise import best_draw
from nprep.search.method import Preset
from nprep.search.rules import (
    MAX_QUERIES_PER_SAMPLE,
    SEARCH_STREAM,
    ReplayProtocol,
    noise_seed_of,
    stream,
)
from nprep.search.trace import TimedTrace, Trace, trace_of
from nprep.table.view import View

_Loop = Callable[
    [NDArray[np.uint64], Space, Rules, NDArray[np.int32], NDArray[np.uint8]],
    int,
]


def space_of(view: View) -> Space:
    """A view as the kernels take it."""
    return Space(
        np.ascontiguousarray(view.cells.adjacency_bits, np.uint32),
        np.ascontiguousarray(view.cells.operations, np.uint8),
        np.ascontiguousarray(view.cells.num_vertices, np.uint8),
        np.ascontiguousarray(view.validation, np.float32),
        np.ascontiguousarray(view.index.slot_keys, np.uint64),
        np.ascontiguousarray(view.index.slot_rows, np.int32),
        np.ascontiguousarray(view.training_seconds, np.float32),
    )


def rules_of(seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol) -> Rules:
    """The protocol of one trial as the kernels take it."""
    free = protocol.duplicates == "free"
    return Rules(
        noise_seed=noise_seed_of(seed),
        per_query=protocol.repeats == "query",
        free_duplicates=free,
        max_queries=MAX_QUERIES_PER_SAMPLE * samples,
        max_seconds=math.inf if protocol.seconds is None else float(protocol.seconds),
        keep_invalid=protocol.invalid == "zero",
    )


def run_trials(
    loop: _Loop,
    view: View,
    seeds: Sequence[np.random.SeedSequence],
    samples: int,
    protocol: ReplayProtocol,
    rounds: Sequence[int] | None = None,
) -> list[Trace]:
    """Runs a compiled loop once per seed; ``rounds`` are those of every trace."""
    space = space_of(view)
    traces = []
    for seed in seeds:
        state = seed_state(stream(seed, SEARCH_STREAM))
        positions = np.empty(samples, np.int32)
        repeats = np.empty(samples, np.uint8)
        charged = loop(state, space, rules_of(seed, samples, protocol), positions, repeats)
        traces.append(trace_of(view, positions[:charged], repeats[:charged], None, rounds))
    return traces


@dataclass(frozen=True)
class RandomSearch(Preset):
    """Independent random cells, drawn as the protocol's ``sampling`` says."""

    name: str = "random"

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see :class:`nprep.search.method.Method`)."""
        from_specs = protocol.sampling == "specs"

        def loop(
            state: NDArray[np.uint64],
            space: Space,
            rules: Rules,
            positions: NDArray[np.int32],
            repeats: NDArray[np.uint8],
        ) -> int:
            return random_search(state, space, rules, from_specs, positions, repeats)

        # Nothing waits for anything.
        return run_trials(loop, view, seeds, samples, protocol, rounds=(0,))


@dataclass(frozen=True)
class RegularizedEvolution(Preset):
    """Regularized evolution (Real et al., 2019); the defaults are the official notebook's.

    The notebook is ``NASBench.ipynb`` of google-research/nasbench. Published for the paper's
    protocol: 94.04 % test after 5,000 samples.

    Attributes:
        name: Name of the preset.
        population: Number of individuals alive.
        tournament: Number of them that compete to be the parent.
        replacement: Whether a tournament may hold an individual twice.
        mutation: "notebook": each of 21 edges flips with probability rate / 7, each of 5 operations
            changes with probability rate / 5, until valid; "naszilla": the same, but edges flip
            with probability rate / 21; "one": exactly one of the 26 changes, an invalid child is
            not charged and enters the population with accuracy 0.
        rate: Mutation rate, of "one" without meaning.
        initial: How the first population is drawn: "specs": by the official sampler of random
            matrices; "cells": uniformly over the cells of the view.
        founders: Number of random individuals to begin with, from which the population grows by
            breeding; None makes it the whole population.
    """

    name: str = "evolution"
    population: int = 50
    tournament: int = 10
    replacement: bool = False
    mutation: str = "notebook"
    rate: float = 1.0
    initial: str = "specs"
    founders: int | None = None
    concurrent = True

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        if self.population < 1 or self.tournament < 1:
            raise SettingsError(
                f"{self.name} has population {self.population} and tournament {self.tournament}: "
                "both must be at least 1."
            )
        if not self.replacement and self.tournament > self.population:
            raise SettingsError(
                f"{self.name} draws a tournament of {self.tournament} without replacement from a "
                f"population of {self.population}: use a smaller tournament."
            )
        if self.founders is not None and not (
            1 <= self.founders <= self.population
            and (self.replacement or self.tournament <= self.founders)
        ):
            raise SettingsError(
                f"{self.name} has {self.founders} founders for a population of {self.population} "
                f"and tournaments of {self.tournament}: use as many as a tournament, at most a "
                "population."
            )
        if self.mutation not in ("notebook", "naszilla", "one"):
            raise SettingsError(
                f"mutation is {self.mutation!r}, which is unknown: use notebook, naszilla or one."
            )
        if self.initial not in ("specs", "cells"):
            raise SettingsError(
                f"initial is {self.initial!r}, which is unknown: use specs or cells."
            )
        if not 0 < self.rate <= 5:
            raise SettingsError(f"rate is {self.rate}: use a number above 0 and up to 5.")

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see :class:`nprep.search.method.Method`)."""
        settings = self._rules()

        def loop(
            state: NDArray[np.uint64],
            space: Space,
            rules: Rules,
            positions: NDArray[np.int32],
            repeats: NDArray[np.uint8],
        ) -> int:
            return evolve(state, space, rules, settings, positions, repeats)

        return run_trials(loop, view, seeds, samples, protocol)

    def run_concurrently(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
        workers: int,
    ) -> list[TimedTrace]:
        """Runs one trial per seed with ``workers`` trainings in flight.

        See :func:`nprep.kernels.search.concurrency.evolve_concurrently`. With one worker the traces
        are those of :meth:`run_block`.
        """
        # Compiled when a clock is asked for.
        from nprep.kernels.search.concurrency import evolve_concurrently

        space = space_of(view)
        settings = self._rules()
        timed = []
        for seed in seeds:
            state = seed_state(stream(seed, SEARCH_STREAM))
            rules = rules_of(seed, samples, protocol)
            positions = np.empty(samples, np.int32)
            repeats = np.empty(samples, np.uint8)
            starts, ends = np.empty(samples), np.empty(samples)
            charged = evolve_concurrently(
                state, space, rules, settings, workers, positions, repeats, starts, ends
            )
            trace = trace_of(view, positions[:charged], repeats[:charged])
            timed.append(TimedTrace(trace, starts[:charged], ends[:charged]))
        return timed

    def _rules(self) -> Evolution:
        """The settings as the kernels take them."""
        return Evolution(
            self.population,
            self.tournament,
            self.replacement,
            self.mutation == "one",
            float(self.rate) / (NUM_PAIRS if self.mutation == "naszilla" else MAX_VERTICES),
            float(self.rate) / (MAX_VERTICES - 2),
            self.initial == "specs",
            self.population if self.founders is None else self.founders,
        )


@dataclass(frozen=True)
class Oracle(Preset):
    """Trains every cell once and keeps the best by validation: the ceiling of such a protocol.

    Its trace is that one cell, so its curve is a constant.
    """

    name: str = "oracle"
    kind = "bound"

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see :class:`nprep.search.method.Method`)."""
        validation = np.ascontiguousarray(view.validation, np.float32)
        traces = []
        for seed in seeds:
            position, repeat = best_draw(validation, noise_seed_of(seed))
            traces.append(trace_of(view, np.array([position], np.int32), np.array([repeat])))
        return traces
