"""The iterative predictor, the ensemble and NPENAS: what they train, and in which rounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import SettingsError
from nprep.predictor.settings import GcnSettings
from nprep.runs.settings import ReplaySettings
from nprep.search.archive import Breeding
from nprep.search.baselines import RandomSearch
from nprep.search.ensemble import EnsemblePredictor
from nprep.search.iterative_predictor import IterativePredictor, random_good
from nprep.search.npenas import Npenas
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from tests.synthetic import synthetic_view

VIEW = synthetic_view(1200)
MEAN = dataclasses.replace(
    VIEW,
    validation=np.nanmax(VIEW.validation, axis=1, keepdims=True),
    training_seconds=np.nanmax(VIEW.training_seconds, axis=1, keepdims=True),
)
# Quick to train, and enough to tell good cells from bad ones of the made-up view.
QUICK = GcnSettings(width=16, epochs=100, learning_rate=2e-3)


def sizes_of(trace: Trace) -> list[int]:
    assert trace.rounds is not None
    return np.diff([*trace.rounds, len(trace)]).tolist()


def run(method: object, samples: int, trials: int = 1) -> list[Trace]:
    seeds = [trial_seed(2, "g", trial) for trial in range(trials)]
    protocol = ReplayProtocol(repeats="mean")
    return method.run_block(MEAN, seeds, samples, protocol)  # type: ignore[attr-defined]


def test_the_iterative_predictor_trains_in_equal_rounds_and_then_the_best() -> None:
    method = IterativePredictor("i", train_samples=43, predictor=QUICK)
    (trace,) = run(method, 60)
    assert sizes_of(trace) == [9, 9, 9, 8, 8, 17]
    assert len(np.unique(trace.positions)) == 60
    (exact,) = run(method, 43)
    assert sizes_of(exact) == [9, 9, 9, 8, 8]
    (short,) = run(method, 20)
    assert sizes_of(short) == [9, 9, 2]
    np.testing.assert_array_equal(short.positions, trace.positions[:20])
    (few,) = run(dataclasses.replace(method, train_samples=3), 6)
    assert sizes_of(few) == [3, 3]


def test_each_round_of_the_iterative_predictor_is_better_than_the_first() -> None:
    method = IterativePredictor("i", train_samples=60, predictor=QUICK)
    traces = run(method, 90, trials=4)
    rounds = np.mean([[part.mean() for part in split(trace)] for trace in traces], axis=0)
    assert (rounds[1:] > rounds[0]).all()
    # The top half of a round leads its random half; few good cells are left for the last choice.
    tops = np.mean([[p[:6].mean() - p[6:].mean() for p in split(t)[1:5]] for t in traces])
    assert tops > 0.001
    assert rounds[-1] > rounds[2]


def split(trace: Trace) -> list[np.ndarray]:
    """The values of each round."""
    assert trace.rounds is not None
    return np.split(trace.validation, trace.rounds[1:])


@given(
    scores=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    share=st.sampled_from([0.5, 0.25, 0.0625]),
    data=st.data(),
)
@settings(max_examples=100)
def test_random_good_cells_are_among_the_best_and_new(
    scores: list[int], share: float, data: st.DataObject
) -> None:
    known = data.draw(st.lists(st.integers(0, len(scores) - 1), unique=True))
    count = data.draw(st.integers(0, 12))
    drawn = random_good(
        np.array(scores, np.float32), np.array(known, np.int32), count, share,
        np.random.default_rng(0),
    )  # fmt: skip
    good = max(1, round(share * len(scores)))
    limit = sorted(scores)[-good]
    eligible = {i for i, score in enumerate(scores) if score >= limit} - set(known)
    assert len(drawn) == len(set(drawn.tolist())) == min(count, len(eligible))
    assert set(drawn.tolist()) <= eligible


def test_the_ensemble_trains_the_sample_and_then_the_best() -> None:
    method = EnsemblePredictor("e", train_samples=40, members=3, predictor=QUICK)
    (trace,) = run(method, 55)
    assert sizes_of(trace) == [40, 15]
    assert trace.validation[40:].mean() > trace.validation[:40].mean() + 0.005
    for choice in ("optimistic", "thompson"):
        (other,) = run(dataclasses.replace(method, choice=choice), 55)
        np.testing.assert_array_equal(other.positions[:40], trace.positions[:40])
        assert not np.array_equal(other.positions, trace.positions)
    (one,) = run(dataclasses.replace(method, two_stage=False, members=1), 55)
    assert len(one) == 55


def test_choices_rank_by_mean_spread_or_draw() -> None:
    predictions = np.array([[0.90, 0.92, 0.5], [0.92, 0.92, 0.5]], np.float32)
    rng = np.random.default_rng(0)
    method = EnsemblePredictor("e", beta=3.0)
    np.testing.assert_allclose(method.rank(predictions, rng), [0.91, 0.92, 0.5])
    optimistic = dataclasses.replace(method, choice="optimistic")
    np.testing.assert_allclose(optimistic.rank(predictions, rng), [0.94, 0.92, 0.5], rtol=1e-6)
    thompson = dataclasses.replace(method, choice="thompson")
    draws = np.stack([thompson.rank(predictions, rng) for _ in range(4000)])
    np.testing.assert_allclose(draws.mean(axis=0), [0.91, 0.92, 0.5], atol=1e-3)
    np.testing.assert_allclose(draws.std(axis=0), [0.01, 0, 0], atol=5e-4)


def test_npenas_trains_rounds_of_the_predicted_best() -> None:
    method = Npenas("n", initial=8, batch=6, predictor=QUICK)
    (trace,) = run(method, 30)
    assert sizes_of(trace) == [8, 6, 6, 6, 4]
    assert len(np.unique(trace.positions)) == 30
    (short,) = run(dataclasses.replace(method, max_samples=14), 30)
    assert sizes_of(short) == [8, 6]
    np.testing.assert_array_equal(short.positions, trace.positions[:14])


def test_budgets_beyond_what_a_method_takes_end_its_trials() -> None:
    settings = ReplaySettings(methods=("npenas", "bananas", "random"), samples=10_000)
    methods = settings.make_methods()
    horizons = {name: settings.horizon(method) for name, method in methods.items()}
    assert horizons == {"npenas": 500, "bananas": 1000, "random": 10_000}
    assert dataclasses.replace(settings, samples=150).horizon(methods["npenas"]) == 150


def test_guided_searches_find_better_cells_than_random_search() -> None:
    late = {}
    for method in (Npenas("n", predictor=QUICK, breeding=Breeding(parents=50)), RandomSearch()):
        traces = run(method, 70, trials=4)
        late[method.name] = np.mean([np.sort(trace.validation)[-20:].mean() for trace in traces])
    assert late["n"] > late["random"] + 0.003


@pytest.mark.parametrize(
    "make",
    [
        lambda: IterativePredictor(train_samples=1),
        lambda: IterativePredictor(rounds=0),
        lambda: IterativePredictor(top_share=1.5),
        lambda: EnsemblePredictor(train_samples=1),
        lambda: EnsemblePredictor(members=0),
        lambda: EnsemblePredictor(choice="median"),
        lambda: EnsemblePredictor(beta=float("inf")),
        lambda: Npenas(initial=0),
        lambda: Npenas(batch=0),
        lambda: Npenas(max_samples=0),
    ],
)
def test_wrong_settings_are_named(make: object) -> None:
    with pytest.raises(SettingsError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value).endswith(".")
