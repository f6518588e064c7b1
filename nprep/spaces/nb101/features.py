"""Structural features of cells, for regression models that are no graph networks.

Every feature but the number of parameters is a property of the labelled graph alone: two isomorphic
cells have equal features. (Channels that cannot be split evenly go to a cell's first vertices.)
The order of the columns is ``FEATURE_NAMES``; models that ship with the project name the
features they use, so new ones may be appended.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.spaces.nb101.cells import CellBatch

_OPS = ("conv3x3", "conv1x1", "maxpool3x3")
_NODES = (*_OPS, "input", "output")

# Paths from input to output by their sequence of operations, up to three of them: code 0 is the
# bare edge, then 3, 9 and 27 sequences in lexical order.
_SHORT_PATHS = tuple(p for length in range(4) for p in itertools.product(range(3), repeat=length))

FEATURE_NAMES: tuple[str, ...] = (
    "vertices",
    "edges",
    *(f"count_{op}" for op in _OPS),
    "input_to_output",
    "input_out_degree",
    "output_in_degree",
    "depth",
    "shortest_path",
    "paths",
    "mean_path_length",
    *(f"paths_of_length_{n}" for n in range(6)),
    *(f"most_{op}_on_a_path" for op in _OPS),
    *(f"fewest_{op}_on_a_path" for op in _OPS),
    *(f"mean_{op}_on_a_path" for op in _OPS),
    "most_conv_on_a_path",
    "fewest_conv_on_a_path",
    *(f"edges_{a}_to_{b}" for a in (*_OPS, "input") for b in (*_OPS, "output")),
    *(f"max_depth_{op}" for op in _OPS),
    *(f"mean_depth_{op}" for op in _OPS),
    "max_in_degree",
    "max_out_degree",
    "residual_vertices",
    "twin_vertices",
    *(f"channels_{op}" for op in _OPS),
    *(f"cost_{op}" for op in _OPS),
    "cost_projection",
    "levels_skipped_by_edges",
    *("path_" + ("-".join(_OPS[op] for op in path) if path else "direct") for path in _SHORT_PATHS),
    "log10_parameters",
)

_SHORT = len(_SHORT_PATHS)
_WIDTH = len(FEATURE_NAMES)
_UNSEEN = 99.0


@kernel
def _cell_features(
    bits: Integer, operations: NDArray[np.uint8], n: Integer, out: NDArray[np.float32]
) -> None:
    """Writes the features of one pruned cell, all but the parameters, into ``out``."""
    adjacency = np.zeros((7, 7), dtype=np.uint8)
    k = 0
    for a in range(7):
        for b in range(a + 1, 7):
            if a < n and b < n and (bits >> k) & 1:
                adjacency[a, b] = 1
            k += 1
    last = n - 1
    indegree = np.zeros(7, dtype=np.int64)
    outdegree = np.zeros(7, dtype=np.int64)
    edges = 0
    for a in range(n):
        for b in range(a + 1, n):
            if adjacency[a, b]:
                edges += 1
                outdegree[a] += 1
                indegree[b] += 1
    counts = np.zeros(5, dtype=np.float64)
    for v in range(n):
        counts[operations[v]] += 1

    # Properties of all paths from the input, by dynamic programming in topological order.
    short = np.zeros((7, _SHORT), dtype=np.float64)
    by_length = np.zeros((7, 6), dtype=np.float64)
    depth = np.zeros(7, dtype=np.float64)
    shortest = np.full(7, _UNSEEN)
    most = np.zeros((7, 4), dtype=np.float64)
    fewest = np.full((7, 4), _UNSEEN)
    total = np.zeros((7, 3), dtype=np.float64)
    paths = np.zeros(7, dtype=np.float64)
    short[0, 0] = 1.0
    by_length[0, 0] = 1.0
    shortest[0] = 0.0
    paths[0] = 1.0
    for c in range(4):
        fewest[0, c] = 0.0
    for v in range(1, n):
        op = operations[v]
        inner = op < 3
        for u in range(v):
            if not adjacency[u, v]:
                continue
            paths[v] += paths[u]
            depth[v] = max(depth[v], depth[u] + 1)
            shortest[v] = min(shortest[v], shortest[u] + 1)
            for c in range(3):
                total[v, c] += total[u, c]
            for c in range(4):
                most[v, c] = max(most[v, c], most[u, c])
                fewest[v, c] = min(fewest[v, c], fewest[u, c])
            if inner:
                for length in range(5):
                    by_length[v, length + 1] += by_length[u, length]
                # Codes 0 | 1..3 | 4..12 | 13..39: appending an operation maps c to 3 c + 1 + op.
                for code in range(13):
                    short[v, 3 * code + 1 + op] += short[u, code]
            else:
                by_length[v] += by_length[u]
                short[v] += short[u]
        if inner:
            total[v, op] += paths[v]
            most[v, op] += 1
            fewest[v, op] += 1
            if op < 2:
                most[v, 3] += 1
                fewest[v, 3] += 1

    # Edges by the operations of their ends; depth of operations.
    pairs = np.zeros((4, 4), dtype=np.float64)
    for a in range(n):
        for b in range(a + 1, n):
            if adjacency[a, b]:
                pairs[operations[a], min(operations[b], 3) if b < last else 3] += 1
    max_depth = np.zeros(3)
    mean_depth = np.zeros(3)
    for v in range(1, last):
        op = operations[v]
        max_depth[op] = max(max_depth[op], depth[v])
        mean_depth[op] += depth[v] / counts[op]

    # Vertices that also receive the cell's input beside something else (a residual connection),
    # and pairs of vertices with the same operation, predecessors and successors.
    residual = 0.0
    twins = 0.0
    for v in range(1, last):
        if adjacency[0, v] and indegree[v] > 1:
            residual += 1
        for w in range(v + 1, last):
            same = operations[v] == operations[w]
            for u in range(n):
                if adjacency[u, v] != adjacency[u, w] or adjacency[v, u] != adjacency[w, u]:
                    same = False
            if same:
                twins += 1

    # Relative channels as the network builder assigns them (1 = the output's, remainders ignored),
    # and the multiply-adds that follow from them (1 = a full-width 1x1 convolution).
    channels = np.zeros(7, dtype=np.float64)
    concatenated = indegree[last] - (1 if adjacency[0, last] else 0)
    for v in range(last - 1, 0, -1):
        if adjacency[v, last]:
            channels[v] = 1.0 / concatenated
        for w in range(v + 1, last):
            if adjacency[v, w]:
                channels[v] = max(channels[v], channels[w])
    by_channels = np.zeros(3)
    cost = np.zeros(3)
    projection = 1.0 if adjacency[0, last] else 0.0
    for v in range(1, last):
        op = operations[v]
        by_channels[op] += channels[v]
        if op == 0:
            cost[op] += 9 * channels[v] ** 2
        elif op == 1:
            cost[op] += channels[v] ** 2
        else:
            cost[op] += channels[v]
        if adjacency[0, v]:
            projection += channels[v]
    skipped = 0.0
    for a in range(n):
        for b in range(a + 1, n):
            if adjacency[a, b] and depth[b] - depth[a] > 1:
                skipped += depth[b] - depth[a] - 1

    out[0] = n
    out[1] = edges
    out[2] = counts[0]
    out[3] = counts[1]
    out[4] = counts[2]
    out[5] = adjacency[0, last]
    out[6] = outdegree[0]
    mean_length = 0.0
    for length in range(6):
        mean_length += length * by_length[last, length] / paths[last]
    out[7] = indegree[last]
    out[8] = depth[last]
    out[9] = shortest[last]
    out[10] = paths[last]
    out[11] = mean_length
    k = 12
    for length in range(6):
        out[k] = by_length[last, length]
        k += 1
    for c in range(3):
        out[k] = most[last, c]
        out[k + 3] = fewest[last, c]
        out[k + 6] = total[last, c] / paths[last]
        k += 1
    k += 6
    out[k] = most[last, 3]
    out[k + 1] = fewest[last, 3]
    k += 2
    for a in range(4):
        for b in range(4):
            out[k] = pairs[a, b]
            k += 1
    for c in range(3):
        out[k] = max_depth[c]
        out[k + 3] = mean_depth[c]
        k += 1
    k += 3
    inmax = 0
    outmax = 0
    for v in range(n):
        inmax = max(inmax, indegree[v])
        outmax = max(outmax, outdegree[v])
    out[k] = inmax
    out[k + 1] = outmax
    out[k + 2] = residual
    out[k + 3] = twins
    k += 4
    for c in range(3):
        out[k] = by_channels[c]
        out[k + 3] = cost[c]
        k += 1
    k += 3
    out[k] = projection
    out[k + 1] = skipped
    k += 2
    for code in range(_SHORT):
        out[k] = short[last, code]
        k += 1


@kernel
def _features(
    bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    vertices: NDArray[np.uint8],
    out: NDArray[np.float32],
) -> None:
    for i in range(len(bits)):
        _cell_features(np.int64(bits[i]), operations[i], np.int64(vertices[i]), out[i])


def structure_features(
    cells: CellBatch, trainable_parameters: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Computes the features of many cells.

    Args:
        cells: N pruned cells.
        trainable_parameters: (N,) trainable parameters of the full networks.

    Returns:
        (N, F) float32; the columns are ``FEATURE_NAMES``.
    """
    out = np.zeros((len(cells), _WIDTH), dtype=np.float32)
    _features(cells.adjacency_bits, cells.operations, cells.num_vertices, out)
    out[:, -1] = np.log10(np.asarray(trainable_parameters, dtype=np.float64))
    return out
