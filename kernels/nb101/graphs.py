"""Cells as neighbour lists: what the trainers and the inference plan of the GCN read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

ROW = 0
SYMMETRIC = 1
SUM = 2


@kernel
def count_entries(
    adjacency_bits: NDArray[np.uint32], num_vertices: NDArray[np.uint8]
) -> tuple[int, int]:
    """Counts the vertices and edges of many cells.

    Args:
        adjacency_bits: (N,) upper triangles of 7 x 7 matrices (see ``CellBatch``).
        num_vertices: (N,).

    Returns:
        The number of vertices and of edges, over all cells.
    """
    nodes: Integer = 0
    edges: Integer = 0
    for cell in range(adjacency_bits.shape[0]):
        size = np.int64(num_vertices[cell])
        nodes += size
        bits = np.int64(adjacency_bits[cell])
        for i in range(size):
            for j in range(i + 1, size):
                edges += (bits >> (i * 7 - i * (i + 1) // 2 + j - i - 1)) & 1
    return nodes, edges


@kernel
def _entry_weight(normalisation: int, own: int, other: int) -> np.float32:
    """The weight of one neighbour, from the degrees (self-loop included) of the two ends."""
    if normalisation == ROW:
        return np.float32(1.0 / own)
    if normalisation == SYMMETRIC:
        return np.float32(1.0 / np.sqrt(np.float64(own) * np.float64(other)))
    return np.float32(1.0)


@kernel
def fill_graphs(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
    normalisation: int,
    types: NDArray[np.uint8],
    cell_starts: NDArray[np.int32],
    out_starts: NDArray[np.int32],
    out_nodes: NDArray[np.int32],
    out_weights: NDArray[np.float32],
    in_starts: NDArray[np.int32],
    in_nodes: NDArray[np.int32],
    in_weights: NDArray[np.float32],
) -> None:
    """Fills the neighbour lists of both directions; a node is its own first neighbour.

    Args:
        adjacency_bits: (N,).
        operations: (N, 7) codes.
        num_vertices: (N,).
        normalisation: ``ROW`` (1 / degree), ``SYMMETRIC`` (1 / root of both degrees) or ``SUM``
            (1). The degree of a node along a direction counts its neighbours in that direction and
            itself; a direction's symmetric weight of edge i -> j takes i's out-degree and j's
            in-degree.
        types: (V,) receives the operation code of every vertex.
        cell_starts: (N + 1,) receives the first vertex of every cell.
        out_starts: (V + 1,) receives the first entry of every vertex along the edges.
        out_nodes: (V + E,) receives the vertices that each vertex reads, itself first.
        out_weights: (V + E,) receives their weights.
        in_starts: Likewise against the edges.
        in_nodes: Likewise against the edges.
        in_weights: Likewise against the edges.
    """
    out_degree = np.zeros(7, np.int64)
    in_degree = np.zeros(7, np.int64)
    matrix = np.zeros((7, 7), np.bool_)
    node: Integer = 0
    out_entry = 0
    in_entry = 0
    for cell in range(adjacency_bits.shape[0]):
        size = np.int64(num_vertices[cell])
        bits = np.int64(adjacency_bits[cell])
        cell_starts[cell] = node
        out_degree[:] = 1
        in_degree[:] = 1
        for i in range(size):
            for j in range(i + 1, size):
                edge = (bits >> (i * 7 - i * (i + 1) // 2 + j - i - 1)) & 1
                matrix[i, j] = edge == 1
                out_degree[i] += edge
                in_degree[j] += edge
        for i in range(size):
            types[node + i] = operations[cell, i]
            out_starts[node + i] = out_entry
            out_nodes[out_entry] = node + i
            out_weights[out_entry] = _entry_weight(normalisation, out_degree[i], in_degree[i])
            out_entry += 1
            for j in range(i + 1, size):
                if matrix[i, j]:
                    out_nodes[out_entry] = node + j
                    out_weights[out_entry] = _entry_weight(
                        normalisation, out_degree[i], in_degree[j]
                    )
                    out_entry += 1
            in_starts[node + i] = in_entry
            in_nodes[in_entry] = node + i
            in_weights[in_entry] = _entry_weight(normalisation, in_degree[i], out_degree[i])
            in_entry += 1
            for j in range(i):
                if matrix[j, i]:
                    in_nodes[in_entry] = node + j
                    in_weights[in_entry] = _entry_weight(normalisation, in_degree[i], out_degree[j])
                    in_entry += 1
        node += size
    cell_starts[adjacency_bits.shape[0]] = node
    out_starts[node] = out_entry
    in_starts[node] = in_entry
