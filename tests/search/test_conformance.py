"""What every registered method must do, whatever it searches by."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.search.method import Method
from nprep.search.registry import make_method, method_names
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from nprep.table.view import View
from tests.search.short_trainings import with_short_trainings
from tests.synthetic import synthetic_view

FULL_EPOCHS = 108

# Few cells to learn from: the checks are of bookkeeping, and training takes its time.
TRAIN_SAMPLES = 12
SAMPLES = 24


VIEW = with_short_trainings(synthetic_view(400))
PROTOCOLS = {
    "paper": ReplayProtocol(),
    "query": ReplayProtocol(repeats="query"),
    "free": ReplayProtocol(duplicates="free"),
    "specs": ReplayProtocol(sampling="specs"),
    "invalid": ReplayProtocol(sampling="specs", invalid="zero"),
    "seconds": ReplayProtocol(seconds=9000.0),
}
every_method = pytest.mark.parametrize("name", method_names())


def method_of(name: str) -> Method:
    return make_method(name, TRAIN_SAMPLES)


def run(
    name: str, view: View, protocol: ReplayProtocol, trials: range, samples: int
) -> list[Trace]:
    seeds = [trial_seed(5, name, trial) for trial in trials]
    return method_of(name).run_block(view, seeds, samples, protocol)


def same(one: Trace, other: Trace) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(Trace)
        if field.name != "predictions"
    )


def epochs_of(trace: Trace) -> np.ndarray:
    if trace.epochs is None:
        return np.full(len(trace), FULL_EPOCHS)
    return trace.epochs.astype(int)


@every_method
@pytest.mark.parametrize("rules", PROTOCOLS)
def test_a_trial_stays_within_its_budget_and_view(name: str, rules: str) -> None:
    protocol = PROTOCOLS[rules]
    (trace,) = run(name, VIEW, protocol, range(1), SAMPLES)
    epochs = epochs_of(trace)
    assert len(trace) > 0
    assert epochs.sum() <= FULL_EPOCHS * SAMPLES
    assert trace.positions.min() >= 0
    assert trace.positions.max() < len(VIEW)
    assert set(np.unique(epochs)) <= {4, 12, 36, FULL_EPOCHS}
    for position, repeat, length, value, seconds in zip(
        trace.positions, trace.repeats, epochs, trace.validation, trace.seconds, strict=True
    ):
        known = VIEW.at(int(length))
        assert value == known.validation[position, repeat]
        assert seconds == known.training_seconds[position, repeat]
    if protocol.seconds is not None:
        assert trace.seconds[:-1].sum() < protocol.seconds
    elif name != "oracle":
        # What is left could not have paid for another full training of each running cell.
        assert epochs.sum() > FULL_EPOCHS * (SAMPLES - 4)
    if trace.rounds is not None:
        assert trace.rounds[0] == 0
        assert (np.diff(trace.rounds) > 0).all()
        assert trace.rounds[-1] < len(trace)


@every_method
def test_a_seed_decides_a_trial_alone_or_in_a_block(name: str) -> None:
    block = run(name, VIEW, ReplayProtocol(), range(3), SAMPLES)
    for trial in range(3):
        (alone,) = run(name, VIEW, ReplayProtocol(), range(trial, trial + 1), SAMPLES)
        assert same(block[trial], alone)
    # The best run of all is the same in most trials.
    assert name == "oracle" or not same(block[0], block[1])


@every_method
def test_known_cells_are_free_where_duplicates_are(name: str) -> None:
    for trace in run(name, VIEW, PROTOCOLS["free"], range(2), SAMPLES):
        trainings = np.stack([trace.positions, epochs_of(trace)], axis=1)
        if trace.epochs is None:
            assert len(np.unique(trainings, axis=0)) == len(trace)
        else:
            # A cell without a run of one length may be trained for the next longer one twice.
            stood_in = VIEW.lower[36].epochs == FULL_EPOCHS
            trainings = trainings[~stood_in[trace.positions]]
            assert len(np.unique(trainings, axis=0)) == len(trainings)


@every_method
def test_a_view_smaller_than_the_budget_ends_the_search(name: str) -> None:
    tiny = with_short_trainings(synthetic_view(9, missing=0.0))
    for protocol in (PROTOCOLS["paper"], PROTOCOLS["free"]):
        (trace,) = run(name, tiny, protocol, range(1), 40)
        assert len(trace) > 0
        assert epochs_of(trace).sum() <= 40 * FULL_EPOCHS
        if protocol.duplicates == "free":
            assert len(trace) <= 9 * 4


@every_method
def test_one_sample_is_enough_to_run(name: str) -> None:
    (trace,) = run(name, VIEW, ReplayProtocol(), range(1), 1)
    assert 0 < epochs_of(trace).sum() <= FULL_EPOCHS


@every_method
def test_the_mean_of_the_repeats_can_drive(name: str) -> None:
    mean = synthetic_view(400, missing=0.0)
    mean = with_short_trainings(
        dataclasses.replace(
            mean,
            validation=mean.validation.mean(axis=1, keepdims=True),
            training_seconds=mean.training_seconds.mean(axis=1, keepdims=True),
        )
    )
    protocol = ReplayProtocol(repeats="mean", sampling="specs")
    (trace,) = run(name, mean, protocol, range(1), SAMPLES)
    assert not trace.repeats.any()


@every_method
def test_a_view_without_short_trainings_is_refused_by_name(name: str) -> None:
    plain = synthetic_view(400)
    if set(method_of(name).budgets) <= {FULL_EPOCHS}:
        run(name, plain, ReplayProtocol(), range(1), 2)
        return
    with pytest.raises(SettingsError, match="trains for 4, 12, 36 epochs and view"):
        run(name, plain, ReplayProtocol(), range(1), 2)


@every_method
def test_a_method_says_what_it_is(name: str) -> None:
    method = method_of(name)
    assert method.name == name
    described = method.settings()
    assert described["name"] == name
    assert json.loads(json.dumps(described)).keys() == described.keys()
    assert dataclasses.is_dataclass(method)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.name = "other"  # type: ignore[misc]
    if name in ("random", "oracle"):
        return
    text = (inspect.getmodule(type(method)).__doc__ or "") + (type(method).__doc__ or "")
    assert re.search(r"\b(19|20)\d\d\b", text), "the docstring cites no source"
