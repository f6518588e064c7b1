"""The GCN predictor in dense NumPy, and a plan that shares states: slow and obvious."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.cuda.gcn import Direction, InferencePlan
from nprep.kernels.nb101.encode import row_normalised_adjacency, symmetric_normalised_adjacency
from nprep.spaces.nb101.cells import CellBatch

NUM_TYPES = 5


def matrices(
    cells: CellBatch, symmetric: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The normalised adjacency along and against the edges, (N, 7, 7)."""
    function = symmetric_normalised_adjacency if symmetric else row_normalised_adjacency
    return function(cells.adjacency_bits, cells.num_vertices)


def unpack(
    parameters: NDArray[np.float32], layers: int, width: int, head: tuple[int, ...]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Matrices and biases of packed parameters (P,)."""
    sizes = [(NUM_TYPES if layer == 0 else width, 2 * width) for layer in range(layers)]
    sizes += zip((width, *head), (*head, 1), strict=True)
    tensors = []
    start = 0
    for rows, columns in sizes:
        stop = start + rows * columns
        matrix = parameters[start:stop].reshape(rows, columns).astype(np.float64)
        tensors.append((matrix, parameters[stop : stop + columns].astype(np.float64)))
        start = stop + columns
    assert start == len(parameters)
    return tensors


def random_parameters(
    generator: np.random.Generator, count: int, layers: int, width: int, head: tuple[int, ...]
) -> NDArray[np.float32]:
    """Packed parameters (T, P) at the scale of a trained predictor, biases included."""
    flat = []
    sizes = [(NUM_TYPES if layer == 0 else width, 2 * width) for layer in range(layers)]
    for rows, columns in [*sizes, *zip((width, *head), (*head, 1), strict=True)]:
        scale = np.sqrt(2 / rows)
        flat.append(scale * generator.standard_normal((count, rows * columns)))
        flat.append(0.1 * generator.standard_normal((count, columns)))
    return np.concatenate(flat, 1).astype(np.float32)


def dense_outputs(
    cells: CellBatch,
    parameters: NDArray[np.float32],
    layers: int,
    width: int,
    head: tuple[int, ...],
    rectify: bool = True,
    symmetric: bool = False,
) -> NDArray[np.float64]:
    """Raw outputs (N,) of one predictor, in float64."""
    tensors = unpack(parameters, layers, width, head)
    outputs = np.empty(len(cells))
    for start in range(0, len(cells), 20_000):
        some = cells.take(np.arange(start, min(start + 20_000, len(cells))))
        along, against = matrices(some, symmetric)
        used = np.arange(7) < some.num_vertices[:, None]
        states = (some.operations[:, :, None] == np.arange(NUM_TYPES)).astype(np.float64)
        for matrix, bias in tensors[:layers]:
            products = states @ matrix
            left = along @ products[:, :, :width] + bias[:width]
            right = against @ products[:, :, width:] + bias[width:]
            states = (np.maximum(left, 0) + np.maximum(right, 0)) / 2 * used[:, :, None]
        values = states.sum(1) / some.num_vertices[:, None]
        for number, (matrix, bias) in enumerate(tensors[layers:]):
            values = values @ matrix + bias
            if rectify and number + 1 < len(tensors) - layers:
                values = np.maximum(values, 0)
        outputs[start : start + len(some)] = values[:, 0]
    return outputs


def plan_for(cells: CellBatch, layers: int, shared: bool, symmetric: bool = False) -> InferencePlan:
    """A plan for cells; ``shared`` keeps each distinct state of the lower layers once.

    States are told apart by sums of random words, which is right for normalisation by rows alone.
    """
    along, against = (matrix.reshape(-1, 7) for matrix in matrices(cells, symmetric))
    used = (np.arange(7) < cells.num_vertices[:, None]).ravel()
    node = np.cumsum(used) - 1
    # (V, 7): the vertices of the same cell, by place; -1 where there is none.
    members = np.where(used, node, -1).reshape(-1, 7).repeat(7, 0)[used]
    directions = [along[used], against[used]]
    below = cells.operations.ravel()[used].astype(np.int64)
    generator = np.random.default_rng(0)
    built = []
    for layer in range(layers):
        rows = np.arange(len(members))
        states = rows
        if shared and layer + 1 < layers:
            words = generator.integers(0, 2**63, (2, below.max() + 1), dtype=np.uint64)
            signature = np.zeros(len(members), np.uint64)
            for direction, table in zip(directions, words, strict=True):
                signature += np.where(direction > 0, table[below[members]], 0).sum(1)
            _, rows, states = np.unique(signature, return_index=True, return_inverse=True)
        lists = []
        for direction in directions:
            row, place = np.nonzero(direction[rows])
            starts = np.searchsorted(row, np.arange(len(rows) + 1))
            lists.append(
                Direction(
                    starts.astype(np.int32),
                    below[members[rows[row], place]].astype(np.int32),
                    direction[rows[row], place],
                )
            )
        built.append((lists[0], lists[1]))
        below = states
    ends = np.cumsum(cells.num_vertices, dtype=np.int32)
    return InferencePlan(NUM_TYPES, tuple(built), np.concatenate([[np.int32(0)], ends]))
