"""Training of one multi-layer perceptron: the whole run in one compiled loop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.numeric.adam import adam_step, cosine_rate
from nprep.kernels.numeric.float_mode import flush_denormals, restore_mode
from nprep.kernels.numeric.mlp_dense import dense_backward, dense_forward, dense_update, output_loss
from nprep.kernels.numeric.rng import shuffle


@kernel
def train_mlp(
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    parameters: NDArray[np.float32],
    sizes: NDArray[np.int64],
    biased: bool,
    rectify: bool,
    dropout: float,
    loss_kind: int,
    epochs: int,
    batch: int,
    peak_rate: float,
    decay: float,
    decoupled: bool,
    shuffled: bool,
    state: NDArray[np.uint64],
    losses: NDArray[np.float64],
    gradients: NDArray[np.float32],
) -> None:
    """Trains ``parameters``, a stack of ``nprep.kernels.numeric.mlp_dense``, in place.

    Args:
        features: (N, F) inputs.
        targets: (N,) labels, as the loss takes them.
        parameters: (P,) initial parameters, replaced by the trained ones.
        sizes: (k + 2,) F, hidden sizes, 1.
        biased: Whether the layers have biases.
        rectify: Whether the hidden layers end in ReLU.
        dropout: Dropout rate after every hidden layer.
        loss_kind: See ``nprep.kernels.numeric.mlp_dense.output_loss``.
        epochs: Passes over the samples.
        batch: Samples in a step; the last step of an epoch takes what is left.
        peak_rate: First learning rate; it decays to zero along half a cosine over all steps.
        decay: Weight decay.
        decoupled: Whether it is decoupled from Adam.
        shuffled: Whether each epoch draws a new order.
        state: (4,) generator state, advanced.
        losses: (epochs,) receives the mean training loss of every epoch.
        gradients: (P,) receives the gradients of the last step.
    """
    mode = flush_denormals()
    samples, width = features.shape
    batch = min(batch, samples)
    total = 0
    largest = 0
    for layer in range(sizes.shape[0]):
        total += sizes[layer]
        if layer > 0:
            largest = max(largest, sizes[layer - 1] * sizes[layer])
    values = np.zeros(batch * total, np.float32)
    masks = np.zeros(batch * total, np.float32)
    deltas = np.zeros(batch * total, np.float32)
    transposed = np.empty(largest, np.float32)
    output = batch * (total - 1)
    first = np.zeros(parameters.shape[0], np.float32)
    second = np.zeros(parameters.shape[0], np.float32)
    order = np.arange(samples).astype(np.int32)
    per_epoch = (samples + batch - 1) // batch
    step = 0
    for epoch in range(epochs):
        if shuffled:
            shuffle(state, order)
        losses[epoch] = 0.0
        for begin in range(0, samples, batch):
            count = min(batch, samples - begin)
            for k in range(count):
                values[k * width : (k + 1) * width] = features[order[begin + k]]
            dense_forward(
                parameters, 0, sizes, count, batch, rectify, biased, dropout, state, values, masks
            )
            loss = output_loss(
                values[output:], targets, order, begin, count, loss_kind, deltas[output:]
            )
            losses[epoch] += loss * count / samples
            dense_backward(
                parameters, 0, sizes, count, batch, rectify, biased, dropout, values, masks,
                deltas, transposed, gradients, False,
            )  # fmt: skip
            rate = cosine_rate(peak_rate, step, epochs * per_epoch)
            step += 1
            rule = adam_step(step, rate, decay, decoupled)
            dense_update(parameters, gradients, first, second, 0, sizes, biased, rule)
    restore_mode(mode)
