"""The way into the compiled loops, which search tables of NASBench-101.

A method that has a compiled twin takes it where ``has_compiled_loops`` says so, and runs its
plain form on every other pool.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.search.evolution import Rules, ViewArrays
from nprep.search.pool import Pool
from nprep.search.rules import (
    MAX_QUERIES_PER_SAMPLE,
    SEARCH_STREAM,
    ReplayProtocol,
    noise_seed_of,
    stream,
)
from nprep.search.trace import Trace, trace_of
from nprep.table.view import View

Loop = Callable[
    [NDArray[np.uint64], ViewArrays, Rules, NDArray[np.int32], NDArray[np.uint8]],
    int,
]


def has_compiled_loops(pool: Pool) -> TypeGuard[View]:
    """Whether a pool is what the compiled loops search: a table's view of NASBench-101."""
    return isinstance(pool, View) and pool.space.name == "nb101"


def view_arrays(view: View) -> ViewArrays:
    """A view as the kernels take it."""
    return ViewArrays(
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
    loop: Loop,
    view: View,
    seeds: Sequence[np.random.SeedSequence],
    samples: int,
    protocol: ReplayProtocol,
    rounds: Sequence[int] | None = None,
) -> list[Trace]:
    """Runs a compiled loop once per seed; ``rounds`` are those of every trace."""
    arrays = view_arrays(view)
    traces = []
    for seed in seeds:
        state = seed_state(stream(seed, SEARCH_STREAM))
        positions = np.empty(samples, np.int32)
        repeats = np.empty(samples, np.uint8)
        charged = loop(state, arrays, rules_of(seed, samples, protocol), positions, repeats)
        traces.append(trace_of(view, positions[:charged], repeats[:charged], None, rounds))
    return traces
