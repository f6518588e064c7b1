"""Hyperband and BOHB on many machines."""

from __future__ import annotations

import numpy as np
import pytest

from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import TimedTrace, Trace
from tests.search.short_trainings import with_short_trainings
from tests.synthetic import synthetic_view

FULL_EPOCHS = 108

VIEW = with_short_trainings(synthetic_view(400))
PROTOCOLS = {
    "paper": ReplayProtocol(),
    "query": ReplayProtocol(repeats="query"),
    "free": ReplayProtocol(duplicates="free"),
    "seconds": ReplayProtocol(seconds=60_000.0),
}


def seeds(trials: int) -> list[np.random.SeedSequence]:
    return [trial_seed(8, "halving", trial) for trial in range(trials)]


def run(name: str, rules: str, workers: int, samples: int = 40) -> TimedTrace:
    method = make_method(name, 10)
    (timed,) = method.run_concurrently(  # type: ignore[attr-defined]
        VIEW, seeds(1), samples, PROTOCOLS[rules], workers
    )
    return timed


def lengths(trace: Trace) -> np.ndarray:
    return np.full(len(trace), FULL_EPOCHS) if trace.epochs is None else trace.epochs.astype(int)


@pytest.mark.parametrize("rules", PROTOCOLS)
@pytest.mark.parametrize("name", ["hyperband", "bohb"])
def test_one_machine_is_the_sequential_method(name: str, rules: str) -> None:
    (trace,) = make_method(name, 10).run_block(VIEW, seeds(1), 40, PROTOCOLS[rules])
    timed = run(name, rules, 1)
    np.testing.assert_array_equal(timed.trace.positions, trace.positions)
    np.testing.assert_array_equal(timed.trace.repeats, trace.repeats)
    np.testing.assert_array_equal(lengths(timed.trace), lengths(trace))
    np.testing.assert_allclose(timed.ends, np.cumsum(trace.seconds, dtype=float))


@pytest.mark.parametrize("workers", [2, 9, 300])
@pytest.mark.parametrize("rules", PROTOCOLS)
def test_machines_train_one_cell_at_a_time_and_resume_cells_only_after_they_end(
    rules: str, workers: int
) -> None:
    timed = run("hyperband", rules, workers, 60)
    trace = timed.trace
    events = sorted([(end, -1) for end in timed.ends] + [(start, 1) for start in timed.starts])
    assert max(np.cumsum([change for _, change in events])) <= workers
    np.testing.assert_allclose(timed.ends - timed.starts, trace.seconds, rtol=1e-9)
    assert lengths(trace).sum() <= 60 * FULL_EPOCHS


@pytest.mark.parametrize("workers", [3, 50])
def test_the_cells_that_are_kept_are_those_of_the_sequential_method(workers: int) -> None:
    """The first bracket has 27 cells; all runs of it are the same, whatever the machines."""
    (trace,) = make_method("hyperband", 10).run_block(VIEW, seeds(1), 40, PROTOCOLS["paper"])
    # Enough that what other brackets begin leaves the first its due.
    timed = run("hyperband", "paper", workers, 300)
    first = 27 + 9 + 3 + 1
    sequential = set(
        zip(trace.positions[:first].tolist(), lengths(trace)[:first].tolist(), strict=True)
    )
    both = set(zip(timed.trace.positions.tolist(), lengths(timed.trace).tolist(), strict=True))
    assert sequential <= both
    # Later brackets may draw the same cells.
    first_end: dict[tuple[int, int], float] = {}
    for position, length, end in zip(
        timed.trace.positions.tolist(), lengths(timed.trace).tolist(), timed.ends, strict=True
    ):
        first_end.setdefault((position, length), end)
    assert max(first_end[key] for key in sequential) < trace.seconds[:first].sum()


def test_more_machines_finish_earlier() -> None:
    spans = [run("hyperband", "paper", workers).ends.max() for workers in (1, 4, 40)]
    assert spans[0] > 3 * spans[1] > 6 * spans[2]
