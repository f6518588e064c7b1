"""Training of an ensemble of small perceptrons, as Keras trains them: whole runs, compiled.

Beside ``kernels/numeric/mlp_train.py``: a constant learning rate, absolute errors, and Adam with
the constants of its caller. The layout is that of ``kernels/numeric/mlp_dense.py``. Hidden layers
are padded to a multiple of 8, with which matrix products are fastest; the padding is zero and stays
zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.numeric.float_mode import flush_denormals, restore_mode
from nprep.kernels.numeric.initialisation import fill_uniform
from nprep.kernels.numeric.mlp_dense import dense_backward, dense_forward
from nprep.kernels.numeric.rng import shuffle

_EPSILON = 1e-7
_BETA_1 = 0.9


@kernel
def fill_glorot(
    state: NDArray[np.uint64],
    sizes: NDArray[np.int64],
    stored: NDArray[np.int64],
    parameters: NDArray[np.float32],
) -> None:
    """Draws weights uniformly within sqrt(6 / (fan in + fan out)); biases and padding are zero.

    Args:
        state: (4,) uint64 generator state, advanced.
        sizes: (L,) sizes of the layers.
        stored: (L,) their sizes as stored, none of them smaller.
        parameters: (P,) float32, overwritten.
    """
    parameters[:] = np.float32(0.0)
    start = 0
    for layer in range(len(sizes) - 1):
        bound = np.sqrt(6.0 / np.float64(sizes[layer] + sizes[layer + 1]))
        for row in range(sizes[layer]):
            first = start + row * stored[layer + 1]
            fill_uniform(state, parameters, first, first + sizes[layer + 1], bound)
        start += (stored[layer] + 1) * stored[layer + 1]


@kernel
def _adam(
    parameters: NDArray[np.float32],
    gradients: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    step: Integer,
    rate: float,
    beta_2: float,
) -> None:
    """One step of Adam in the form of Keras, which adds epsilon to the uncorrected root."""
    keep_1 = np.float32(_BETA_1)
    add_1 = np.float32(1.0 - _BETA_1)
    keep_2 = np.float32(beta_2)
    add_2 = np.float32(1.0 - beta_2)
    size = np.float32(rate * np.sqrt(1.0 - beta_2**step) / (1.0 - _BETA_1**step))
    epsilon = np.float32(_EPSILON)
    for k in range(len(parameters)):
        gradient = gradients[k]
        mean = keep_1 * first[k] + add_1 * gradient
        square = keep_2 * second[k] + add_2 * gradient * gradient
        first[k] = mean
        second[k] = square
        parameters[k] -= size * mean / (np.sqrt(square) + epsilon)


@kernel
def absolute_loss(
    outputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    order: NDArray[np.int64],
    start: Integer,
    rows: Integer,
    lower_bound: float,
    deltas: NDArray[np.float32],
) -> float:
    """The mean absolute error of a batch, or its form relative to a lower bound.

    Args:
        outputs: (rows,) predictions.
        targets: (N,) labels.
        order: (N,) order of the samples; the batch is ``order[start : start + rows]``.
        start: Start of the batch.
        rows: Size of the batch.
        lower_bound: b of the loss |(prediction - b) / (label - b) - 1|; NaN for the plain
            |prediction - label|.
        deltas: (rows,) receives the gradient.

    Returns:
        The loss.
    """
    loss = 0.0
    for i in range(rows):
        target = np.float64(targets[order[start + i]])
        error = np.float64(outputs[i]) - target
        weight = 1.0
        if not np.isnan(lower_bound):
            weight /= max(abs(target - lower_bound), _EPSILON)
        loss += weight * abs(error)
        deltas[i] = np.float32(weight * np.sign(error) / rows)
    return loss / rows


@kernel
def train_ensemble(
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    parameters: NDArray[np.float32],
    stored: NDArray[np.int64],
    epochs: Integer,
    batch: Integer,
    rate: float,
    beta_2: float,
    lower_bound: float,
    state: NDArray[np.uint64],
) -> NDArray[np.float64]:
    """Trains M perceptrons, one after another, on the same samples.

    Args:
        features: (N, F) inputs.
        targets: (N,) labels.
        parameters: (M, P) initial parameters, replaced by the trained ones.
        stored: (L,) stored sizes: F, hidden layers, 1.
        epochs: Passes over the samples, each in a new order.
        batch: Samples in a step; the last step of an epoch takes what is left.
        rate: Learning rate.
        beta_2: Adam's decay of squares.
        lower_bound: See ``absolute_loss``.
        state: (4,) uint64 generator state, advanced.

    Returns:
        (M,) mean training loss in the last epoch.
    """
    mode = flush_denormals()
    samples, width = features.shape
    batch = min(batch, samples)
    total = 0
    largest = 0
    for layer in range(len(stored)):
        total += stored[layer]
        if layer > 0:
            largest = max(largest, stored[layer - 1] * stored[layer])
    values = np.zeros(batch * total, np.float32)
    masks = np.zeros(1, np.float32)
    deltas = np.zeros(batch * total, np.float32)
    transposed = np.empty(largest, np.float32)
    gradients = np.zeros(parameters.shape[1], np.float32)
    output = batch * (total - 1)
    order = np.arange(samples)
    losses = np.zeros(len(parameters), np.float64)
    for member in range(len(parameters)):
        weights = parameters[member]
        first = np.zeros(len(weights), np.float32)
        second = np.zeros(len(weights), np.float32)
        step = 0
        for epoch in range(epochs):
            shuffle(state, order)
            for begin in range(0, samples, batch):
                count = min(batch, samples - begin)
                for k in range(count):
                    values[k * width : (k + 1) * width] = features[order[begin + k]]
                dense_forward(
                    weights, 0, stored, count, batch, True, True, 0.0, state, values, masks
                )
                loss = absolute_loss(
                    values[output:], targets, order, begin, count, lower_bound, deltas[output:]
                )
                dense_backward(
                    weights, 0, stored, count, batch, True, True, 0.0, values, masks,
                    deltas, transposed, gradients, False,
                )  # fmt: skip
                step += 1
                _adam(weights, gradients, first, second, step, rate, beta_2)
                if epoch == epochs - 1:
                    losses[member] += loss * count / samples
    restore_mode(mode)
    return losses


@kernel
def ensemble_outputs(
    features: NDArray[np.float32], parameters: NDArray[np.float32], stored: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The outputs (M, N) float32 of M perceptrons for N samples.

    Args:
        features: (N, F).
        parameters: (M, P).
        stored: (L,) stored sizes.
    """
    rows, width = features.shape
    total = 0
    for layer in range(len(stored)):
        total += stored[layer]
    values = np.empty(rows * total, np.float32)
    masks = np.zeros(1, np.float32)
    state = np.zeros(4, np.uint64)
    outputs = np.empty((len(parameters), rows), np.float32)
    values[: rows * width] = features.reshape(-1)
    for member in range(len(parameters)):
        dense_forward(
            parameters[member], 0, stored, rows, rows, True, True, 0.0, state, values, masks
        )
        outputs[member] = values[rows * (total - 1) : rows * total]
    return outputs
