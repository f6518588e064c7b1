"""Gradients of the compiled trainers against finite differences; no framework needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from nprep.kernels.numeric.rng import seed_state
from nprep.predictor.gcn import GcnWeights, fit, initial_parameters
from nprep.predictor.labels import LabelScale
from nprep.predictor.settings import GcnSettings
from nprep.spaces.nb101.batch import cell_graphs
from tests.predictor.naive_gcn import predict_cells
from tests.predictor.some_cells import random_cells

BASE = GcnSettings(
    width=10, head=(6,), epochs=1, batch=9, dropout_head=0.0, weight_decay=0.0, layer_bias=True
)


def loss_of(outputs: NDArray[np.float64], targets: NDArray[np.float64], kind: str) -> float:
    """The losses as formulas."""
    if kind == "class":
        probability = 1 / (1 + np.exp(-outputs))
        logs = targets * np.log(probability) + (1 - targets) * np.log(1 - probability)
        return float(-logs.mean())
    if kind == "score":
        pairs = [
            np.log1p(np.exp(-np.sign(targets[i] - targets[j]) * (outputs[i] - outputs[j])))
            for i in range(len(targets))
            for j in range(i)
            if targets[i] != targets[j]
        ]
        return float(np.mean(pairs))
    if kind == "sigmoid":
        outputs = 0.1 + 0.9 / (1 + np.exp(-outputs))
    return float(((outputs - targets) ** 2).mean())


@pytest.mark.parametrize(
    ("settings", "classifier"),
    [
        (BASE, False),
        (BASE, True),
        (replace(BASE, loss="ranking"), False),
        (replace(BASE, labels="sigmoid", activation="linear", normalisation="symmetric"), False),
        (replace(BASE, layers=2, head=(6, 5), width=16, normalisation="sum"), False),
    ],
    ids=["squared", "cross-entropy", "ranking", "sigmoid-symmetric", "two-layers-sum"],
)
def test_gradients_equal_finite_differences(settings: GcnSettings, classifier: bool) -> None:
    cells = random_cells(9, 4)
    accuracies = np.random.default_rng(0).uniform(0.2, 0.9, 9)
    labels = accuracies > 0.5 if classifier else accuracies
    graphs = cell_graphs(cells, settings.normalisation)
    start = initial_parameters(settings, 5, seed_state(np.random.SeedSequence(7)))
    rng = np.random.default_rng(3)
    # Biases start at zero, where they would hide an error in what is multiplied by them.
    start += rng.uniform(-0.05, 0.05, len(start)).astype(np.float32)
    gradients = np.full(len(start), np.nan, np.float32)
    weights = fit(graphs, labels, settings, start.copy(), np.ones(4, np.uint64), False, gradients)
    scale = LabelScale.fit(labels, settings)
    targets = scale.targets(labels).astype(np.float64)
    assert weights.losses[0] == pytest.approx(
        loss_of(predict_cells(replace(weights, parameters=start), cells), targets, scale.kind),
        rel=1e-5,
    )

    def loss_at(parameters: NDArray[np.float64]) -> float:
        # The reference implementation reads float64 as it is.
        moved: GcnWeights = replace(weights, parameters=parameters)  # type: ignore[arg-type]
        return loss_of(predict_cells(moved, cells), targets, scale.kind)

    point = start.astype(np.float64)
    step = 1e-6
    chosen = rng.choice(len(start), 150, replace=False)
    chosen = np.append(chosen, np.arange(len(start) - 14, len(start)))
    expected = []
    for k in chosen:
        ahead, behind = point.copy(), point.copy()
        ahead[k] += step
        behind[k] -= step
        expected.append((loss_at(ahead) - loss_at(behind)) / (2 * step))
    size = np.abs(expected).max()
    assert size > 1e-3
    np.testing.assert_allclose(gradients[chosen], expected, atol=1e-4 * size)
