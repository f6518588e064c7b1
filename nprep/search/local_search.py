"""Local search: climb from a random cell to a local optimum, and start again.

White, Nolen, Savani: "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021. Two
specs are neighbours if one operation or one edge differs, where pruning does not remove the
difference: the neighbourhood of the program naszilla. Published at 150 queries, the mean of the
validation runs driving the search: 94.068 % mean test accuracy over 200 trials (Table 1 of
s41598-025-94187-8), against 93.659 % for random search and 93.891 % for regularized evolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.nb101.paths import path_keys
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.search.breeding import climb
from nprep.kernels.search.climbing import climb_by_groups
from nprep.search import plain
from nprep.search.compiled import has_compiled_loops, rules_of, view_arrays
from nprep.search.evaluator import evaluator_of
from nprep.search.method import Preset
from nprep.search.pool import Pool
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Trace, trace_of
from nprep.table.view import View


def path_groups(view: View) -> NDArray[np.int32]:
    """(M,) numbers of groups of cells that have the same paths from input to output."""
    cells = view.cells
    keys = path_keys(
        np.ascontiguousarray(cells.adjacency_bits, np.uint32),
        np.ascontiguousarray(cells.operations, np.uint8),
        np.ascontiguousarray(cells.num_vertices, np.uint8),
    )
    return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int32)


@dataclass(frozen=True)
class LocalSearch(Preset):
    """Local search (White et al., 2021); the defaults are those of the program naszilla.

    Nothing is trained twice. A neighbour outside the pool is not considered.

    Attributes:
        name: Name of the preset.
        initial: Random architectures of each start; the climb begins at the best of them.
        whole: Whether all neighbours are trained before the step to the best of them, as in the
            paper's plain form; otherwise the first better neighbour is the step, as in naszilla.
        continuing: Whether a climb goes on from the best cell whose neighbours were not tried yet,
            instead of starting again at a local optimum (``stop_at_minimum=False`` in naszilla).
        same_paths: On tables of NASBench-101, whether cells with the same paths count as one, as in
            naszilla: no second one is trained.
    """

    name: str = "local-search"
    initial: int = 10
    whole: bool = False
    continuing: bool = False
    same_paths: bool = False

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        if self.initial < 1:
            raise SettingsError(f"{self.name} starts from {self.initial} specs: use at least 1.")
        if self.whole and (self.continuing or self.same_paths):
            raise SettingsError(
                f"{self.name} trains whole neighbourhoods and is to continue elsewhere or to tell "
                "cells apart by their paths, which do not go together: choose one."
            )

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        traces = []
        if not has_compiled_loops(pool):
            for seed in seeds:
                evaluator = evaluator_of(pool, seed, samples, protocol)
                rng = np.random.default_rng(stream(seed, SEARCH_STREAM))
                plain.climb(pool, evaluator, rng, self.initial, self.whole, self.continuing)
                traces.append(evaluator.trace())
            return traces
        space = view_arrays(pool)
        groups = None
        if self.continuing or self.same_paths:
            groups = path_groups(pool) if self.same_paths else np.arange(len(pool), dtype=np.int32)
        for seed in seeds:
            positions = np.empty(samples, np.int32)
            repeats = np.empty(samples, np.uint8)
            begins = np.empty(samples, np.bool_)
            state = seed_state(stream(seed, SEARCH_STREAM))
            rules = rules_of(seed, samples, protocol)
            out = (positions, repeats, begins)
            if groups is None:
                count = climb(state, space, rules, self.initial, self.whole, *out)
            else:
                count = climb_by_groups(
                    state, space, rules, self.initial, self.continuing, groups, *out
                )
            rounds = np.flatnonzero(begins[:count]).tolist()
            traces.append(trace_of(pool, positions[:count], repeats[:count], None, rounds))
        return traces
