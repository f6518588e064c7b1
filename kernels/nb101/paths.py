"""The path encoding: which sequences of operations lead from the input to the output of a cell.

White, Neiswanger and Savani, "BANANAS" (AAAI 2021). A path of length d (interior vertices) with
operations o_0, .., o_{d-1} has the number sum of 3^i (o_i + 1), with the codes of
``kernels/nb101/cells.py``: the 364 paths of up to 5 vertices are numbered from the shortest up, 0
being the edge from the input straight to the output.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import MAX_VERTICES, NUM_OPERATIONS, out_mask

# Paths of up to 0, 1, .., 5 interior vertices.
PATHS_UP_TO = (1, 4, 13, 40, 121, 364)
NUM_PATHS = PATHS_UP_TO[-1]


@kernel
def path_encoding(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
    length: Integer,
) -> NDArray[np.float32]:
    """Marks the paths of cells.

    Args:
        adjacency_bits: (N,) uint32; pruned cells, or unpruned specs.
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.
        length: L; only the first L paths are encoded (40: those of up to 3 vertices).

    Returns:
        (N, L) float32; 1 where the cell has the path.
    """
    out = np.zeros((len(adjacency_bits), length), np.float32)
    # A walk in depth first order: at each depth the vertices left to try, and the number of the
    # path so far.
    left = np.zeros(MAX_VERTICES, np.int64)
    numbers = np.zeros(MAX_VERTICES, np.int64)
    for i in range(len(adjacency_bits)):
        bits = adjacency_bits[i]
        last = np.int64(num_vertices[i]) - 1
        inside = (1 << (last + 1)) - 1
        depth = 0
        left[0] = out_mask(bits, 0) & inside
        power = 1
        while depth >= 0:
            if left[depth] == 0:
                depth -= 1
                power //= NUM_OPERATIONS
                continue
            vertex = 0
            while not (left[depth] >> vertex) & 1:
                vertex += 1
            left[depth] ^= 1 << vertex
            if vertex == last:
                if numbers[depth] < length:
                    out[i, numbers[depth]] = 1.0
                continue
            number = numbers[depth] + power * (np.int64(operations[i, vertex]) + 1)
            power *= NUM_OPERATIONS
            depth += 1
            numbers[depth] = number
            left[depth] = out_mask(bits, vertex) & inside
    return out


@kernel
def _mixed(value: Integer) -> Integer:
    """Mixes the bits of a number (the last step of splitmix64, Steele et al., 2014)."""
    mixed = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@kernel
def path_keys(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
) -> NDArray[np.uint64]:
    """Keys of the paths of cells; two ways with the same operations count twice.

    That is what the program naszilla tells cells apart by: its ``get_path_indices`` is a sorted
    list of the numbers of all paths.

    Args:
        adjacency_bits: (N,) uint32; pruned cells, or unpruned specs.
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.

    Returns:
        (N,) uint64; equal for equal lists of paths, and for others with a chance of 2^-64.
    """
    keys = np.zeros(len(adjacency_bits), np.uint64)
    left = np.zeros(MAX_VERTICES, np.int64)
    numbers = np.zeros(MAX_VERTICES, np.int64)
    for i in range(len(adjacency_bits)):
        bits = adjacency_bits[i]
        last = np.int64(num_vertices[i]) - 1
        inside = (1 << (last + 1)) - 1
        depth = 0
        left[0] = out_mask(bits, 0) & inside
        power = 1
        while depth >= 0:
            if left[depth] == 0:
                depth -= 1
                power //= NUM_OPERATIONS
                continue
            vertex = 0
            while not (left[depth] >> vertex) & 1:
                vertex += 1
            left[depth] ^= 1 << vertex
            if vertex == last:
                # A sum does not depend on the order of the paths.
                keys[i] += _mixed(numbers[depth])
                continue
            number = numbers[depth] + power * (np.int64(operations[i, vertex]) + 1)
            power *= NUM_OPERATIONS
            depth += 1
            numbers[depth] = number
            left[depth] = out_mask(bits, vertex) & inside
    return keys
