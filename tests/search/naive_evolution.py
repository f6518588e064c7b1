"""Regularized evolution as the published programs write it: lists, sorted, max, pop(0)."""

from __future__ import annotations

import numpy as np

from nprep.kernels.cells import VALID, spec_key
from nprep.kernels.rng import bounded, choose, seed_state
from nprep.kernels.sample import mutate_notebook, mutate_one, random_spec
from nprep.search.compiled import RegularizedEvolution
from nprep.table.view import View


class NaiveEvolution:
    """An ask/tell searcher that consumes random numbers as the compiled loop does."""

    def __init__(
        self, view: View, rng: np.random.Generator, settings: RegularizedEvolution
    ) -> None:
        self.view = view
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
                self.population[bounded(self.state, settings.population)]
                for _ in range(settings.tournament)
            ]
            return max(sample, key=lambda individual: individual[0])[1]
        drawn = np.empty(settings.tournament, np.int64)
        choose(self.state, settings.population, drawn)
        sample = [self.population[i] for i in sorted(drawn)]
        return sorted(sample, key=lambda individual: individual[0])[-1][1]

    def ask(self) -> np.ndarray:
        while True:
            child = np.empty(7, np.uint8)
            if len(self.population) < self.settings.population:
                while True:
                    bits = random_spec(self.state, child)
                    position = self.locate(bits, child)
                    if position is not None and position >= 0:
                        break
            else:
                parent_bits, parent_operations = self.select()
                parent = np.array(parent_operations, np.uint8)
                for _ in range(1000 if self.settings.mutation == "one" else 10**9):
                    if self.settings.mutation == "one":
                        bits = mutate_one(self.state, parent_bits, parent, child)
                    else:
                        bits = mutate_notebook(self.state, parent_bits, parent, 1.0, child)
                    position = self.locate(bits, child)
                    if position != -1:
                        break
            genotype = (int(bits), tuple(child.tolist()))
            if position is not None and position >= 0:
                self.born = genotype
                return np.array([position], np.int32)
            self.add(0.0, genotype)

    def tell(self, positions: np.ndarray, values: np.ndarray) -> None:
        assert self.born is not None
        self.add(float(values[0]), self.born)
