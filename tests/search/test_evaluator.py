"""What queries of any length are answered and charged, against a plain loop."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.errors import SettingsError
from nprep.kernels.search.noise import draw_repeat
from nprep.search.evaluator import TableEvaluator
from nprep.search.rules import ReplayProtocol, noise_seed_of, trial_seed
from nprep.search.trace import Trace, trace_of, within_limits
from tests.search.short_trainings import with_short_trainings
from tests.synthetic import synthetic_view

FULL_EPOCHS = 108

VIEW = with_short_trainings(synthetic_view(60))
PROTOCOLS = [
    ReplayProtocol(),
    ReplayProtocol(repeats="query"),
    ReplayProtocol(duplicates="free"),
    ReplayProtocol(seconds=9000.0),
    ReplayProtocol(duplicates="free", seconds=5000.0),
]
batches = st.lists(
    st.tuples(
        st.lists(st.integers(0, 59), max_size=6), st.sampled_from([4, 12, 36, 108, 108, 108])
    ),
    max_size=12,
)


class SlowEvaluator:
    """Answers one query after another."""

    def __init__(self, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol):
        self.noise = noise_seed_of(seed)
        self.protocol = protocol
        self.epochs_left = 108 * samples
        self.queries_left = 100 * samples
        self.spent = 0.0
        self.queries = 0
        self.seen: set[tuple[int, int]] = set()
        self.trace: list[tuple[int, int, int]] = []
        self.rounds: list[int] = []

    def query(self, positions: list[int], budget: int) -> list[float]:
        answers = []
        begins = len(self.trace)
        for position in positions:
            known = VIEW.at(budget)
            epochs = int(known.epochs[position])
            new = self.protocol.duplicates == "charged" or (position, budget) not in self.seen
            limit = self.protocol.seconds
            if self.queries_left == 0 or (
                new and (epochs > self.epochs_left or (limit is not None and self.spent >= limit))
            ):
                break
            counter = position if epochs == 108 else position + (epochs << 32)
            if self.protocol.repeats == "query":
                counter = self.queries
            repeat = draw_repeat(known.validation[position], self.noise, counter)
            answers.append(float(known.validation[position, repeat]))
            self.queries += 1
            self.queries_left -= 1
            if new:
                self.seen.add((position, budget))
                self.trace.append((position, repeat, epochs))
                self.epochs_left -= epochs
                self.spent += float(known.training_seconds[position, repeat])
        if len(self.trace) > begins:
            self.rounds.append(begins)
        return answers


@given(asked=batches, samples=st.integers(1, 8), protocol=st.sampled_from(PROTOCOLS))
def test_evaluator_equals_a_loop(
    asked: list[tuple[list[int], int]], samples: int, protocol: ReplayProtocol
) -> None:
    seed = trial_seed(2, "e", samples)
    fast, slow = (
        TableEvaluator(VIEW, seed, samples, protocol),
        SlowEvaluator(seed, samples, protocol),
    )
    for positions, budget in asked:
        values = fast.query(np.array(positions, np.int32), budget)
        answers = slow.query(positions, budget)
        assert values.tolist() == answers
        if len(answers) < len(positions):
            assert fast.done
    trace = fast.trace()
    epochs = [108] * len(trace) if trace.epochs is None else trace.epochs.tolist()
    assert list(zip(trace.positions.tolist(), trace.repeats.tolist(), epochs, strict=True)) == (
        slow.trace
    )
    assert trace.rounds is not None
    assert trace.rounds.tolist() == slow.rounds
    assert fast.charged == len(trace)
    assert fast.epochs == sum(epochs) <= 108 * samples
    assert fast.seconds == pytest.approx(slow.spent)
    for number, (position, repeat, length) in enumerate(slow.trace):
        assert trace.validation[number] == VIEW.at(length).validation[position, repeat]
        assert trace.seconds[number] == VIEW.at(length).training_seconds[position, repeat]


def test_left_counts_whole_trainings() -> None:
    evaluator = TableEvaluator(VIEW, trial_seed(0, "l", 0), 3, ReplayProtocol())
    assert evaluator.left == 3
    evaluator.query(np.array([1], np.int32), 4)
    assert evaluator.left == 2
    assert not evaluator.done
    evaluator.query(np.array([1, 2, 3], np.int32))
    # Two fit; what is left of the budget is not enough for the third.
    assert evaluator.charged == 3
    assert evaluator.done


def test_short_runs_are_other_runs() -> None:
    """Which repeat a cell shows after 4 epochs says nothing about the one after 108."""
    full = np.flatnonzero(~np.isnan(VIEW.validation).any(axis=1)).astype(np.int32)
    same = 0
    for trial in range(20):
        evaluator = TableEvaluator(VIEW, trial_seed(0, "o", trial), 1000, ReplayProtocol())
        evaluator.query(full, 4)
        evaluator.query(full)
        repeats = evaluator.trace().repeats
        same += int((repeats[: len(full)] == repeats[len(full) :]).sum())
    assert same / (20 * len(full)) == pytest.approx(1 / 3, abs=0.06)


def test_unknown_lengths_are_named() -> None:
    evaluator = TableEvaluator(VIEW, trial_seed(0, "u", 0), 3, ReplayProtocol())
    with pytest.raises(SettingsError, match="no validation accuracy after 50 epochs, only after 4"):
        evaluator.query(np.array([1], np.int32), 50)


def trace_with(seconds: list[float]) -> Trace:
    count = len(seconds)
    return Trace(
        np.arange(count, dtype=np.int32),
        np.zeros(count, np.uint8),
        np.full(count, 0.9, np.float32),
        np.array(seconds, np.float32),
        np.full(count, 108, np.uint8),
        np.array([0, 2], np.int32) if count > 2 else None,
    )


@given(seconds=st.lists(st.integers(1, 50), min_size=1, max_size=12), limit=st.integers(1, 200))
def test_within_limits_keeps_the_training_that_crosses(seconds: list[int], limit: int) -> None:
    trace = trace_with([float(s) for s in seconds])
    cut = within_limits(trace, ReplayProtocol(seconds=float(limit)))
    kept, spent = 0, 0
    while kept < len(seconds) and spent < limit:
        spent += seconds[kept]
        kept += 1
    assert len(cut) == kept
    for field in dataclasses.fields(Trace):
        array = getattr(cut, field.name)
        if array is not None and field.name != "rounds":
            assert len(array) == kept
    if cut.rounds is not None:
        assert (cut.rounds < kept).all()
    assert within_limits(trace, ReplayProtocol()) is trace


def test_trace_of_short_runs() -> None:
    positions = np.array([3, 3, 8], np.int32)
    repeats = np.array([0, 1, 2])
    epochs = np.array([4, FULL_EPOCHS, 12])
    trace = trace_of(VIEW, positions, repeats, epochs, [0, 1])
    assert trace.validation[0] == VIEW.at(4).validation[3, 0]
    np.testing.assert_equal(trace.validation[1], VIEW.validation[3, 1])
    assert trace.seconds[2] == VIEW.at(12).training_seconds[8, 2]
    assert trace.rounds is not None
    assert trace.rounds.tolist() == [0, 1]
