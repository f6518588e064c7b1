"""The most sample-efficient configuration of the neural predictor."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.predictor.gcn import GcnWeights
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.search import np_best
from nprep.search.np_best import BestPredictor
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from nprep.table.view import View
from tests.synthetic import synthetic_view

VIEW = synthetic_view(1200)
MEAN = replace(
    VIEW,
    validation=np.nanmean(VIEW.validation, axis=1, keepdims=True),
    training_seconds=np.nanmean(VIEW.training_seconds, axis=1, keepdims=True),
)
QUICK = BestPredictor(
    initial=24,
    batch=10,
    top_share=0.5,
    elite=15,
    members=2,
    warm_epochs=10,
    predictor=GcnSettings(width=16, head=(16,), epochs=40, learning_rate=2e-3),
)


def run(
    method: BestPredictor,
    samples: int,
    trials: int = 1,
    view: View = VIEW,
    protocol: ReplayProtocol | None = None,
) -> list[Trace]:
    seeds = [trial_seed(3, "np-best", trial) for trial in range(trials)]
    return method.run_block(view, seeds, samples, protocol or ReplayProtocol())


def sizes_of(trace: Trace) -> list[int]:
    assert trace.rounds is not None
    return np.diff([*trace.rounds, len(trace)]).tolist()


def few(view: View, count: int) -> View:
    names = ("rows", "validation", "test", "training_seconds")
    parts = {name: getattr(view, name)[:count] for name in names}
    return replace(view, cells=view.cells.take(np.arange(count)), **parts)


def test_a_trial_does_not_depend_on_its_block() -> None:
    together = run(QUICK, 60, trials=3)
    for trial, trace in enumerate(together):
        seed = trial_seed(3, "np-best", trial)
        (alone,) = QUICK.run_block(VIEW, [seed], 60, ReplayProtocol())
        np.testing.assert_array_equal(alone.positions, trace.positions)
        np.testing.assert_array_equal(alone.repeats, trace.repeats)
    assert (together[0].positions != together[1].positions).any()


@pytest.mark.parametrize("top_share", [0.5, 1.0])
def test_no_cell_is_trained_twice_and_the_elite_ends_the_trial(top_share: float) -> None:
    method = replace(QUICK, top_share=top_share)
    (trace,) = run(method, 400)
    assert len(np.unique(trace.positions)) == len(trace)
    # 15 of the best: 5, 5, 5 of rounds of 10 cells, or 10 and 5 where a round has no others.
    assert sizes_of(trace) == ([24, 10, 10, 10] if top_share == 0.5 else [24, 10, 10])


def test_means_hold_no_noise_so_the_trial_uses_its_budget() -> None:
    method = replace(QUICK, max_samples=90)
    (trace,) = run(method, 400, view=MEAN, protocol=ReplayProtocol(repeats="mean"))
    assert sizes_of(trace) == [24, *[10] * 6, 6]
    assert len(np.unique(trace.positions)) == 90


@pytest.mark.parametrize("samples", [1, 5, 24, 25, 33, 34, 40])
def test_the_budget_may_end_anywhere(samples: int) -> None:
    (whole,) = run(QUICK, 54)
    (short,) = run(QUICK, samples)
    assert len(short) == samples
    np.testing.assert_array_equal(short.positions, whole.positions[:samples])


@pytest.mark.parametrize("cells", [1, 2, 10, 30])
@pytest.mark.parametrize("sampling", ["cells", "specs"])
def test_views_smaller_than_the_search(cells: int, sampling: str) -> None:
    if sampling == "specs":
        view, protocol = synthetic_view(max(cells, 10)), ReplayProtocol(sampling="specs")
    else:
        view, protocol = few(VIEW, cells), ReplayProtocol()
    (trace,) = run(replace(QUICK, elite=100), 60, view=view, protocol=protocol)
    if sampling == "cells":
        assert sorted(trace.positions.tolist()) == list(range(len(view)))
    else:
        # The official sampler may draw a cell again; what is chosen later is new.
        assert len(np.unique(trace.positions[24:])) == len(trace) - 24
        assert not set(trace.positions[24:].tolist()) & set(trace.positions[:24].tolist())


def test_rounds_learn() -> None:
    traces = run(replace(QUICK, top_share=1.0, elite=40), 64, trials=4)
    random = np.mean([VIEW.test[trace.positions[:24]].mean() for trace in traces])
    chosen = np.mean([VIEW.test[trace.positions[24:]].mean() for trace in traces])
    assert chosen > random + 0.005


def test_the_pool_is_renewed_and_known_cells_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    predict = SharingPlan.predict

    def spy(plan: SharingPlan, weights: GcnWeights) -> np.ndarray:
        asked.append(len(plan))
        return predict(plan, weights)

    monkeypatch.setattr(SharingPlan, "predict", spy)
    method = replace(QUICK, members=1, elite=100, pool_share=0.1, pool_rounds=3, top_share=0.5)
    (trace,) = run(method, 24 + 60)
    assert asked == [1200, 120, 120, 1200, 120, 120]
    assert len(np.unique(trace.positions)) == len(trace)


@pytest.mark.parametrize("neighbours", [4, 10])
def test_rounds_begin_with_neighbours_of_the_best_so_far(neighbours: int) -> None:
    method = replace(QUICK, top_share=1.0, elite=100, neighbours=neighbours, members=1)
    (trace,) = run(method, 24 + 60)
    assert len(np.unique(trace.positions)) == len(trace)
    beside = []
    for first in range(24, len(trace), 10):
        known = trace.positions[:first]
        around = VIEW.neighbours(int(known[np.argmax(trace.validation[:first])]))
        new = around[~np.isin(around, known)]
        expected = min(neighbours, len(new))
        assert np.isin(trace.positions[first : first + expected], new).all()
        beside.append(expected)
    assert max(beside) > 0
    (without,) = run(replace(method, neighbours=0), 24 + 60)
    assert (trace.positions != without.positions).any()


def test_labels_below_the_floor_are_raised_and_weights_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: list[np.ndarray] = []
    fit = np_best.fit

    def spy(graphs: object, labels: np.ndarray, *rest: object) -> object:
        learned.append(labels)
        return fit(graphs, labels, *rest)  # type: ignore[arg-type] # passed on as it came

    monkeypatch.setattr(np_best, "fit", spy)
    (trace,) = run(replace(QUICK, members=1, floor=0.75), 54)
    assert [len(labels) for labels in learned] == [34, 44]
    seen = trace.validation[:34]
    quantile = np.quantile(seen, 0.75).astype(np.float32)
    np.testing.assert_array_equal(learned[0], np.maximum(seen, quantile))
    assert (learned[0] == quantile).sum() >= 25


def test_presets_and_settings() -> None:
    method = make_method("np-best", 172)
    assert method == BestPredictor()
    assert method.train_samples == 0
    assert method.settings() == dataclasses.asdict(BestPredictor())
    second = make_method("np-best-2", 172)
    assert isinstance(second, BestPredictor)
    assert (second.name, second.initial, second.batch, second.floor) == ("np-best-2", 20, 5, 0.85)
    assert second.predictor.loss == "ranking"
    third = make_method("np-best-3", 172)
    assert third == replace(second, name="np-best-3", neighbours=5, pool_rounds=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"initial": 1}, "at least 2"),
        ({"batch": 0}, "batch is 0"),
        ({"elite": 0}, "elite is 0"),
        ({"members": 0}, "members is 0"),
        ({"warm_epochs": 0}, "warm_epochs is 0"),
        ({"neighbours": -1}, "neighbours is -1"),
        ({"neighbours": 11}, "at most 10, the batch"),
        ({"pool_rounds": 0}, "pool_rounds is 0"),
        ({"max_samples": 0}, "max_samples is 0"),
        ({"top_share": 0.0}, "top_share is 0.0"),
        ({"pool_share": 1.5}, "pool_share is 1.5"),
        ({"floor": 1.0}, "floor is 1.0"),
        ({"floor": -0.1}, "floor is -0.1"),
    ],
)
def test_wrong_settings(change: dict[str, float], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        replace(QUICK, **change)  # type: ignore[arg-type] # wrong on purpose
