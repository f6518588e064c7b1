"""Trainable parameters of the full CIFAR-10 network of a cell.

The network: a stem (3x3 convolution to 128 channels), three stacks of three cells, the channels
doubled from stack to stack, and a dense layer of 10 outputs after global pooling. Convolutions have
no bias; each is followed by a batch normalisation, whose scale and offset are trainable.

The count is a property of the matrix, not of the cell up to isomorphism: channels that can't be
split evenly among the vertices that feed the output go to the first of them, so another order of
the same vertices may give another count. Enumeration gives the official matrices.

Source: https://github.com/google-research/nasbench (lib/model_builder.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import CONV1X1, CONV3X3, MAX_VERTICES, out_mask

STEM_CHANNELS = 128
NUM_STACKS = 3
CELLS_PER_STACK = 3
NUM_CLASSES = 10
IMAGE_CHANNELS = 3


@kernel
def vertex_channels(
    bits: Integer,
    num_vertices: Integer,
    input_channels: Integer,
    output_channels: Integer,
    channels: NDArray[np.int64],
) -> None:
    """Output channels of every vertex of a pruned cell.

    The vertices that feed the output share its channels, the remainder going to the first of them;
    any other vertex has as many as the widest of those that it feeds.

    Args:
        bits: Adjacency bits.
        num_vertices: 2 to 7.
        input_channels: Channels that the cell is given.
        output_channels: Channels that the cell gives.
        channels: (7,) int64; the first ``num_vertices`` are overwritten.
    """
    last = np.int64(num_vertices) - 1
    channels[0] = input_channels
    channels[last] = output_channels
    feeding = 0
    for vertex in range(1, last):
        feeding += (out_mask(bits, vertex) >> last) & 1
    if feeding == 0:
        # Only the cell of 2 vertices: every interior vertex of a pruned cell leads to the output.
        return
    share = output_channels // feeding
    remainder = output_channels % feeding
    for vertex in range(1, last):
        channels[vertex] = 0
        if (out_mask(bits, vertex) >> last) & 1:
            channels[vertex] = share
            if remainder > 0:
                channels[vertex] += 1
                remainder -= 1
    for vertex in range(last - 2, 0, -1):
        mask = out_mask(bits, vertex)
        if not (mask >> last) & 1:
            for target in range(vertex + 1, last):
                if (mask >> target) & 1:
                    channels[vertex] = max(channels[vertex], channels[target])


@kernel
def _convolution(size: Integer, channels_in: Integer, channels_out: Integer) -> Integer:
    """Weights of a square convolution and its batch normalisation."""
    return size * size * channels_in * channels_out + 2 * channels_out


@kernel
def cell_parameters(
    bits: Integer,
    operations: NDArray[np.uint8],
    num_vertices: Integer,
    input_channels: Integer,
    output_channels: Integer,
    channels: NDArray[np.int64],
) -> Integer:
    """Trainable parameters of one pruned cell within the network.

    Args:
        bits: Adjacency bits.
        operations: (7,) uint8.
        num_vertices: 2 to 7.
        input_channels: Channels that the cell is given.
        output_channels: Channels that the cell gives.
        channels: (7,) int64 scratch.
    """
    last = np.int64(num_vertices) - 1
    vertex_channels(bits, num_vertices, input_channels, output_channels, channels)
    from_input = out_mask(bits, 0)
    total = 0
    for vertex in range(1, last):
        width = channels[vertex]
        if (from_input >> vertex) & 1:
            total += _convolution(1, input_channels, width)
        if operations[vertex] == CONV3X3:
            total += _convolution(3, width, width)
        elif operations[vertex] == CONV1X1:
            total += _convolution(1, width, width)
    if (from_input >> last) & 1:
        total += _convolution(1, input_channels, output_channels)
    return total


@kernel
def parameters_scalar(
    bits: Integer,
    operations: NDArray[np.uint8],
    num_vertices: Integer,
    channels: NDArray[np.int64],
) -> Integer:
    """Trainable parameters of the full network of a pruned cell.

    Args:
        bits: Adjacency bits.
        operations: (7,) uint8.
        num_vertices: 2 to 7.
        channels: (7,) int64 scratch.
    """
    total = _convolution(3, IMAGE_CHANNELS, STEM_CHANNELS)
    width = STEM_CHANNELS
    for stack in range(NUM_STACKS):
        given = width
        if stack > 0:
            width *= 2
        total += cell_parameters(bits, operations, num_vertices, given, width, channels)
        inner = cell_parameters(bits, operations, num_vertices, width, width, channels)
        total += (CELLS_PER_STACK - 1) * inner
    return total + width * NUM_CLASSES + NUM_CLASSES


@kernel
def parameters_batch(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
) -> NDArray[np.int32]:
    """Trainable parameters of the networks of N pruned cells.

    Args:
        adjacency_bits: (N,) uint32.
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.

    Returns:
        (N,) int32.
    """
    channels = np.zeros(MAX_VERTICES, np.int64)
    counts = np.empty(len(adjacency_bits), np.int32)
    for i in range(len(counts)):
        counts[i] = parameters_scalar(adjacency_bits[i], operations[i], num_vertices[i], channels)
    return counts
