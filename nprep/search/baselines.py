"""Random search, regularized evolution and the bound that no method can beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.nb101.cells import MAX_VERTICES, NUM_PAIRS
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.search.evolution import Evolution, Rules, ViewArrays, evolve, random_search
from nprep.kernels.search.noise import best_draw
from nprep.search import plain
from nprep.search.compiled import has_compiled_loops, rules_of, run_trials, view_arrays
from nprep.search.evaluator import TableEvaluator, evaluator_of
from nprep.search.method import Preset
from nprep.search.pool import Pool
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, noise_seed_of, stream
from nprep.search.trace import TimedTrace, Trace, trace_of
from nprep.table.view import View


@dataclass(frozen=True)
class RandomSearch(Preset):
    """Independent random architectures, drawn as the protocol's ``sampling`` says."""

    name: str = "random"

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        if not has_compiled_loops(pool):
            traces = []
            for seed in seeds:
                evaluator = evaluator_of(pool, seed, samples, protocol)
                rng = np.random.default_rng(stream(seed, SEARCH_STREAM))
                plain.search_randomly(pool, evaluator, rng, protocol.sampling)
                traces.append(replace(evaluator.trace(), rounds=np.zeros(1, np.int32)))
            return traces
        from_specs = protocol.sampling == "specs"

        def loop(
            state: NDArray[np.uint64],
            space: ViewArrays,
            rules: Rules,
            positions: NDArray[np.int32],
            repeats: NDArray[np.uint8],
        ) -> int:
            return random_search(state, space, rules, from_specs, positions, repeats)

        # Nothing waits for anything.
        return run_trials(loop, pool, seeds, samples, protocol, rounds=(0,))


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
        mutation: On tables of NASBench-101; everything else mutates by the space's own rule.
            "notebook": each of 21 edges flips with probability rate / 7, each of 5 operations
            changes with probability rate / 5, until valid; "naszilla": the same, but edges flip
            with probability rate / 21; "one": exactly one of the 26 changes, an invalid child is
            not charged and enters the population with accuracy 0.
        rate: Mutation rate, of "one" without meaning.
        initial: How the first population is drawn: "specs": by the space's own sampler, on
            NASBench-101 the official one of random matrices; "cells": uniformly over the pool.
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
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        if not has_compiled_loops(pool):
            traces = []
            for seed in seeds:
                evaluator = evaluator_of(pool, seed, samples, protocol)
                rng = np.random.default_rng(stream(seed, SEARCH_STREAM))
                plain.evolve(pool, evaluator, rng, self)
                traces.append(evaluator.trace())
            return traces
        settings = self._rules()

        def loop(
            state: NDArray[np.uint64],
            space: ViewArrays,
            rules: Rules,
            positions: NDArray[np.int32],
            repeats: NDArray[np.uint8],
        ) -> int:
            return evolve(state, space, rules, settings, positions, repeats)

        return run_trials(loop, pool, seeds, samples, protocol)

    def run_concurrently(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
        workers: int,
    ) -> list[TimedTrace]:
        """Runs one trial per seed with ``workers`` trainings in flight.

        See ``nprep.kernels.search.concurrency.evolve_concurrently``. With one worker the traces
        are those of ``run_block``.
        """
        # Compiled when a clock is asked for.
        from nprep.kernels.search.concurrency import evolve_concurrently

        if not has_compiled_loops(pool):
            assert isinstance(pool, View)
            return [
                plain.evolve_on_machines(
                    pool,
                    TableEvaluator(pool, seed, samples, protocol),
                    np.random.default_rng(stream(seed, SEARCH_STREAM)),
                    self,
                    workers,
                )
                for seed in seeds
            ]
        space = view_arrays(pool)
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
            trace = trace_of(pool, positions[:charged], repeats[:charged])
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
    """Trains everything once and keeps the best by validation: the ceiling of such a protocol.

    Its trace is that one architecture, so its curve is a constant.
    """

    name: str = "oracle"
    kind = "bound"
    needs_table = True

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        assert isinstance(pool, View)
        validation = np.ascontiguousarray(pool.validation, np.float32)
        traces = []
        for seed in seeds:
            position, repeat = best_draw(validation, noise_seed_of(seed))
            traces.append(trace_of(pool, np.array([position], np.int32), np.array([repeat])))
        return traces
