"""The predictors as search methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nprep.errors import SettingsError
from nprep.predictor.backends import numba as backends
from nprep.predictor.backends.cupy import CupyBackend
from nprep.predictor.gcn import GcnWeights
from nprep.predictor.settings import FAITHFUL, GcnSettings, MlpSettings
from nprep.search import neural_predictor, predicting
from nprep.search.neural_predictor import MlpPredictor, NeuralPredictor, preset
from nprep.search.predicting import best_new, lifted
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.spaces.base import Members
from nprep.table.view import View
from tests.cuda.host_device import HostDevice, find_compiler
from tests.synthetic import synthetic_view

QUICK = GcnSettings(width=16, head=(8,), epochs=10, learning_rate=3e-3)
METHODS = [
    NeuralPredictor("np", 30, predictor=QUICK),
    NeuralPredictor("np-one-stage", 30, two_stage=False, predictor=QUICK),
    MlpPredictor("mlp", 30, MlpSettings(head=(16,), epochs=10)),
]
PROTOCOL = ReplayProtocol()


@pytest.fixture(scope="module")
def view() -> View:
    return synthetic_view()


def seeds(method: str, count: int) -> list[np.random.SeedSequence]:
    return [trial_seed(1, method, trial) for trial in range(count)]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("sampling", ["cells", "specs"])
def test_n_random_then_k_new(
    view: View, method: NeuralPredictor | MlpPredictor, sampling: str
) -> None:
    protocol = ReplayProtocol(sampling=sampling)
    trace = method.run_block(view, seeds(method.name, 1), 50, protocol)[0]
    assert len(trace) == 50
    sample, chosen = set(trace.positions[:30].tolist()), trace.positions[30:].tolist()
    assert len(set(chosen)) == 20
    assert not sample & set(chosen)
    if sampling == "cells":
        assert len(sample) == 30
    np.testing.assert_array_equal(trace.validation, view.validation[trace.positions, trace.repeats])


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_trial_does_not_depend_on_its_block(
    view: View, method: NeuralPredictor | MlpPredictor
) -> None:
    together = method.run_block(view, seeds(method.name, 3), 45, PROTOCOL)
    for seed, trace in zip(seeds(method.name, 3), together, strict=True):
        alone = method.run_block(view, [seed], 45, PROTOCOL)[0]
        np.testing.assert_array_equal(alone.positions, trace.positions)
        np.testing.assert_array_equal(alone.repeats, trace.repeats)
    assert (together[0].positions != together[1].positions).any()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_budget_may_end_in_the_sample(
    view: View, method: NeuralPredictor | MlpPredictor
) -> None:
    whole = method.run_block(view, seeds(method.name, 1), 40, PROTOCOL)[0]
    short = method.run_block(view, seeds(method.name, 1), 12, PROTOCOL)[0]
    np.testing.assert_array_equal(short.positions, whole.positions[:12])


def test_more_samples_than_cells(view: View) -> None:
    few = replace_cells(view, 20)
    trace = METHODS[0].run_block(few, seeds("np", 1), 50, PROTOCOL)[0]
    assert sorted(trace.positions.tolist()) == list(range(20))


def replace_cells(view: View, count: int) -> View:
    return replace(
        view,
        rows=view.rows[:count],
        cells=view.cells.take(np.arange(count)),
        validation=view.validation[:count],
        test=view.test[:count],
        training_seconds=view.training_seconds[:count],
    )


@hypothesis_settings(max_examples=50)
@given(seed=st.integers(0, 10_000), cells=st.integers(1, 60), count=st.integers(0, 70))
def test_the_best_are_ranked_by_position_in_the_view(seed: int, cells: int, count: int) -> None:
    # Bug of others: ranks used as positions, so that the "best" were random cells.
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 20, cells).astype(np.float32)
    known = rng.choice(cells, rng.integers(0, cells + 1), replace=False).astype(np.int32)
    good = rng.random(cells) < 0.5
    left = [k for k in range(cells) if k not in known.tolist()]
    ranked = sorted(left, key=lambda k: (-scores[k], k))
    assert best_new(scores, known, count).tolist() == ranked[:count]
    expected = [k for k in ranked if good[k]] + [k for k in ranked if not good[k]]
    assert best_new(scores, known, count, lambda p: good[p]).tolist() == expected[:count]


def test_the_ranking_is_the_same_if_few_cells_are_classified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 300, 5000).astype(np.float32)
    known = rng.choice(5000, 100, replace=False).astype(np.int32)
    good = rng.random(5000) < 0.1
    asked: list[int] = []

    def accepts(positions: np.ndarray) -> np.ndarray:
        asked.extend(positions.tolist())
        return good[positions]

    everything = best_new(scores, known, 40, accepts)
    asked.clear()
    monkeypatch.setattr(predicting, "_CLASSIFIED_AT_ONCE", 64)
    np.testing.assert_array_equal(best_new(scores, known, 40, accepts), everything)
    assert good[everything].all()
    assert len(asked) < 1500
    assert len(asked) == len(set(asked))


def test_the_classifier_is_learned(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    # Bug of others: cells selected by their true accuracy. A classifier that answers something else
    # must change what the regressor is trained on and what is chosen.
    trained: list[np.ndarray] = []
    train = backends.train

    def spy(cells: object, labels: np.ndarray, *rest: object) -> GcnWeights:
        trained.append(labels)
        return train(cells, labels, *rest)  # type: ignore[arg-type] # passed on as it came

    def only_small(weights: GcnWeights, members: Members, threads: int = 1) -> np.ndarray:
        assert weights.scale.kind == "class"
        return (members.batch.num_vertices < 7).astype(np.float32)

    scores = np.random.default_rng(0).random(len(view)).astype(np.float32)
    monkeypatch.setattr(backends, "train", spy)
    monkeypatch.setattr(neural_predictor, "predict", only_small)
    monkeypatch.setattr(predicting.Candidates, "scores", lambda *_: iter([scores]))
    learned = replace(QUICK, regressor_samples="classifier")
    method = NeuralPredictor("np", 60, predictor=learned)
    trace = method.run_block(view, seeds("np", 1), 80, PROTOCOL)[0]
    small = view.cells.num_vertices[trace.positions] < 7
    assert small[60:].all()
    assert small[:60].sum() >= neural_predictor.FEWEST_ACCEPTED
    classes, values = trained
    np.testing.assert_array_equal(classes, trace.validation[:60] > 0.91)
    np.testing.assert_array_equal(values, trace.validation[:60][small[:60]])
    trained.clear()
    observed = replace(method, predictor=replace(QUICK, regressor_samples="observed"))
    trace = observed.run_block(view, seeds("np", 1), 80, PROTOCOL)[0]
    accurate = trace.validation[:60][trace.validation[:60] > 0.91]
    expected = accurate if len(accurate) >= 10 else trace.validation[:60]
    np.testing.assert_array_equal(trained[1], expected)


def test_one_stage_learns_of_lifted_labels(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[np.ndarray] = []

    def spy(cells: object, labels: np.ndarray, *rest: object) -> GcnWeights:
        learned.append(labels)
        return real(cells, labels, *rest)  # type: ignore[arg-type]

    real = backends.train
    monkeypatch.setattr(backends, "train", spy)
    for floor in (0.0, 0.5):
        method = NeuralPredictor("one", 60, False, QUICK, "numba", label_floor=floor)
        (trace,) = method.run_block(view, seeds("one", 1), 70, PROTOCOL)
        values = trace.validation[:60]
        wanted = np.maximum(values, np.quantile(values, floor).astype(np.float32))
        np.testing.assert_array_equal(learned.pop(), wanted)
    assert (lifted(values, 0.5) == np.quantile(values, 0.5).astype(np.float32)).sum() >= 30
    np.testing.assert_array_equal(lifted(values, 0.0), values)
    with pytest.raises(SettingsError, match="label_floor is 1"):
        NeuralPredictor(label_floor=1.0)


@pytest.mark.parametrize("two_stage", [True, False])
def test_blocks_change_nothing(view: View, two_stage: bool) -> None:
    method = NeuralPredictor("np", 40, two_stage, QUICK, "numba")
    together = method.run_block(view, seeds("np", 3), 60, PROTOCOL)
    for seed, trace in zip(seeds("np", 3), together, strict=True):
        alone = method.run_block(view, [seed], 60, PROTOCOL)[0]
        np.testing.assert_array_equal(trace.positions, alone.positions)
        np.testing.assert_array_equal(trace.validation, alone.validation)


def test_a_search_on_another_backend(
    view: View, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The CUDA sources on the CPU: the same sample, a predictor of the same kind, other orders.
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C++ compiler was found (set CXX)")
    host = CupyBackend(HostDevice(compiler, tmp_path))
    method = NeuralPredictor("np", 40, True, replace(QUICK, dropout_head=0.0), "numba")
    expected = method.run_block(view, seeds("np", 2), 60, PROTOCOL)
    for module in (neural_predictor, predicting):
        monkeypatch.setattr(module, "make_backend", lambda choice: host)
    other = replace(method, backend="cupy")
    assert other.settings()["backend"] == host.describe()
    for one, two in zip(other.run_block(view, seeds("np", 2), 60, PROTOCOL), expected, strict=True):
        np.testing.assert_array_equal(one.positions[:40], two.positions[:40])
        assert len(set(one.positions.tolist())) == 60
        alike = np.isin(one.positions[40:], two.positions[40:]).mean()
        assert alike > 0.2


def test_presets() -> None:
    two, one, faithful, mlp = (
        preset(name, 86) for name in ("np", "np-one-stage", "np-faithful", "mlp")
    )
    assert isinstance(two, NeuralPredictor)
    assert isinstance(one, NeuralPredictor)
    assert isinstance(faithful, NeuralPredictor)
    assert (two.two_stage, one.two_stage, faithful.two_stage) == (True, False, True)
    assert faithful.predictor == FAITHFUL
    assert {m.train_samples for m in (two, one, faithful, mlp)} == {86}
    assert make_method("np", 86) == two
    assert make_method("mlp", 86) == mlp
    assert two.settings()["train_samples"] == 86
    with pytest.raises(SettingsError, match="at least 2"):
        preset("np", 1)
    with pytest.raises(SettingsError, match="no predictor"):
        preset("npp", 100)
