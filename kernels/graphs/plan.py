"""Which node states a set of graphs needs, layer by layer: the sharing plan of GCN inference.

A node's state after a layer depends on its own state and those of its neighbours before it. Nodes
whose neighbourhoods look alike therefore share states, within a graph and between graphs: after one
layer the 2.9 million nodes of NASBench-101 have 1,863 distinct states. The plan lists the distinct
rows of each layer and what each gathers from the rows below; it depends on the graphs alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_AGAINST = np.uint64(0x9E3779B97F4A7C15)
_WEIGHT_UNITS = 1 << 20


@kernel
def _mix(word: Integer) -> Integer:
    """The finaliser of SplitMix64."""
    word = np.uint64(word)
    word = (word ^ (word >> np.uint64(30))) * _MIX_1
    word = (word ^ (word >> np.uint64(27))) * _MIX_2
    return word ^ (word >> np.uint64(31))


@kernel
def _signature(
    node: Integer,
    lower: NDArray[np.int32],
    starts: NDArray[np.int32],
    nodes: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> Integer:
    """A hash of the multiset of (row below, weight) that a node gathers in one direction."""
    total = np.uint64(0)
    for entry in range(starts[node], starts[node + 1]):
        row = np.uint64(lower[nodes[entry]] + 1)
        units = np.uint64(np.int64(np.float64(weights[entry]) * _WEIGHT_UNITS))
        total += _mix(row * _AGAINST + units)
    return total


@kernel
def _same_gather(
    one: Integer,
    two: Integer,
    lower: NDArray[np.int32],
    starts: NDArray[np.int32],
    nodes: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> bool:
    """Whether two nodes gather the same rows with the same weights in one direction."""
    count = starts[one + 1] - starts[one]
    if starts[two + 1] - starts[two] != count:
        return False
    for i in range(starts[one], starts[one + 1]):
        row, weight = lower[nodes[i]], weights[i]
        balance: Integer = 0
        for j in range(count):
            a, b = starts[one] + j, starts[two] + j
            balance += np.int64(lower[nodes[a]] == row and weights[a] == weight)
            balance -= np.int64(lower[nodes[b]] == row and weights[b] == weight)
        if balance != 0:
            return False
    return True


@kernel
def distinct_rows(
    members: NDArray[np.int32],
    lower: NDArray[np.int32],
    out_starts: NDArray[np.int32],
    out_nodes: NDArray[np.int32],
    out_weights: NDArray[np.float32],
    in_starts: NDArray[np.int32],
    in_nodes: NDArray[np.int32],
    in_weights: NDArray[np.float32],
    upper: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Numbers the distinct states of some nodes after a layer.

    Args:
        members: (n,) the nodes; their neighbours are among them.
        lower: (V,) each node's row below the layer; read for the members.
        out_starts: As the rest, the graphs (see ``nprep.spaces.graphs.GraphBatch``).
        out_nodes: Entries along the edges.
        out_weights: Their weights.
        in_starts: (V + 1,).
        in_nodes: Entries against the edges.
        in_weights: Their weights.
        upper: (V,) receives each member's row above the layer, numbered in order of appearance.

    Returns:
        (R,) one node for each row.
    """
    size = 16
    while size < 2 * len(members):
        size *= 2
    slots = np.full(size, -1, np.int32)
    slot_hashes = np.empty(size, np.uint64)
    representatives = np.empty(len(members), np.int32)
    rows = 0
    for node in members:
        along = _signature(node, lower, out_starts, out_nodes, out_weights)
        against = _signature(node, lower, in_starts, in_nodes, in_weights)
        word = _mix(along + _mix(against + _AGAINST))
        slot = np.int64(word & np.uint64(size - 1))
        while True:
            row = slots[slot]
            if row < 0:
                slots[slot] = rows
                slot_hashes[slot] = word
                representatives[rows] = node
                upper[node] = rows
                rows += 1
                break
            if slot_hashes[slot] == word:
                other = representatives[row]
                if _same_gather(
                    node, other, lower, out_starts, out_nodes, out_weights
                ) and _same_gather(node, other, lower, in_starts, in_nodes, in_weights):
                    upper[node] = row
                    break
            slot = (slot + 1) & (size - 1)
    return representatives[:rows].copy()


@kernel
def gather_lists(
    members: NDArray[np.int32],
    lower: NDArray[np.int32],
    starts: NDArray[np.int32],
    nodes: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """What each of n nodes gathers in one direction, in rows below the layer.

    Args:
        members: (n,) nodes.
        lower: (V,) each node's row below.
        starts: (V + 1,) first entry of each node of the graphs.
        nodes: Entries.
        weights: Their weights.

    Returns:
        First entries (n + 1,) int32, rows below int32, weights float32.
    """
    total = 0
    for node in members:
        total += starts[node + 1] - starts[node]
    list_starts = np.empty(len(members) + 1, np.int32)
    sources = np.empty(total, np.int32)
    list_weights = np.empty(total, np.float32)
    position = 0
    for i in range(len(members)):
        list_starts[i] = position
        node = members[i]
        for entry in range(starts[node], starts[node + 1]):
            sources[position] = lower[nodes[entry]]
            list_weights[position] = weights[entry]
            position += 1
    list_starts[len(members)] = position
    return list_starts, sources, list_weights


@kernel
def members_of(
    cells: NDArray[np.int32], cell_starts: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The nodes of some cells, cell by cell.

    Args:
        cells: (n,) numbers of cells.
        cell_starts: (N + 1,) first node of each cell.

    Returns:
        The nodes, and (n + 1,) where each cell's begin among them.
    """
    total = 0
    for cell in cells:
        total += cell_starts[cell + 1] - cell_starts[cell]
    members = np.empty(total, np.int32)
    starts = np.empty(len(cells) + 1, np.int32)
    position = 0
    for i in range(len(cells)):
        starts[i] = position
        for node in range(cell_starts[cells[i]], cell_starts[cells[i] + 1]):
            members[position] = node
            position += 1
    starts[len(cells)] = position
    return members, starts
