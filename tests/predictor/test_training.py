"""What training must and must not depend on; most tests stand for a bug seen in other code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.kernels.numeric.float_mode import flush_denormals, restore_mode
from nprep.kernels.numeric.initialisation import fill_mask
from nprep.kernels.numeric.rng import seed_state
from nprep.predictor.gcn import fit, initial_parameters, train
from nprep.predictor.labels import LabelScale
from nprep.predictor.mlp import predict_perceptron, train_perceptron
from nprep.predictor.plan import predict
from nprep.predictor.settings import FAITHFUL, WIDTHS, GcnSettings, MlpSettings, width_for
from nprep.spaces.nb101.batch import cell_graphs
from nprep.spaces.nb101.cells import encode_flat
from tests.predictor.some_cells import random_cells

SMALL = GcnSettings(width=16, head=(8,), epochs=6, learning_rate=1e-3)
CELLS = random_cells(33, 1)
ACCURACIES = np.random.default_rng(2).uniform(0.85, 0.95, 33).astype(np.float32)


def seed(number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(number)


def test_the_seed_alone_decides() -> None:
    one, two, other = (train(CELLS, ACCURACIES, SMALL, seed(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.parameters, two.parameters)
    assert (one.parameters != other.parameters).all() or (one.losses != other.losses).all()


def test_trials_do_not_depend_on_what_runs_beside_them() -> None:
    jobs = [(number, GcnSettings(width=16 + number % 3, epochs=4)) for number in range(8)]
    alone = [train(CELLS, ACCURACIES, settings, seed(n)).parameters for n, settings in jobs]
    with ThreadPoolExecutor(4) as pool:
        beside = list(
            pool.map(lambda job: train(CELLS, ACCURACIES, job[1], seed(job[0])).parameters, jobs)
        )
    for one, two in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one, two)


def test_gradients_do_not_add_up_over_steps() -> None:
    # Bug of others: gradients never zeroed. With a vanishing rate every epoch sees the same
    # weights, so that the last gradient must equal the first.
    still = replace(SMALL, learning_rate=1e-30, weight_decay=0.0, dropout_head=0.0, batch=33)
    graphs = cell_graphs(CELLS)
    kept = []
    for epochs in (1, 5):
        parameters = initial_parameters(still, 5, seed_state(seed(0)))
        gradients = np.empty_like(parameters)
        settings = replace(still, epochs=epochs)
        fit(graphs, ACCURACIES, settings, parameters, np.ones(4, np.uint64), False, gradients)
        kept.append(gradients)
    np.testing.assert_array_equal(kept[0], kept[1])


@pytest.mark.parametrize("samples", [1, 3, 33])
def test_the_last_partial_batch_trains(samples: int) -> None:
    # Bug of others: with fewer samples than a batch nothing was trained.
    cells = CELLS.take(np.arange(samples))
    settings = replace(SMALL, epochs=1, batch=10, weight_decay=0.0, labels="sigmoid")
    graphs = cell_graphs(cells)
    start = initial_parameters(settings, 5, seed_state(seed(0)))
    labels = ACCURACIES[:samples]
    trained = fit(graphs, labels, settings, start.copy(), np.ones(4, np.uint64), False)
    assert np.abs(trained.parameters - start).max() > 0
    if samples == 33:
        changed = labels.copy()
        changed[32] = 0.1
        other = fit(graphs, changed, settings, start.copy(), np.ones(4, np.uint64), False)
        assert (other.parameters != trained.parameters).any()


def test_sizes_are_what_the_settings_say() -> None:
    # Bug of others: the width argument was ignored.
    settings = GcnSettings(layers=3, width=144, head=(128,), epochs=1)
    weights = train(CELLS, ACCURACIES, settings, seed(0))
    assert [weights.layer(n)[0].shape for n in range(3)] == [(5, 288), (144, 288), (144, 288)]
    assert [matrix.shape for matrix, _ in weights.head()] == [(144, 128), (128, 1)]
    weighted = sum(weights.layer(n)[0].size for n in range(3))
    assert weighted + sum(matrix.size for matrix, _ in weights.head()) == 102_944


@pytest.mark.parametrize("settings", [SMALL, FAITHFUL, replace(SMALL, layer_bias=True)])
def test_only_the_biases_asked_for_are_trained(settings: GcnSettings) -> None:
    settings = replace(settings, width=16, epochs=3)
    weights = train(CELLS, ACCURACIES, settings, seed(0))
    layer_biases = np.concatenate([weights.layer(n)[1] for n in range(3)])
    head_biases = np.concatenate([bias for _, bias in weights.head()])
    assert layer_biases.any() == settings.layer_bias
    assert head_biases.any() == settings.head_bias


def test_labels_are_scaled_by_the_training_sample_alone() -> None:
    # Bug of others: mean and deviation of the whole table.
    scale = LabelScale.fit(ACCURACIES, SMALL)
    assert scale.mean == pytest.approx(ACCURACIES.mean(), rel=1e-6)
    assert scale.deviation == pytest.approx(ACCURACIES.std(), rel=1e-6)
    targets = scale.targets(ACCURACIES)
    assert abs(targets.mean()) < 1e-6
    np.testing.assert_allclose(scale.predictions(targets), ACCURACIES, rtol=1e-6)


@pytest.mark.parametrize("labels", ["zscore", "sigmoid", "sigmoid-percent", "normal-scores"])
def test_a_regressor_fits_its_sample(labels: str) -> None:
    quality = CELLS.num_vertices.astype(np.float32) / 10 + 0.1
    settings = replace(SMALL, labels=labels, epochs=150, learning_rate=3e-3, weight_decay=0.0)
    weights = train(CELLS, quality, settings, seed(0))
    scores = predict(weights, CELLS)
    assert np.corrcoef(scores, quality)[0, 1] > 0.9
    if labels != "normal-scores":
        assert np.abs(scores - quality).mean() < 0.07


def test_a_classifier_learns_probabilities() -> None:
    large = CELLS.num_vertices > 4
    settings = replace(SMALL, epochs=200, classifier_learning_rate=3e-3)
    probabilities = predict(train(CELLS, large, settings, seed(0)), CELLS)
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    assert ((probabilities > 0.5) == large).mean() > 0.9


def test_equal_labels_train() -> None:
    weights = train(CELLS, np.full(33, 0.9, np.float32), SMALL, seed(0))
    # Nothing to scale by: deviations of the output from the mean count as they are.
    assert np.isfinite(predict(weights, CELLS)).all()
    assert np.isfinite(predict(train(CELLS, np.ones(33, bool), SMALL, seed(0)), CELLS)).all()


def test_widths_of_the_paper() -> None:
    assert {n: width_for(n) for n in WIDTHS} == WIDTHS
    assert [width_for(n) for n in (1, 100, 5000)] == [48, 80, 320]
    assert GcnSettings().for_samples(344).width == 210
    assert GcnSettings(width=7).for_samples(344).width == 7


def test_the_faithful_preset_is_the_papers() -> None:
    assert (FAITHFUL.layers, FAITHFUL.head, FAITHFUL.epochs, FAITHFUL.batch) == (3, (128,), 300, 10)
    assert (FAITHFUL.learning_rate, FAITHFUL.classifier_learning_rate) == (1e-4, 2e-4)
    assert (FAITHFUL.weight_decay, FAITHFUL.dropout_head) == (1e-3, 0.1)
    assert FAITHFUL.labels == "sigmoid"


def test_the_threads_floating_point_mode_comes_back() -> None:
    before = read_mode_of_thread()
    train(CELLS, ACCURACIES, replace(SMALL, epochs=1), seed(0))
    assert read_mode_of_thread() == before
    denormal = np.float32(1e-40)
    assert np.float32(denormal) * np.float32(1.0) > 0
    mode = flush_denormals()
    restore_mode(mode)
    assert read_mode_of_thread() == before


def read_mode_of_thread() -> int:
    mode = flush_denormals()
    restore_mode(mode)
    return mode


def test_dropout_masks_keep_the_mean() -> None:
    mask = np.full(100_003, np.nan, np.float32)
    fill_mask(seed_state(seed(5)), mask, len(mask), 0.1)
    assert set(np.unique(mask).tolist()) == {0.0, float(np.float32(1 / 0.9))}
    assert (mask == 0).mean() == pytest.approx(0.1, abs=0.005)
    runs = (mask[:-1] == 0) & (mask[1:] == 0)
    assert runs.mean() == pytest.approx(0.01, abs=0.003)


def test_perceptron_fits_repeats_and_cuts_its_work() -> None:
    quality = CELLS.num_vertices.astype(np.float32) / 10
    settings = MlpSettings(head=(20, 10), epochs=200, dropout_head=0.0)
    one, two = (train_perceptron(encode_flat(CELLS), quality, settings, seed(1)) for _ in range(2))
    np.testing.assert_array_equal(one.parameters, two.parameters)
    scores = predict_perceptron(one, encode_flat(CELLS))
    assert np.abs(scores - quality).mean() < 0.03
    features = np.tile(encode_flat(CELLS), (60, 1))
    many = predict_perceptron(one, features, threads=3)
    np.testing.assert_array_equal(many, np.tile(scores, 60))
    values = encode_flat(CELLS).astype(np.float64)
    for number, (matrix, bias) in enumerate(one.layers()):
        values = values @ matrix + bias
        values = np.maximum(values, 0) if number < 2 else values
    np.testing.assert_allclose(scores, one.scale.predictions(values[:, 0]), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"layers": 0}, "layers is 0"),
        ({"width": 0}, "width is 0"),
        ({"head": (3, 0)}, "without units"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"dropout_head": 1.0}, "dropout_head"),
        ({"dropout_layers": -0.1}, "dropout_layers"),
        ({"labels": "raw"}, "'raw' is unknown; choose from zscore"),
        ({"activation": "tanh"}, "choose from relu"),
        ({"regressor_samples": "some"}, "choose from classifier"),
        ({"threshold": 91.0}, "threshold is 91.0"),
    ],
)
def test_wrong_settings(change: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        replace(SMALL, **change)  # type: ignore[arg-type] # each case is wrong on purpose


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="33 training cells come with 3 labels"):
        train(CELLS, ACCURACIES[:3], SMALL, seed(0))
    with pytest.raises(SettingsError, match="give one label"):
        train(CELLS.take(np.zeros(0, np.int64)), ACCURACIES[:0], SMALL, seed(0))
    with pytest.raises(SettingsError, match="normalisation 'column' is unknown"):
        cell_graphs(CELLS, "column")
