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
    add_repeated,
    add_scaled,
    empty_lists,
    fill_lists,
    order_rows,
    split_deltas,
    state_classes,
    turned_weights,
    type_gradients,
)
from nprep.kernels.jit import Integer, kernel
from nprep.kernels.numeric.adam import adam_step, adam_update, cosine_rate
from nprep.kernels.numeric.float_mode import flush_denormals, restore_mode
from nprep.kernels.numeric.gemm import gemm, gemm_nt, gemm_tn
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
    out_types = types[out_nodes].astype(np.int32)
    in_types = types[in_nodes].astype(np.int32)
    # Dropout after the first layer gives every row a state of its own, and the mean over vertices
    # takes every row.
    if layers > 1 and drop_layers == 0.0:
        classes = state_classes(
            types, out_starts, out_nodes, out_weights, in_starts, in_nodes, in_weights
        )
    else:
        classes = np.arange(len(types)).astype(np.int32)
    seen = np.full(len(types), -1, np.int32)
    order_of_states = np.empty(reserved, np.int32)
    numbers = np.empty(reserved, np.int32)
    all_rows = np.arange(reserved).astype(np.int32)
    along = empty_lists(reserved, out_starts)
    against = empty_lists(reserved, in_starts)

    states = np.zeros((layers, reserved, width), np.float32)
    sums = np.zeros((layers, reserved, double), np.float32)
    layer_masks = np.empty((layers, reserved * width), np.float32)
    products = np.zeros((reserved, double), np.float32)
    deltas = np.zeros((reserved, width), np.float32)
    largest_matrix = double * (max(width, num_types) + 1)
    slopes = np.zeros(largest_matrix, np.float32)
    transposed = np.empty(largest_matrix, np.float32)
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
            distinct = order_rows(nodes, rows, classes, seen, order_of_states, numbers)
            drawn = order[begin : begin + count]
            fill_lists(
                drawn, cell_starts, starts, numbers, out_starts, out_nodes, out_types, out_weights,
                out_back, along,
            )  # fmt: skip
            fill_lists(
                drawn, cell_starts, starts, numbers, in_starts, in_nodes, in_types, in_weights,
                in_back, against,
            )  # fmt: skip

            for layer in range(layers):
                channels = num_types if layer == 0 else width
                bias_start = offsets[layer] + channels * double
                matrix = parameters[offsets[layer] : bias_start].reshape(channels, double)
                bias = parameters[bias_start : offsets[layer + 1]]
                # What a layer reads: types, then the distinct states, then the rows below.
                if layer == 0:
                    gather_kept(
                        matrix, along.starts, along.types, along.weights, against.starts,
                        against.types, against.weights, bias, order_of_states[:distinct],
                        states[0], sums[0],
                    )  # fmt: skip
                else:
                    below = distinct if layer == 1 else rows
                    gemm(states[layer - 1, :below], matrix, products[:below])
                    gather_kept(
                        products, along.starts, along.states if layer == 1 else along.rows,
                        along.weights, against.starts,
                        against.states if layer == 1 else against.rows, against.weights, bias,
                        all_rows[:rows], states[layer], sums[layer],
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
            rule = adam_step(step, rate, decay, decoupled)
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
                count_here = distinct if layer == 0 else rows
                split = sums[layer]
                split_deltas(split, deltas, count_here, width)
                # One layer's gradients at a time, so that they stay in the cache for Adam.
                matrix_size = channels * double
                slope = slopes[:matrix_size].reshape(channels, double)
                bias_slope = slopes[matrix_size : matrix_size + double]
                bias_slope[:] = np.float32(0.0)
                if layer_biased:
                    for row in range(count_here):
                        add_scaled(bias_slope, split[row], np.float32(1.0), False)
                if layer > 0:
                    # The products of the forward pass are done with.
                    back = products
                    chosen = order_of_states[:rows] if layer == 1 else all_rows[:rows]
                    gather_half(
                        split, 0, against.starts, against.rows, against.back_weights, chosen, back
                    )
                    gather_half(
                        split, width, along.starts, along.rows, along.back_weights, chosen, back
                    )
                    if layer == 1:
                        add_repeated(order_of_states, numbers, distinct, rows, back)
                    below = distinct if layer == 1 else rows
                    gemm_tn(states[layer - 1, :below], back[:below], slope)
                    matrix = parameters[offsets[layer] : bias_start].reshape(channels, double)
                    gemm_nt(back[:below], matrix, deltas[:below], transposed)
                else:
                    slope[:] = np.float32(0.0)
                    chosen = order_of_states[:distinct]
                    type_gradients(along, chosen, split, 0, width, slope)
                    type_gradients(against, chosen, split, width, width, slope)
                begin_layer = offsets[layer]
                stop = offsets[layer + 1] if layer_biased else bias_start
                adam_update(
                    parameters[begin_layer:stop], slopes[: stop - begin_layer],
                    first[begin_layer:stop], second[begin_layer:stop], rule,
                )  # fmt: skip
                if step == epochs * per_epoch:
                    gradients[begin_layer : offsets[layer + 1]] = slopes[: matrix_size + double]
            dense_update(parameters, gradients, first, second, head_start, head, head_biased, rule)
    restore_mode(mode)
