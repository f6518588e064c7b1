"""Cells as the inputs of predictors.

Vertices that a cell does not have are rows of zeros in every encoding. The two normalised
directions are each made from their own matrix, A + I and its transpose; normalising the transpose
of a normalised matrix would give other numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import (
    CONV1X1,
    CONV3X3,
    INPUT,
    MAX_VERTICES,
    MAXPOOL3X3,
    NUM_PAIRS,
    OUTPUT,
    out_mask,
)

# The order of the one-hot columns in the Neural Predictor paper: input, conv1x1, conv3x3, max-pool,
# output.
COLUMN_OPERATIONS = (INPUT, CONV1X1, CONV3X3, MAXPOOL3X3, OUTPUT)
NUM_COLUMNS = len(COLUMN_OPERATIONS)
# The column of each operation code.
COLUMNS = np.argsort(np.array(COLUMN_OPERATIONS)).astype(np.int64)
FLAT_WIDTH = MAX_VERTICES * NUM_COLUMNS + NUM_PAIRS


@kernel
def one_hot(operations: NDArray[np.uint8], num_vertices: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One-hot operations of N cells.

    Args:
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.

    Returns:
        (N, 7, 5) float32; columns input, conv1x1, conv3x3, max-pool, output.
    """
    out = np.zeros((len(operations), MAX_VERTICES, NUM_COLUMNS), np.float32)
    for i in range(len(operations)):
        for vertex in range(num_vertices[i]):
            out[i, vertex, COLUMNS[operations[i, vertex]]] = 1.0
    return out


@kernel
def adjacency_matrices(
    adjacency_bits: NDArray[np.uint32], num_vertices: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The matrices of N cells: (N, 7, 7) uint8, 1 at [i, j] for an edge from i to j."""
    out = np.zeros((len(adjacency_bits), MAX_VERTICES, MAX_VERTICES), np.uint8)
    for i in range(len(adjacency_bits)):
        for vertex in range(num_vertices[i] - 1):
            mask = out_mask(adjacency_bits[i], vertex)
            for target in range(vertex + 1, num_vertices[i]):
                out[i, vertex, target] = (mask >> target) & 1
    return out


@kernel
def pack_matrices(matrices: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Adjacency bits (N,) uint32 of matrices (N, 7, 7), of which the upper triangle is read."""
    out = np.zeros(len(matrices), np.uint32)
    for i in range(len(matrices)):
        bits = 0
        pair = 0
        for vertex in range(MAX_VERTICES):
            for target in range(vertex + 1, MAX_VERTICES):
                if matrices[i, vertex, target] != 0:
                    bits |= 1 << pair
                pair += 1
        out[i] = bits
    return out


@kernel
def _with_loops(bits: Integer, size: Integer, out: NDArray[np.float32]) -> None:
    """Adds A + I of one cell to zeros (7, 7)."""
    for vertex in range(size):
        out[vertex, vertex] = 1.0
        mask = out_mask(bits, vertex)
        for target in range(vertex + 1, size):
            out[vertex, target] = (mask >> target) & 1


@kernel
def row_normalised_adjacency(
    adjacency_bits: NDArray[np.uint32], num_vertices: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Averaging matrices with self-loops of N cells, along and against the edges.

    Args:
        adjacency_bits: (N,) uint32.
        num_vertices: (N,) uint8.

    Returns:
        Two arrays (N, 7, 7) float32: the rows of A + I and those of its transpose, each divided by
        its sum.
    """
    count = len(adjacency_bits)
    forward = np.zeros((count, MAX_VERTICES, MAX_VERTICES), np.float32)
    backward = np.zeros((count, MAX_VERTICES, MAX_VERTICES), np.float32)
    for i in range(count):
        size = np.int64(num_vertices[i])
        _with_loops(adjacency_bits[i], size, forward[i])
        for vertex in range(size):
            total = np.float32(0.0)
            for source in range(vertex + 1):
                backward[i, vertex, source] = forward[i, source, vertex]
                total += forward[i, source, vertex]
            for source in range(vertex + 1):
                backward[i, vertex, source] /= total
        # Only now, since the other direction is made from the matrix as it was.
        for vertex in range(size):
            total = np.float32(0.0)
            for target in range(vertex, size):
                total += forward[i, vertex, target]
            for target in range(vertex, size):
                forward[i, vertex, target] /= total
    return forward, backward


@kernel
def symmetric_normalised_adjacency(
    adjacency_bits: NDArray[np.uint32], num_vertices: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """D_out^-1/2 (A + I) D_in^-1/2 of N cells, and the same of the transpose.

    D_out and D_in hold the row and column sums of A + I: for a directed graph the two degrees of
    Kipf and Welling's symmetric form differ. The second array is then the transpose of the first.

    Args:
        adjacency_bits: (N,) uint32.
        num_vertices: (N,) uint8.

    Returns:
        Two arrays (N, 7, 7) float32, along and against the edges.
    """
    count = len(adjacency_bits)
    forward = np.zeros((count, MAX_VERTICES, MAX_VERTICES), np.float32)
    backward = np.zeros((count, MAX_VERTICES, MAX_VERTICES), np.float32)
    row_sums = np.empty(MAX_VERTICES, np.float32)
    column_sums = np.empty(MAX_VERTICES, np.float32)
    for i in range(count):
        size = np.int64(num_vertices[i])
        _with_loops(adjacency_bits[i], size, forward[i])
        row_sums[:] = 0.0
        column_sums[:] = 0.0
        for vertex in range(size):
            for target in range(vertex, size):
                row_sums[vertex] += forward[i, vertex, target]
                column_sums[target] += forward[i, vertex, target]
        for vertex in range(size):
            for target in range(vertex, size):
                value = forward[i, vertex, target]
                if value != 0.0:
                    value /= np.sqrt(row_sums[vertex] * column_sums[target])
                forward[i, vertex, target] = value
                backward[i, target, vertex] = value
    return forward, backward


@kernel
def flat_encoding(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """One-hot operations, then the upper triangle of the 7 x 7 matrix: the input of an MLP.

    Args:
        adjacency_bits: (N,) uint32.
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.

    Returns:
        (N, 56) float32: 7 vertices x 5 columns as in ``one_hot``, then the 21 adjacency bits.
    """
    out = np.zeros((len(adjacency_bits), FLAT_WIDTH), np.float32)
    for i in range(len(adjacency_bits)):
        for vertex in range(num_vertices[i]):
            out[i, vertex * NUM_COLUMNS + COLUMNS[operations[i, vertex]]] = 1.0
        bits = np.int64(adjacency_bits[i])
        for pair in range(NUM_PAIRS):
            out[i, MAX_VERTICES * NUM_COLUMNS + pair] = (bits >> pair) & 1
    return out
