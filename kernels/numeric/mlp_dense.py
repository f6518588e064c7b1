"""A stack of dense layers with one output: forward and backward, on flat parameters.

A stack of hidden sizes (h1, .., hk) maps an input of size h0 to one number. Its parameters lie one
layer after another from ``offset``: the weights (h_l, h_{l+1}), row-major, then the h_{l+1} biases,
the output layer (hk, 1) and its bias last. ``sizes`` is (h0, h1, .., hk, 1). Row-blocks of
activations of all layers lie one after another in one flat buffer: layer l starts at
``rows_reserved * sum(sizes[:l])``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.numeric.adam import AdamStep, adam_update
from nprep.kernels.numeric.gemm import gemm, gemm_nt, gemm_tn
from nprep.kernels.numeric.initialisation import fill_mask


@kernel
def dense_forward(
    parameters: NDArray[np.float32],
    offset: int,
    sizes: NDArray[np.int64],
    rows: int,
    reserved: int,
    rectify: bool,
    biased: bool,
    dropout: float,
    state: NDArray[np.uint64],
    activations: NDArray[np.float32],
    masks: NDArray[np.float32],
) -> None:
    """Computes the activations of all layers from those of the input.

    Args:
        parameters: Flat parameters.
        offset: First parameter of the stack.
        sizes: (k + 2,) layer sizes, input and output included.
        rows: Number of samples.
        reserved: Rows for which the buffers have room.
        rectify: Whether the hidden layers end in ReLU (else they are linear).
        biased: Whether biases are added.
        dropout: Rate of the dropout after each hidden layer; 0 turns it off.
        state: Generator of the masks.
        activations: Flat buffer; the input is in its first ``rows * sizes[0]`` elements.
        masks: Flat buffer of the same layout for the masks.
    """
    zero = np.float32(0.0)
    begin = 0
    weight = offset
    layers = sizes.shape[0] - 1
    for layer in range(layers):
        width, height = sizes[layer], sizes[layer + 1]
        following = begin + reserved * width
        source = activations[begin : begin + rows * width].reshape(rows, width)
        target = activations[following : following + rows * height].reshape(rows, height)
        matrix = parameters[weight : weight + width * height].reshape(width, height)
        gemm(source, matrix, target)
        weight += width * height
        if biased:
            bias = parameters[weight : weight + height]
            for i in range(rows):
                row = target[i]
                for j in range(height):
                    row[j] += bias[j]
        weight += height
        if layer + 1 < layers:
            values = activations[following : following + rows * height]
            if rectify:
                for k in range(rows * height):
                    values[k] = max(values[k], zero)
            if dropout > 0.0:
                mask = masks[following : following + rows * height]
                fill_mask(state, mask, rows * height, dropout)
                for k in range(rows * height):
                    values[k] *= mask[k]
        begin = following


@kernel
def dense_backward(
    parameters: NDArray[np.float32],
    offset: int,
    sizes: NDArray[np.int64],
    rows: int,
    reserved: int,
    rectify: bool,
    biased: bool,
    dropout: float,
    activations: NDArray[np.float32],
    masks: NDArray[np.float32],
    deltas: NDArray[np.float32],
    transposed: NDArray[np.float32],
    gradients: NDArray[np.float32],
    to_input: bool,
) -> None:
    """Computes the gradients of all parameters of the stack, and of its input.

    Args:
        parameters: Flat parameters.
        offset: First parameter of the stack.
        sizes: (k + 2,) layer sizes.
        rows: Number of samples.
        reserved: Rows for which the buffers have room.
        rectify: As in ``dense_forward``.
        biased: As in ``dense_forward``.
        dropout: As in ``dense_forward``.
        activations: As ``dense_forward`` left them.
        masks: As ``dense_forward`` left them.
        deltas: Flat buffer laid out like ``activations``; the gradient of the output is in its
            place, that of the input arrives in the first ``rows * sizes[0]`` elements.
        transposed: Scratch: as many elements as the largest weight matrix.
        gradients: Flat gradients; those of the stack are overwritten.
        to_input: Whether the gradient of the input is wanted.
    """
    zero = np.float32(0.0)
    layers = sizes.shape[0] - 1
    begin = 0
    weight = offset
    for layer in range(layers):
        begin += reserved * sizes[layer]
        weight += (sizes[layer] + 1) * sizes[layer + 1]
    for layer in range(layers - 1, -1, -1):
        width, height = sizes[layer], sizes[layer + 1]
        previous = begin - reserved * width
        weight -= (width + 1) * height
        delta = deltas[begin : begin + rows * height].reshape(rows, height)
        source = activations[previous : previous + rows * width].reshape(rows, width)
        bias = weight + width * height
        gemm_tn(source, delta, gradients[weight:bias].reshape(width, height))
        total = gradients[bias : bias + height]
        total[:] = zero
        if biased:
            for i in range(rows):
                row = delta[i]
                for j in range(height):
                    total[j] += row[j]
        if layer > 0 or to_input:
            matrix = parameters[weight:bias].reshape(width, height)
            below = deltas[previous : previous + rows * width]
            gemm_nt(delta, matrix, below.reshape(rows, width), transposed)
            if layer > 0:
                values = activations[previous : previous + rows * width]
                if dropout > 0.0:
                    mask = masks[previous : previous + rows * width]
                    for k in range(rows * width):
                        below[k] *= mask[k]
                if rectify:
                    for k in range(rows * width):
                        below[k] = below[k] if values[k] > zero else zero
        begin = previous


@kernel
def output_loss(
    outputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    order: NDArray[np.int32],
    first: int,
    rows: int,
    kind: int,
    deltas: NDArray[np.float32],
) -> float:
    """The mean loss of a batch and its gradient with respect to the raw outputs.

    Args:
        outputs: (rows,) raw outputs z.
        targets: (N,) labels of all samples.
        order: (N,) order of the samples; the batch is ``order[first : first + rows]``.
        first: Start of the batch.
        rows: Size of the batch.
        kind: 0: squared error of z; 1: squared error of 0.1 + 0.9 sigmoid(z); 2: cross-entropy of
            sigmoid(z); 3: pairwise logistic ranking loss of z over the pairs with unequal labels;
            4: like 1 in percent (10,000 times the loss).
        deltas: (rows,) receives the gradient.

    Returns:
        The loss.
    """
    loss = 0.0
    if kind == 3:
        deltas[:rows] = np.float32(0.0)
        pairs = 0
        for i in range(rows):
            for j in range(i):
                difference = targets[order[first + i]] - targets[order[first + j]]
                if difference == 0.0:
                    continue
                pairs += 1
                sign = 1.0 if difference > 0.0 else -1.0
                margin = sign * np.float64(outputs[i] - outputs[j])
                loss += np.log1p(np.exp(-abs(margin))) + max(-margin, 0.0)
                slope = np.float32(-sign / (1.0 + np.exp(margin)))
                deltas[i] += slope
                deltas[j] -= slope
        if pairs > 0:
            for i in range(rows):
                deltas[i] /= np.float32(pairs)
            loss /= pairs
        return loss
    for i in range(rows):
        z = np.float64(outputs[i])
        target = np.float64(targets[order[first + i]])
        if kind == 0:
            error = z - target
            loss += error * error
            derivative: Any = 2.0 * error
        elif kind == 1 or kind == 4:
            unit = 1.0 if kind == 1 else 1e4
            sigmoid = 1.0 / (1.0 + np.exp(-z))
            error = 0.1 + 0.9 * sigmoid - target
            loss += unit * error * error
            derivative = 1.8 * unit * error * sigmoid * (1.0 - sigmoid)
        else:
            sigmoid = 1.0 / (1.0 + np.exp(-z))
            loss += np.log1p(np.exp(-abs(z))) + max(z, 0.0) - target * z
            derivative = sigmoid - target
        deltas[i] = np.float32(derivative / rows)
    return loss / rows


@kernel
def dense_update(
    parameters: NDArray[np.float32],
    gradients: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    offset: int,
    sizes: NDArray[np.int64],
    biased: bool,
    rule: AdamStep,
) -> None:
    """One Adam step on the stack's parameters (see ``nprep.kernels.numeric.adam.adam_update``).

    Args:
        parameters: Flat parameters, changed in place.
        gradients: Flat gradients.
        first: Running means.
        second: Running means of squares.
        offset: First parameter of the stack.
        sizes: (k + 2,) layer sizes.
        biased: Whether biases are trained.
        rule: The step's constants.
    """
    weight = offset
    for layer in range(sizes.shape[0] - 1):
        bias = weight + sizes[layer] * sizes[layer + 1]
        stop = bias + sizes[layer + 1]
        end = stop if biased else bias
        adam_update(
            parameters[weight:end], gradients[weight:end], first[weight:end], second[weight:end],
            rule,
        )  # fmt: skip
        weight = stop
