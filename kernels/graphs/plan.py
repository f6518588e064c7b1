"""Which sums and rows a set of graphs needs, layer by layer: the sharing plan of GCN inference.

A layer sums, for each node, what it gathers along the edges and what it gathers against them; nodes
that gather the same rows with the same weights share the sum, within a graph and between graphs.
After one layer the 2.9 million nodes of NASBench-101 have 156 distinct sums in each direction and
1,593 distinct rows (pairs of sums); after two, 257,328 and 902,934. The numbers depend on the
graphs alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel
def _mix(word: Integer) -> Integer:
    """The finaliser of SplitMix64."""
    word = np.uint64(word)
    word = (word ^ (word >> np.uint64(30))) * _MIX_1
    word = (word ^ (word >> np.uint64(27))) * _MIX_2
    return word ^ (word >> np.uint64(31))


@kernel
def sort_keys(
    types: NDArray[np.uint8],
    cell_starts: NDArray[np.int32],
    out_starts: NDArray[np.int32],
    out_nodes: NDArray[np.int32],
) -> NDArray[np.uint64]:
    """Keys by which neighbouring graphs share most sums; they affect time alone.

    Args:
        types: (V,) node types.
        cell_starts: (N + 1,) first node of each graph.
        out_starts: (V + 1,) first entry of each node.
        out_nodes: Entries: the nodes at the heads of the edges.

    Returns:
        (3, N) uint64: how often each type occurs, the types in order, and the edges; exact for up
        to 16 types and 16 nodes that occur up to 15 times, a hint beyond.
    """
    keys = np.zeros((3, len(cell_starts) - 1), np.uint64)
    for cell in range(keys.shape[1]):
        first = cell_starts[cell]
        for node in range(first, cell_starts[cell + 1]):
            kind = np.uint64(types[node] & 15)
            keys[0, cell] += np.uint64(1) << (np.uint64(60) - np.uint64(4) * kind)
            place = np.uint64((node - first) & 15)
            keys[1, cell] ^= (kind + np.uint64(1)) << (np.uint64(60) - np.uint64(4) * place)
            for entry in range(out_starts[node], out_starts[node + 1]):
                # Number of the pair of nodes in the upper triangle, column by column.
                head = np.int64(out_nodes[entry]) - first
                number = np.uint64((head * (head - 1) // 2 + node - first) & 63)
                if head > node - first:
                    keys[2, cell] ^= np.uint64(1) << number
    return keys


@kernel
def weight_codes(
    weights: NDArray[np.float32],
    palette: NDArray[np.float32],
    known: Integer,
    out: NDArray[np.uint16],
) -> Integer:
    """Numbers the distinct weights.

    Args:
        weights: (E,) weights of entries.
        palette: Receives the distinct weights; those known are kept.
        known: How many there are.
        out: (E,) uint16, overwritten: the number of each entry's weight.

    Returns:
        How many there are now, or -1 if the palette is too small.
    """
    size = 4 * len(palette)
    slots = np.full(size, -1, np.int64)
    bits = palette.view(np.uint32)
    words = weights.view(np.uint32)
    for code in range(known):
        slot = np.int64(_mix(bits[code]) % np.uint64(size))
        while slots[slot] >= 0:
            slot = (slot + 1) % size
        slots[slot] = code
    for entry in range(len(weights)):
        slot = np.int64(_mix(words[entry]) % np.uint64(size))
        while slots[slot] >= 0 and bits[slots[slot]] != words[entry]:
            slot = (slot + 1) % size
        if slots[slot] < 0:
            if known == len(palette):
                return -1
            palette[known] = weights[entry]
            slots[slot] = known
            known += 1
        out[entry] = slots[slot]
    return known


@kernel
def _same_list(
    one: Integer,
    two: Integer,
    lower: NDArray[np.int32],
    starts: NDArray[np.int32],
    nodes: NDArray[np.int32],
    codes: NDArray[np.uint16],
) -> bool:
    """Whether two nodes gather the same rows with the same weights."""
    count = starts[one + 1] - starts[one]
    if starts[two + 1] - starts[two] != count:
        return False
    for i in range(starts[one], starts[one + 1]):
        row, code = lower[nodes[i]], codes[i]
        balance: Integer = 0
        for j in range(count):
            a, b = starts[one] + j, starts[two] + j
            balance += np.int64(lower[nodes[a]] == row and codes[a] == code)
            balance -= np.int64(lower[nodes[b]] == row and codes[b] == code)
        if balance != 0:
            return False
    return True


@kernel
def distinct_lists(
    members: NDArray[np.int32],
    lower: NDArray[np.int32],
    starts: NDArray[np.int32],
    nodes: NDArray[np.int32],
    codes: NDArray[np.uint16],
    base: Integer,
    out: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Numbers the distinct multisets of (row, weight) that nodes gather in one direction.

    Args:
        members: (n,) nodes.
        lower: (V,) each node's row below.
        starts: (V + 1,) first entry of each node of the graphs.
        nodes: Entries.
        codes: Numbers of their weights.
        base: Number of the first.
        out: (V,) receives each member's number.

    Returns:
        (D,) int32: a node for each number, in order of appearance.
    """
    size = 1 << 10
    while size < 2 * len(members):
        size *= 2
    slots = np.full(size, -1, np.int32)
    hashes = np.empty(size, np.uint64)
    representatives = np.empty(len(members), np.int32)
    found = 0
    for node in members:
        word = np.uint64(0)
        for entry in range(starts[node], starts[node + 1]):
            row = np.uint64(lower[nodes[entry]] + 1)
            word += _mix(row * _GOLDEN + np.uint64(codes[entry]))
        word = _mix(word)
        slot = np.int64(word & np.uint64(size - 1))
        while True:
            number = slots[slot]
            if number < 0:
                slots[slot] = found
                hashes[slot] = word
                representatives[found] = node
                out[node] = base + found
                found += 1
                break
            if hashes[slot] == word and _same_list(
                node, representatives[number], lower, starts, nodes, codes
            ):
                out[node] = base + number
                break
            slot = (slot + 1) & (size - 1)
    return representatives[:found].copy()


@kernel
def distinct_pairs(
    members: NDArray[np.int32],
    along: NDArray[np.int32],
    against: NDArray[np.int32],
    out: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Numbers the distinct pairs of sums: the rows of a layer.

    Args:
        members: (n,) nodes.
        along: (V,) number of each node's sum along the edges.
        against: (V,) number of its sum against them.
        out: (V,) receives each member's row.

    Returns:
        (R,) int32: a node for each row, in order of appearance.
    """
    size = 1 << 10
    while size < 2 * len(members):
        size *= 2
    slots = np.full(size, -1, np.int32)
    representatives = np.empty(len(members), np.int32)
    found = 0
    for node in members:
        word = (np.uint64(along[node]) << np.uint64(32)) | np.uint64(against[node])
        slot = np.int64(_mix(word) & np.uint64(size - 1))
        while True:
            number = slots[slot]
            if number < 0:
                slots[slot] = found
                representatives[found] = node
                out[node] = found
                found += 1
                break
            other = representatives[number]
            if along[other] == along[node] and against[other] == against[node]:
                out[node] = number
                break
            slot = (slot + 1) & (size - 1)
    return representatives[:found].copy()


@kernel
def members_of(
    cells: NDArray[np.int32], cell_starts: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The nodes of some graphs, graph by graph.

    Args:
        cells: (n,) numbers of graphs.
        cell_starts: (N + 1,) first node of each graph.

    Returns:
        The nodes, and (n + 1,) where each graph's begin among them.
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
