"""Regularized evolution as the published programs write it: lists, sorted, max, pop(0)."""

from __future__ import annotations

import heapq
import math

import numpy as np

from nprep.kernels.nb101.cells import VALID, spec_key
from nprep.kernels.nb101.sample import mutate_notebook, mutate_one, mutate_rates, random_spec
from nprep.kernels.numeric.rng import bounded, choose, next_u64, seed_state
from nprep.kernels.search.evolution import embed
from nprep.kernels.search.noise import draw_repeat
from nprep.search.baselines import RegularizedEvolution
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, noise_seed_of, stream
from nprep.table.view import View


class NaiveEvolution:
    """An ask/tell searcher that consumes random numbers as the compiled loop does."""

    def __init__(
        self,
        view: View,
        rng: np.random.Generator,
        settings: RegularizedEvolution,
        protocol: ReplayProtocol | None = None,
    ) -> None:
        self.view = view
        self.protocol = protocol or ReplayProtocol()
        self.settings = settings
        self.state = seed_state(rng.bit_generator.seed_seq)
        # (accuracy, (bits, operations)), oldest first.
        self.population: list[tuple[float, tuple[int, tuple[int, ...]]]] = []
        self.born: tuple[int, tuple[int, ...]] | None = None

    def locate(self, bits: int, operations: np.ndarray) -> int | None:
        """The position of a spec; None if it is invalid, -1 if it is outside the view."""
        validity, key = spec_key(bits, operations, 7)
        if validity != VALID:
            return None
        return int(self.view.index.find(np.array([key], np.uint64))[0])

    def add(self, value: float, genotype: tuple[int, tuple[int, ...]]) -> None:
        self.population.append((value, genotype))
        if len(self.population) > self.settings.population:
            self.population.pop(0)

    def select(self) -> tuple[int, tuple[int, ...]]:
        settings = self.settings
        if settings.replacement:
            sample = [
                self.population[bounded(self.state, len(self.population))]
                for _ in range(settings.tournament)
            ]
            return max(sample, key=lambda individual: individual[0])[1]
        drawn = np.empty(settings.tournament, np.int64)
        choose(self.state, len(self.population), drawn)
        sample = [self.population[i] for i in sorted(drawn)]
        return sorted(sample, key=lambda individual: individual[0])[-1][1]

    def first(self, child: np.ndarray) -> tuple[int, int | None]:
        """The adjacency bits and position of a random individual; its operations go to child."""
        if self.settings.initial == "cells":
            position = int(bounded(self.state, len(self.view)))
            cells = self.view.cells
            bits = embed(
                self.state,
                cells.adjacency_bits[position],
                cells.operations[position],
                cells.num_vertices[position],
                child,
            )
            return bits, position
        while True:
            if self.protocol.invalid == "zero":
                bits = int(next_u64(self.state)) >> 43
                child[:] = [3, *(bounded(self.state, 3) for _ in range(5)), 4]
                position = self.locate(bits, child)
                if position != -1:
                    return bits, position
            else:
                bits = random_spec(self.state, child)
                found = self.locate(bits, child)
                if found is not None and found >= 0:
                    return bits, found

    def propose(self) -> tuple[tuple[int, tuple[int, ...]], int | None]:
        """A genotype and its position; None if it is no cell of the view."""
        child = np.empty(7, np.uint8)
        position: int | None
        founders = self.settings.founders or self.settings.population
        if len(self.population) < founders:
            bits, position = self.first(child)
        else:
            parent_bits, parent_operations = self.select()
            parent = np.array(parent_operations, np.uint8)
            for _ in range(1000 if self.settings.mutation == "one" else 10**9):
                if self.settings.mutation == "one":
                    bits = mutate_one(self.state, parent_bits, parent, child)
                elif self.settings.mutation == "naszilla":
                    bits = mutate_rates(self.state, parent_bits, parent, 1 / 21, 1 / 5, child)
                else:
                    bits = mutate_notebook(self.state, parent_bits, parent, 1.0, child)
                position = self.locate(bits, child)
                if position != -1:
                    break
        genotype = (int(bits), tuple(child.tolist()))
        return genotype, position if position is not None and position >= 0 else None

    def ask(self) -> np.ndarray:
        while True:
            genotype, position = self.propose()
            if position is not None:
                self.born = genotype
                return np.array([position], np.int32)
            self.add(0.0, genotype)

    def tell(self, positions: np.ndarray, values: np.ndarray) -> None:
        assert self.born is not None
        self.add(float(values[0]), self.born)


def seeded(seed: np.random.SeedSequence) -> np.random.Generator:
    """The generator that a searcher of this trial gets."""
    return np.random.default_rng(stream(seed, SEARCH_STREAM))


def evolve_by_events(
    view: View,
    method: RegularizedEvolution,
    seed: np.random.SeedSequence,
    samples: int,
    protocol: ReplayProtocol,
    workers: int,
) -> tuple[list[int], list[int], list[float], list[float]]:
    """Positions, repeats, starts and ends.

    Free machines breed from the list of finished individuals; a heap holds what is
    running.
    """
    searcher = NaiveEvolution(view, seeded(seed), method, protocol)
    noise = noise_seed_of(seed)
    running: list[tuple[float, int, tuple, float]] = []  # type: ignore[type-arg]
    known: dict[int, float] = {}
    trace: list[tuple[int, int, float, float]] = []
    now = spent = 0.0
    born = queries = 0
    limit = math.inf if protocol.seconds is None else protocol.seconds
    while True:
        while (
            len(running) < workers
            and len(trace) < samples
            and spent < limit
            and born < 100 * samples
        ):
            born += 1
            genotype, position = searcher.propose()
            if position is None:
                searcher.add(0.0, genotype)
                continue
            counter = queries if protocol.repeats == "query" else position
            queries += 1
            repeat = draw_repeat(view.validation[position], noise, counter)
            value = float(view.validation[position, repeat])
            if protocol.duplicates == "free" and position in known:
                end = max(now, known[position])
            else:
                end = now + float(view.training_seconds[position, repeat])
                spent += float(view.training_seconds[position, repeat])
                trace.append((position, repeat, now, end))
                known[position] = end
            if end <= now:
                searcher.add(value, genotype)
            else:
                heapq.heappush(running, (end, born, genotype, value))
        if not running:
            break
        now, _, genotype, value = heapq.heappop(running)
        searcher.add(value, genotype)
    positions, repeats, starts, ends = (list(column) for column in zip(*trace, strict=True))
    return positions, repeats, starts, ends
