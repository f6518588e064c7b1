"""The compiled trainer against PyTorch: same start, same batches, no dropout, same weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nprep.kernels.numeric.rng import seed_state
from nprep.predictor.gcn import fit, initial_parameters
from nprep.predictor.labels import LabelScale
from nprep.predictor.settings import GcnSettings
from nprep.spaces.nb101.batch import cell_graphs
from tests.predictor.some_cells import random_cells

pytest.importorskip("torch", reason="torch is not installed, which training is compared with")

from tests.predictor.torch_gcn import TorchGcn, train_in_torch

BASE = GcnSettings(width=24, head=(16,), epochs=4, learning_rate=2e-3, dropout_head=0.0)


@pytest.mark.parametrize(
    ("settings", "classifier"),
    [
        (BASE, False),
        (replace(BASE, learning_rate=1e-4, epochs=10), False),
        (replace(BASE, layers=1, head=()), False),
        (replace(BASE, normalisation="symmetric", layer_bias=True, decoupled=True), False),
        (replace(BASE, labels="sigmoid", activation="linear", head_bias=False), False),
        (replace(BASE, labels="sigmoid-percent", normalisation="sum", head=(16, 8)), False),
        # A shift of all outputs changes no ranking, so biases would drift on rounding errors.
        (replace(BASE, loss="ranking", batch=7, head_bias=False), False),
        (replace(BASE, layers=4, width=13, weight_decay=0.1), True),
    ],
)
def test_weights_equal_torch(settings: GcnSettings, classifier: bool) -> None:
    cells = random_cells(23, 5)
    accuracies = np.random.default_rng(1).uniform(0.1, 0.95, 23)
    labels = accuracies > 0.6 if classifier else accuracies
    graphs = cell_graphs(cells, settings.normalisation)
    parameters = initial_parameters(settings, 5, seed_state(np.random.SeedSequence(2)))
    start = parameters.copy()
    weights = fit(graphs, labels, settings, parameters, np.ones(4, np.uint64), shuffled=False)
    scale = LabelScale.fit(labels, settings)
    model = TorchGcn(replace(weights, parameters=start))
    kind = settings.labels if scale.kind == "sigmoid" else scale.kind
    rate = settings.classifier_learning_rate if classifier else settings.learning_rate
    losses = train_in_torch(model, cells, scale.targets(labels), kind, rate)
    moved = np.abs(model.flat() - start).max()
    assert moved > 3 * rate
    # Adam divides by the size of the gradient, so rounding shows most where that is near zero.
    np.testing.assert_allclose(weights.parameters, model.flat(), atol=0.01 * moved)
    per_epoch = -(-23 // settings.batch)
    sizes = np.diff([*range(0, 23, settings.batch), 23])
    expected = np.reshape(losses, (-1, per_epoch)) @ sizes / 23
    np.testing.assert_allclose(weights.losses, expected, rtol=1e-4)
