"""Cells as machine words: pruning, validity and an isomorphism-invariant 64-bit key.

A cell has at most 7 vertices. Its edges are 21 bits of one integer (``adjacency_bits``): bit k is
the k-th pair of (0,1),(0,2),..,(0,6),(1,2),..,(5,6), whatever the number of vertices, and every
edge runs from a lower to a higher vertex. The scalar functions allocate nothing and are meant to be
called from other kernels; the batch functions apply them to arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

MAX_VERTICES = 7
MAX_EDGES = 9
NUM_PAIRS = 21

CONV3X3 = 0
CONV1X1 = 1
MAXPOOL3X3 = 2
INPUT = 3
OUTPUT = 4
UNUSED = 255
NUM_OPERATIONS = 3

# Validity codes, in the order in which the official API checks a spec. All but DISCONNECTED are
# judged after pruning, as there.
VALID = 0
DISCONNECTED = 1
TOO_MANY_VERTICES = 2
TOO_MANY_EDGES = 3
NO_INPUT = 4
NO_OUTPUT = 5
UNKNOWN_OPERATION = 6

_LABEL = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@kernel
def out_mask(bits: Integer, vertex: Integer) -> Integer:
    """The vertices that ``vertex`` has edges to, as a bit mask.

    Args:
        bits: Adjacency bits.
        vertex: 0 to 6.
    """
    start = vertex * (13 - vertex) // 2
    return ((np.int64(bits) >> start) & ((1 << (6 - vertex)) - 1)) << (vertex + 1)


@kernel
def count_bits(word: Integer) -> Integer:
    """The number of set bits among the lowest 32."""
    word = np.int64(word)
    word -= (word >> 1) & 0x55555555
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24) & 0xFF


@kernel
def keep_mask(bits: Integer, num_vertices: Integer) -> Integer:
    """The vertices that lie on a path from the first to the last, as a bit mask.

    Args:
        bits: Adjacency bits.
        num_vertices: 2 to 7; bits of pairs beyond it are not looked at.

    Returns:
        The mask; 0 if the last vertex can't be reached.
    """
    last = np.int64(num_vertices) - 1
    forward = 1
    for vertex in range(last):
        forward |= out_mask(bits, vertex) * ((forward >> vertex) & 1)
    backward = 1 << last
    for vertex in range(last - 1, -1, -1):
        backward |= np.int64((out_mask(bits, vertex) & backward) != 0) << vertex
    return (forward & backward) * ((forward >> last) & 1)


@kernel
def kept_edges(bits: Integer, keep: Integer) -> Integer:
    """The adjacency bits of the edges both of whose ends are in the mask ``keep``."""
    kept = 0
    for vertex in range(6):
        mask = out_mask(bits, vertex) & keep
        kept |= ((mask >> (vertex + 1)) * ((keep >> vertex) & 1)) << (vertex * (13 - vertex) // 2)
    return kept


@kernel
def check_scalar(bits: Integer, operations: NDArray[np.uint8], num_vertices: Integer) -> Integer:
    """The validity code of a spec (see ``prune_scalar``), without pruning it."""
    keep = keep_mask(bits, num_vertices)
    if keep == 0:
        return DISCONNECTED
    if count_bits(kept_edges(bits, keep)) > MAX_EDGES:
        return TOO_MANY_EDGES
    return check_operations(operations, num_vertices, keep)


@kernel
def check_operations(
    operations: NDArray[np.uint8], num_vertices: Integer, keep: Integer
) -> Integer:
    """The validity code of the operations of the vertices in the mask ``keep``."""
    last = np.int64(num_vertices) - 1
    if operations[0] != INPUT:
        return NO_INPUT
    if operations[last] != OUTPUT:
        return NO_OUTPUT
    for vertex in range(1, last):
        if (keep >> vertex) & 1 and operations[vertex] >= NUM_OPERATIONS:
            return UNKNOWN_OPERATION
    return VALID


@kernel
def prune_scalar(
    bits: Integer,
    operations: NDArray[np.uint8],
    num_vertices: Integer,
    pruned_operations: NDArray[np.uint8],
) -> tuple[Integer, Integer, Integer]:
    """Removes what does not lie on a path from the first to the last vertex.

    Pruning and validity are those of the official API: an operation or an edge that is pruned away
    can't make a spec invalid.

    Args:
        bits: Adjacency bits of the spec.
        operations: (7,) uint8; the operations, of which the first ``num_vertices`` are read.
        num_vertices: 2 to 7.
        pruned_operations: (7,) uint8; receives the operations that are kept, then UNUSED. It may be
            ``operations`` itself.

    Returns:
        The validity code, the pruned adjacency bits and the pruned number of vertices (0 and 0 if
        the spec is disconnected).
    """
    count = np.int64(num_vertices)
    keep = keep_mask(bits, count)
    if keep == 0:
        for vertex in range(MAX_VERTICES):
            pruned_operations[vertex] = UNUSED
        return DISCONNECTED, 0, 0
    code = check_operations(operations, count, keep)
    edges = kept_edges(bits, keep)
    if count_bits(edges) > MAX_EDGES:
        code = TOO_MANY_EDGES
    pruned = 0
    size = 0
    for vertex in range(count):
        if not (keep >> vertex) & 1:
            continue
        pruned_operations[size] = operations[vertex]
        mask = out_mask(edges, vertex)
        target = size + 1
        start = size * (13 - size) // 2
        for other in range(vertex + 1, count):
            if (keep >> other) & 1:
                pruned |= ((mask >> other) & 1) << (start + target - size - 1)
                target += 1
        size += 1
    for vertex in range(size, MAX_VERTICES):
        pruned_operations[vertex] = UNUSED
    return code, pruned, size


@kernel
def _mix(word: Integer) -> Integer:
    """The finaliser of SplitMix64: a bijection of 64-bit words that spreads every bit."""
    word = np.uint64(word)
    word = (word ^ (word >> np.uint64(30))) * _MIX_1
    word = (word ^ (word >> np.uint64(27))) * _MIX_2
    return word ^ (word >> np.uint64(31))


@kernel
def _if_edge(word: Integer, bits: Integer, pair: Integer) -> Integer:
    """``word`` if bit ``pair`` is set, else 0, without a branch."""
    return np.uint64(word) & (_ZERO - ((bits >> np.uint64(pair)) & _ONE))


@kernel
def _label(operations: NDArray[np.uint8], keep: Integer, vertex: Integer) -> Integer:
    """A word for a vertex's operation; one and the same for all vertices that are not kept."""
    operation = np.uint64(UNUSED)
    if (keep >> vertex) & 1:
        operation = np.uint64(operations[vertex])
    return (operation + _ONE) * _LABEL


@kernel
def _graph_key(bits: Integer, operations: NDArray[np.uint8], keep: Integer) -> Integer:
    """The key of the labelled graph; vertices outside ``keep`` must have no edges."""
    b = np.uint64(bits)
    # Forward: a word for all that a vertex is computed from. Edges run upwards, so one pass in
    # vertex order sees every ancestor, and sums make the order of the neighbours irrelevant.
    f0 = _mix(_label(operations, keep, 0))
    f1 = _mix(_label(operations, keep, 1) + _if_edge(f0, b, 0))
    f2 = _mix(_label(operations, keep, 2) + _if_edge(f0, b, 1) + _if_edge(f1, b, 6))
    f3 = _mix(
        _label(operations, keep, 3)
        + (_if_edge(f0, b, 2) + _if_edge(f1, b, 7) + _if_edge(f2, b, 11))
    )
    f4 = _mix(
        _label(operations, keep, 4)
        + (_if_edge(f0, b, 3) + _if_edge(f1, b, 8))
        + (_if_edge(f2, b, 12) + _if_edge(f3, b, 15))
    )
    f5 = _mix(
        _label(operations, keep, 5)
        + (_if_edge(f0, b, 4) + _if_edge(f1, b, 9))
        + (_if_edge(f2, b, 13) + _if_edge(f3, b, 16) + _if_edge(f4, b, 18))
    )
    f6 = _mix(
        _label(operations, keep, 6)
        + (_if_edge(f0, b, 5) + _if_edge(f1, b, 10) + _if_edge(f2, b, 14))
        + (_if_edge(f3, b, 17) + _if_edge(f4, b, 19) + _if_edge(f5, b, 20))
    )
    # Backward: the same over the descendants, each of which brings its own ancestors along.
    b6 = _mix(f6)
    b5 = _mix(f5 + _if_edge(b6, b, 20))
    b4 = _mix(f4 + _if_edge(b6, b, 19) + _if_edge(b5, b, 18))
    b3 = _mix(f3 + _if_edge(b6, b, 17) + (_if_edge(b5, b, 16) + _if_edge(b4, b, 15)))
    b2 = _mix(
        f2
        + (_if_edge(b6, b, 14) + _if_edge(b5, b, 13))
        + (_if_edge(b4, b, 12) + _if_edge(b3, b, 11))
    )
    b1 = _mix(
        f1
        + (_if_edge(b6, b, 10) + _if_edge(b5, b, 9) + _if_edge(b4, b, 8))
        + (_if_edge(b3, b, 7) + _if_edge(b2, b, 6))
    )
    b0 = _mix(
        f0
        + (_if_edge(b6, b, 5) + _if_edge(b5, b, 4) + _if_edge(b4, b, 3))
        + (_if_edge(b3, b, 2) + _if_edge(b2, b, 1) + _if_edge(b1, b, 0))
    )
    key = _mix((b0 + b1 + b2) + (b3 + b4) + (b5 + b6))
    # 0 is kept for "no key" (empty slots of an index, invalid specs).
    return key if key != _ZERO else _ONE


@kernel
def key_scalar(bits: Integer, operations: NDArray[np.uint8], num_vertices: Integer) -> Integer:
    """The canonical key of a pruned cell: equal for isomorphic cells, different for all others.

    Args:
        bits: Adjacency bits.
        operations: (7,) uint8, of which the first ``num_vertices`` are read.
        num_vertices: 2 to 7.

    Returns:
        The uint64 key, never 0.
    """
    return _graph_key(bits, operations, (1 << np.int64(num_vertices)) - 1)


@kernel
def spec_key(
    bits: Integer, operations: NDArray[np.uint8], num_vertices: Integer
) -> tuple[Integer, Integer]:
    """Validity and key of an unpruned spec, faster than pruning it first.

    The key does not depend on where the vertices stand, so it needs no pruned copy: vertices that
    pruning would remove are treated as unused.

    Args:
        bits: Adjacency bits.
        operations: (7,) uint8, of which the first ``num_vertices`` are read.
        num_vertices: 2 to 7.

    Returns:
        The validity code and the uint64 key of the pruned cell (0 unless the code is VALID).
    """
    keep = keep_mask(bits, num_vertices)
    if keep == 0:
        return DISCONNECTED, _ZERO
    edges = kept_edges(bits, keep)
    if count_bits(edges) > MAX_EDGES:
        return TOO_MANY_EDGES, _ZERO
    code = check_operations(operations, num_vertices, keep)
    if code != VALID:
        return code, _ZERO
    return VALID, _graph_key(edges, operations, keep)


@kernel
def prune_batch(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Prunes N specs (see ``prune_scalar``).

    Args:
        adjacency_bits: (N,) uint32.
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.

    Returns:
        The validity codes (N,) uint8 and the pruned adjacency bits, operations and vertex counts.
    """
    count = len(adjacency_bits)
    codes = np.empty(count, np.uint8)
    pruned_bits = np.empty(count, np.uint32)
    pruned_operations = np.empty((count, MAX_VERTICES), np.uint8)
    sizes = np.empty(count, np.uint8)
    for i in range(count):
        codes[i], pruned_bits[i], sizes[i] = prune_scalar(
            adjacency_bits[i], operations[i], num_vertices[i], pruned_operations[i]
        )
    return codes, pruned_bits, pruned_operations, sizes


@kernel
def key_batch(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
) -> NDArray[np.uint64]:
    """The keys of N pruned cells (see ``key_scalar``).

    Args:
        adjacency_bits: (N,) uint32.
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.

    Returns:
        (N,) uint64.
    """
    keys = np.empty(len(adjacency_bits), np.uint64)
    for i in range(len(keys)):
        keys[i] = key_scalar(adjacency_bits[i], operations[i], num_vertices[i])
    return keys


@kernel
def spec_key_batch(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """Validity codes and keys of N unpruned specs (see ``spec_key``).

    Args:
        adjacency_bits: (N,) uint32.
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.

    Returns:
        Codes (N,) uint8 and keys (N,) uint64.
    """
    codes = np.empty(len(adjacency_bits), np.uint8)
    keys = np.empty(len(adjacency_bits), np.uint64)
    for i in range(len(keys)):
        codes[i], keys[i] = spec_key(adjacency_bits[i], operations[i], num_vertices[i])
    return codes, keys
