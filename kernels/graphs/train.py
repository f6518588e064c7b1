"""Training of one GCN predictor: the whole run in one compiled loop.

The parameters are one flat float32 array. GCN layer l: a (C, 2 D) matrix [W+ | W-], row-major, with
C the number of node types for the first layer and D after, then 2 D biases; then the dense stack of
``nprep.kernels.numeric.mlp_dense``. No step allocates or returns to Python, so a run costs what its
arithmetic costs, and does not depend on what else is trained beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.graphs.gather import gather_half, gather_kept
from nprep.kernels.graphs.layers import (
    add_scaled,
    empty_lists,
    fill_lists,
    split_deltas,
    turned_weights,
)
from nprep.kernels.jit import Integer, kernel
from nprep.kernels.numeric.adam import adam_update, cosine_rate
from nprep.kernels.numeric.float_mode import flush_denormals, restore_mode
from nprep.kernels.numeric.gemm import gemm, gemm_tn, transpose
from nprep.kernels.numeric.initialisation import fill_mask
from nprep.kernels.numeric.mlp_dense import dense_backward, dense_forward, dense_update, output_loss
from nprep.kernels.numeric.rng import shuffle


@kernel
def train_gcn(
    types: NDArray[np.uint8],
    num_types: int,
    cell_starts: NDArray[np.int32],
    out_starts: NDArray[np.int32],
    out_nodes: NDArray[np.int32],
    out_weights: NDArray[np.float32],
    in_starts: NDArray[np.int32],
    in_nodes: NDArray[np.int32],
    in_weights: NDArray[np.float32],
    targets: NDArray[np.float32],
    parameters: NDArray[np.float32],
    layers: int,
    width: int,
    head: NDArray[np.int64],
    layer_biased: bool,
    head_biased: bool,
    rectify: bool,
    drop_layers: float,
    drop_readout: float,
    drop_head: float,
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
    """Trains ``parameters`` in place.

    Args:
        types: (V,) node types (see ``nprep.spaces.graphs.GraphBatch`` for this and the next 8).
        num_types: Number of node types.
        cell_starts: (N + 1,).
        out_starts: (V + 1,).
        out_nodes: Entries along the edges.
        out_weights: Their weights.
        in_starts: (V + 1,).
        in_nodes: Entries against the edges.
        in_weights: Their weights.
        targets: (N,) labels, as the loss takes them.
        parameters: (P,) initial parameters, replaced by the trained ones.
        layers: Number of GCN layers, at least 1.
        width: Their width D.
        head: (k + 2,) sizes of the dense stack: D, hidden sizes, 1.
        layer_biased: Whether the GCN layers have biases.
        head_biased: Whether the dense layers have biases.
        rectify: Whether the hidden dense layers end in ReLU.
        drop_layers: Dropout rate after every GCN layer.
        drop_readout: Dropout rate of the mean over vertices.
        drop_head: Dropout rate after every hidden dense layer.
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
    cells = cell_starts.shape[0] - 1
    largest: Integer = 0
    for cell in range(cells):
        largest = max(largest, np.int64(cell_starts[cell + 1] - cell_starts[cell]))
    batch = min(batch, cells)
    reserved = batch * largest
    double = 2 * width
    # The list against the edges carries the weights along them, and the other way round.
    in_back = turned_weights(out_starts, out_nodes, out_weights, in_starts, in_nodes)
    out_back = turned_weights(in_starts, in_nodes, in_weights, out_starts, out_nodes)
    along = empty_lists(reserved, out_starts)
    against = empty_lists(reserved, in_starts)

    states = np.zeros((layers, reserved, width), np.float32)
    sums = np.zeros((layers, reserved, double), np.float32)
    layer_masks = np.empty((layers, reserved * width), np.float32)
    products = np.zeros((reserved, double), np.float32)
    back = np.zeros((reserved, double), np.float32)
    split = np.zeros((reserved, double), np.float32)
    deltas = np.zeros((reserved, width), np.float32)
    turned = np.empty(double * width, np.float32)
    nodes = np.empty(reserved, np.int32)
    starts = np.empty(batch + 1, np.int64)
    total = 0
    largest_dense = 0
    for layer in range(head.shape[0]):
        total += head[layer]
        if layer > 0:
            largest_dense = max(largest_dense, head[layer - 1] * head[layer])
    dense_values = np.zeros(batch * total, np.float32)
    dense_masks = np.zeros(batch * total, np.float32)
    dense_deltas = np.zeros(batch * total, np.float32)
    dense_turned = np.empty(largest_dense, np.float32)
    output = batch * (total - 1)
    readout_mask = np.empty(batch * width, np.float32)
    first = np.zeros(parameters.shape[0], np.float32)
    second = np.zeros(parameters.shape[0], np.float32)

    offsets = np.zeros(layers + 1, np.int64)
    for layer in range(layers):
        channels = num_types if layer == 0 else width
        offsets[layer + 1] = offsets[layer] + (channels + 1) * double
    order = np.arange(cells).astype(np.int32)
    per_epoch = (cells + batch - 1) // batch
    step = 0
    for epoch in range(epochs):
        if shuffled:
            shuffle(state, order)
        losses[epoch] = 0.0
        for begin in range(0, cells, batch):
            count = min(batch, cells - begin)
            rows = 0
            for k in range(count):
                cell = order[begin + k]
                starts[k] = rows
                for node in range(cell_starts[cell], cell_starts[cell + 1]):
                    nodes[rows] = node
                    rows += 1
            starts[count] = rows
            fill_lists(nodes, rows, types, out_starts, out_nodes, out_weights, out_back, along)
            fill_lists(nodes, rows, types, in_starts, in_nodes, in_weights, in_back, against)

            for layer in range(layers):
                channels = num_types if layer == 0 else width
                bias_start = offsets[layer] + channels * double
                matrix = parameters[offsets[layer] : bias_start].reshape(channels, double)
                bias = parameters[bias_start : offsets[layer + 1]]
                if layer > 0:
                    gemm(states[layer - 1, :rows], matrix, products[:rows])
                gather_kept(
                    matrix if layer == 0 else products,
                    along.starts, along.types if layer == 0 else along.rows, along.weights,
                    against.starts, against.types if layer == 0 else against.rows,
                    against.weights, bias, rows, states[layer], sums[layer],
                )  # fmt: skip
                if drop_layers > 0.0:
                    mask = layer_masks[layer]
                    fill_mask(state, mask, rows * width, drop_layers)
                    values = states[layer].reshape(-1)
                    for k in range(rows * width):
                        values[k] *= mask[k]

            top = states[layers - 1]
            for k in range(count):
                mean = dense_values[k * width : (k + 1) * width]
                share = np.float32(1.0 / (starts[k + 1] - starts[k]))
                for row in range(starts[k], starts[k + 1]):
                    add_scaled(mean, top[row], share, row == starts[k])
            if drop_readout > 0.0:
                fill_mask(state, readout_mask, count * width, drop_readout)
                for k in range(count * width):
                    dense_values[k] *= readout_mask[k]

            head_start = offsets[layers]
            dense_forward(
                parameters, head_start, head, count, batch, rectify, head_biased, drop_head,
                state, dense_values, dense_masks,
            )  # fmt: skip
            loss = output_loss(
                dense_values[output:], targets, order, begin, count, loss_kind,
                dense_deltas[output:],
            )  # fmt: skip
            losses[epoch] += loss * count / cells
            dense_backward(
                parameters, head_start, head, count, batch, rectify, head_biased, drop_head,
                dense_values, dense_masks, dense_deltas, dense_turned, gradients, True,
            )  # fmt: skip

            rate = cosine_rate(peak_rate, step, epochs * per_epoch)
            step += 1
            if drop_readout > 0.0:
                for k in range(count * width):
                    dense_deltas[k] *= readout_mask[k]
            for k in range(count):
                mean = dense_deltas[k * width : (k + 1) * width]
                share = np.float32(1.0 / (starts[k + 1] - starts[k]))
                for row in range(starts[k], starts[k + 1]):
                    add_scaled(deltas[row], mean, share, True)

            for layer in range(layers - 1, -1, -1):
                channels = num_types if layer == 0 else width
                bias_start = offsets[layer] + channels * double
                if drop_layers > 0.0:
                    mask = layer_masks[layer]
                    values = deltas.reshape(-1)
                    for k in range(rows * width):
                        values[k] *= mask[k]
                split_deltas(sums[layer], deltas, rows, width, split)
                slope = gradients[offsets[layer] : bias_start].reshape(channels, double)
                bias_slope = gradients[bias_start : offsets[layer + 1]]
                bias_slope[:] = np.float32(0.0)
                if layer_biased:
                    for row in range(rows):
                        add_scaled(bias_slope, split[row], np.float32(1.0), False)
                gather_half(
                    split, 0, against.starts, against.rows, against.back_weights, rows, back
                )
                gather_half(split, width, along.starts, along.rows, along.back_weights, rows, back)
                if layer > 0:
                    gemm_tn(states[layer - 1, :rows], back[:rows], slope)
                    matrix = parameters[offsets[layer] : bias_start].reshape(channels, double)
                    matrix_turned = turned.reshape(double, width)
                    transpose(matrix, matrix_turned)
                    gemm(back[:rows], matrix_turned, deltas[:rows])
                else:
                    # The inputs are one-hot, so their product is a sum of the rows of a type.
                    slope[:] = np.float32(0.0)
                    for row in range(rows):
                        add_scaled(slope[types[nodes[row]]], back[row], np.float32(1.0), False)
                # The gradient is still in the cache: update now rather than after all layers.
                stop = offsets[layer + 1] if layer_biased else bias_start
                adam_update(
                    parameters, gradients, first, second, offsets[layer], stop, step, rate,
                    decay, decoupled,
                )  # fmt: skip
            dense_update(
                parameters, gradients, first, second, head_start, head, head_biased, step, rate,
                decay, decoupled,
            )  # fmt: skip
    restore_mode(mode)
