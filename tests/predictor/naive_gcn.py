"""Reference implementation of the GCN predictor: dense numpy in float64, one cell at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.predictor.gcn import GcnWeights
from nprep.spaces.nb101.cells import CellBatch


def matrix_of(cells: CellBatch, row: int) -> NDArray[np.float64]:
    """The (n, n) adjacency matrix of one cell."""
    size = int(cells.num_vertices[row])
    full = np.zeros((7, 7))
    bit = 0
    for i in range(7):
        for j in range(i + 1, 7):
            full[i, j] = (int(cells.adjacency_bits[row]) >> bit) & 1
            bit += 1
    return full[:size, :size]


def normalise(matrix: NDArray[np.float64], normalisation: str) -> NDArray[np.float64]:
    """The operator of one direction, with self-loops."""
    looped = matrix + np.eye(len(matrix))
    if normalisation == "row":
        return looped / looped.sum(1, keepdims=True)
    if normalisation == "symmetric":
        return looped / np.sqrt(looped.sum(1, keepdims=True) * looped.sum(0, keepdims=True))
    return looped


def predict_cell(weights: GcnWeights, matrix: NDArray[np.float64], types: list[int]) -> float:
    """The raw output for one graph."""
    settings = weights.settings
    forward = normalise(matrix, settings.normalisation)
    backward = normalise(matrix.T, settings.normalisation)
    states = np.eye(weights.num_types)[types]
    for number in range(settings.layers):
        matrix_, bias = weights.layer(number)
        width = weights.width
        ahead = forward @ states @ matrix_[:, :width].astype(np.float64) + bias[:width]
        behind = backward @ states @ matrix_[:, width:].astype(np.float64) + bias[width:]
        states = 0.5 * np.maximum(ahead, 0) + 0.5 * np.maximum(behind, 0)
    values = states.mean(0)
    layers = weights.head()
    for number, (matrix_, bias) in enumerate(layers):
        values = values @ matrix_.astype(np.float64) + bias
        if settings.activation == "relu" and number + 1 < len(layers):
            values = np.maximum(values, 0)
    return float(values[0])


def predict_cells(weights: GcnWeights, cells: CellBatch) -> NDArray[np.float64]:
    """The raw outputs for many cells."""
    outputs = []
    for row in range(len(cells)):
        types = cells.operations[row, : cells.num_vertices[row]].tolist()
        outputs.append(predict_cell(weights, matrix_of(cells, row), types))
    return np.array(outputs)
