"""Searches on many machines against an event loop with a heap of tuples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.kernels.search.concurrency import schedule
from nprep.search.baselines import RegularizedEvolution
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from tests.search.naive_evolution import evolve_by_events
from tests.synthetic import synthetic_view

VIEW = synthetic_view(900)
EVOLUTIONS = {
    "notebook": RegularizedEvolution(),
    "naszilla": RegularizedEvolution(
        "naszilla", 9, 3, replacement=True, mutation="naszilla", founders=4
    ),
    "ying": make_method("evolution-ying", 172),
    "growing": RegularizedEvolution("growing", population=9, tournament=2, founders=2),
    "small": RegularizedEvolution("small", population=4, tournament=2, initial="cells"),
}
PROTOCOLS = {
    "paper": ReplayProtocol(),
    "query": ReplayProtocol(repeats="query"),
    "free": ReplayProtocol(duplicates="free"),
    "ying": ReplayProtocol(repeats="query", invalid="zero", seconds=60_000.0),
}


def slow_schedule(
    seconds: list[float], rounds: list[int], workers: int, pause: float
) -> list[tuple[float, float]]:
    """Each machine's free time in a list; the first that is free takes the next training."""
    times: list[tuple[float, float]] = []
    now = 0.0
    bounds = [start for start in rounds if start < len(seconds)] + [len(seconds)]
    for first, last in itertools.pairwise(bounds):
        if first:
            now += pause
        free = [now] * workers
        for job in range(first, last):
            machine = free.index(min(free))
            times.append((free[machine], free[machine] + seconds[job]))
            free[machine] += seconds[job]
        now = max(end for _, end in times[first:])
    return times


@given(
    seconds=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    inside=st.lists(st.integers(1, 40), max_size=6),
    workers=st.integers(1, 12),
    pause=st.sampled_from([0.0, 2.5]),
)
def test_schedule_equals_a_list_of_machines(
    seconds: list[int], inside: list[int], workers: int, pause: float
) -> None:
    rounds = sorted({0, *inside})
    starts, ends = np.full(len(seconds), np.nan), np.full(len(seconds), np.nan)
    schedule(
        np.array(seconds, np.float32), np.array(rounds, np.int32), workers, pause, starts, ends
    )
    slow = slow_schedule([float(s) for s in seconds], rounds, workers, pause)
    assert list(zip(starts, ends, strict=True)) == slow


@pytest.mark.parametrize("workers", [1, 3, 64])
@pytest.mark.parametrize("rules", PROTOCOLS)
@pytest.mark.parametrize("preset", EVOLUTIONS)
def test_concurrent_evolution_equals_an_event_loop(preset: str, rules: str, workers: int) -> None:
    method, protocol = EVOLUTIONS[preset], PROTOCOLS[rules]
    seed = trial_seed(3, preset, 0)
    samples = 130
    (timed,) = method.run_concurrently(VIEW, [seed], samples, protocol, workers)
    slow = evolve_by_events(VIEW, method, seed, samples, protocol, workers)
    positions, repeats, starts, ends = slow
    np.testing.assert_array_equal(timed.trace.positions, positions)
    np.testing.assert_array_equal(timed.trace.repeats, repeats)
    np.testing.assert_array_equal(timed.starts, starts)
    np.testing.assert_array_equal(timed.ends, ends)
    # Never more trainings at a time than there are machines.
    events = sorted([(end, -1) for end in timed.ends] + [(start, 1) for start in timed.starts])
    assert max(np.cumsum([change for _, change in events])) <= workers
    if protocol.seconds is not None:
        assert timed.trace.seconds[:-1].sum() < protocol.seconds


@pytest.mark.parametrize("rules", PROTOCOLS)
@pytest.mark.parametrize("preset", EVOLUTIONS)
def test_one_machine_is_the_sequential_method(preset: str, rules: str) -> None:
    method, protocol = EVOLUTIONS[preset], PROTOCOLS[rules]
    seeds = [trial_seed(4, preset, trial) for trial in range(2)]
    sequential = method.run_block(VIEW, seeds, 200, protocol)
    for trace, timed in zip(
        sequential, method.run_concurrently(VIEW, seeds, 200, protocol, 1), strict=True
    ):
        np.testing.assert_array_equal(trace.positions, timed.trace.positions)
        np.testing.assert_array_equal(trace.repeats, timed.trace.repeats)
        np.testing.assert_allclose(timed.ends, np.cumsum(trace.seconds, dtype=np.float64))


def test_more_machines_finish_earlier_and_know_less() -> None:
    method = RegularizedEvolution()
    seeds = [trial_seed(5, "m", trial) for trial in range(12)]
    ends, late = [], []
    for workers in (1, 10, 100):
        timed = method.run_concurrently(VIEW, seeds, 300, ReplayProtocol(), workers)
        ends.append(np.mean([one.ends.max() for one in timed]))
        late.append(np.mean([one.trace.validation[150:].mean() for one in timed]))
    assert ends[0] > 9 * ends[1] > 60 * ends[2]
    assert late[0] > late[2]
