"""Random specs and mutations, by the rules that published searches use.

A genotype is an unpruned spec with 7 vertices: 21 adjacency bits and 7 operations, of which the
first is INPUT and the last OUTPUT. Samplers return the bits and write the operations in place, so a
compiled search needs no allocation per sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import (
    INPUT,
    MAX_EDGES,
    MAX_VERTICES,
    NUM_OPERATIONS,
    NUM_PAIRS,
    OUTPUT,
    count_bits,
    keep_mask,
    kept_edges,
)
from nprep.kernels.numeric.rng import bounded, next_u64

_INTERIOR = MAX_VERTICES - 2
_ALL_PAIRS = np.uint64((1 << NUM_PAIRS) - 1)
_PAIRS_WIDTH = np.uint64(NUM_PAIRS)
_LABELINGS = NUM_OPERATIONS**_INTERIOR
_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
# Two 32-bit words a draw: 21 pairs take 11 draws, 5 operations 3.
_PAIR_DRAWS = (NUM_PAIRS + 1) // 2


@kernel
def _connects(bits: Integer) -> bool:
    """Whether a 7-vertex spec is valid, its operations being known to be."""
    keep = keep_mask(bits, MAX_VERTICES)
    return keep != 0 and count_bits(kept_edges(bits, keep)) <= MAX_EDGES


@kernel
def random_spec(state: NDArray[np.uint64], operations: NDArray[np.uint8]) -> Integer:
    """The official sampler: every edge with probability 1/2, uniform operations, until valid.

    The result is not uniform over cells: a cell is drawn as often as it has such specs.

    Args:
        state: (4,) uint64 generator state, advanced.
        operations: (7,) uint8, overwritten.

    Returns:
        The adjacency bits.
    """
    # Validity depends on the edges alone here, so they are settled first.
    while True:
        word = next_u64(state)
        bits = np.int64(word & _ALL_PAIRS)
        if _connects(bits):
            break
        bits = np.int64((word >> _PAIRS_WIDTH) & _ALL_PAIRS)
        if _connects(bits):
            break
    labels = bounded(state, _LABELINGS)
    operations[0] = INPUT
    for vertex in range(1, MAX_VERTICES - 1):
        operations[vertex] = labels % NUM_OPERATIONS
        labels //= NUM_OPERATIONS
    operations[MAX_VERTICES - 1] = OUTPUT
    return bits


@kernel
def _other_operation(state: NDArray[np.uint64], operation: Integer) -> Integer:
    """One of the two other interior operations."""
    return (np.int64(operation) + 1 + bounded(state, NUM_OPERATIONS - 1)) % NUM_OPERATIONS


@kernel
def mutate_rates(
    state: NDArray[np.uint64],
    bits: Integer,
    operations: NDArray[np.uint8],
    edge_rate: float,
    operation_rate: float,
    child: NDArray[np.uint8],
) -> Integer:
    """Flips pairs and changes operations independently, from the parent until the child is valid.

    Both rates are rounded to a multiple of 2^-32. The child may equal the parent.

    Args:
        state: (4,) uint64 generator state, advanced.
        bits: The parent's adjacency bits.
        operations: (7,) uint8; the parent's operations.
        edge_rate: Probability that one of the 21 pairs flips.
        operation_rate: Probability that one of the 5 operations changes to another one.
        child: (7,) uint8; receives the child's operations; not the same array as ``operations``.

    Returns:
        The child's adjacency bits.
    """
    edge_threshold = np.uint64(min(1.0, edge_rate) * 4294967296.0 + 0.5)
    operation_threshold = np.uint64(min(1.0, operation_rate) * 4294967296.0 + 0.5)
    while True:
        flips = np.uint64(0)
        for draw in range(_PAIR_DRAWS):
            word = next_u64(state)
            low = np.uint64((word & _LOW_HALF) < edge_threshold)
            high = np.uint64((word >> _HALF) < edge_threshold)
            flips |= (low | (high << np.uint64(1))) << np.uint64(2 * draw)
        mutated = np.int64(bits) ^ np.int64(flips & _ALL_PAIRS)
        # Validity does not depend on the operations.
        if _connects(mutated):
            break
    child[0] = INPUT
    child[MAX_VERTICES - 1] = OUTPUT
    for vertex in range(1, MAX_VERTICES - 1):
        operation = np.int64(operations[vertex])
        if (next_u64(state) >> _HALF) < operation_threshold:
            operation = _other_operation(state, operation)
        child[vertex] = operation
    return mutated


@kernel
def mutate_notebook(
    state: NDArray[np.uint64],
    bits: Integer,
    operations: NDArray[np.uint8],
    rate: float,
    child: NDArray[np.uint8],
) -> Integer:
    """The mutation of the official notebook, repeated from the parent until the child is valid.

    Each of the 21 pairs flips with probability rate / 7, each of the 5 operations changes to
    another one with probability rate / 5. See ``mutate_rates``.

    Args:
        state: (4,) uint64 generator state, advanced.
        bits: The parent's adjacency bits.
        operations: (7,) uint8; the parent's operations.
        rate: Mutation rate; 1 in the notebook.
        child: (7,) uint8; receives the child's operations; not the same array as ``operations``.

    Returns:
        The child's adjacency bits.
    """
    return mutate_rates(state, bits, operations, rate / MAX_VERTICES, rate / _INTERIOR, child)


@kernel
def mutate_one(
    state: NDArray[np.uint64],
    bits: Integer,
    operations: NDArray[np.uint8],
    child: NDArray[np.uint8],
) -> Integer:
    """Changes exactly one of the 21 pairs and 5 operations; the child may be invalid.

    Args:
        state: (4,) uint64 generator state, advanced.
        bits: The parent's adjacency bits.
        operations: (7,) uint8; the parent's operations.
        child: (7,) uint8; receives the child's operations; may be ``operations`` itself.

    Returns:
        The child's adjacency bits.
    """
    for vertex in range(MAX_VERTICES):
        child[vertex] = operations[vertex]
    place = bounded(state, NUM_PAIRS + _INTERIOR)
    if place < NUM_PAIRS:
        return np.int64(bits) ^ (1 << place)
    vertex = place - NUM_PAIRS + 1
    child[vertex] = _other_operation(state, operations[vertex])
    return np.int64(bits)


@kernel
def mutate_one_valid(
    state: NDArray[np.uint64],
    bits: Integer,
    operations: NDArray[np.uint8],
    child: NDArray[np.uint8],
) -> Integer:
    """As ``mutate_one``, repeated from the parent until the child is valid.

    Args:
        state: (4,) uint64 generator state, advanced.
        bits: The parent's adjacency bits; the parent is valid.
        operations: (7,) uint8; the parent's operations.
        child: (7,) uint8; receives the child's operations; not the same array as ``operations``.

    Returns:
        The child's adjacency bits.
    """
    while True:
        mutated = mutate_one(state, bits, operations, child)
        if _connects(mutated):
            return mutated


@kernel
def random_spec_batch(
    state: NDArray[np.uint64], count: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """``count`` specs of ``random_spec``: bits (N,) uint32 and operations (N, 7) uint8."""
    bits = np.empty(count, np.uint32)
    operations = np.empty((count, MAX_VERTICES), np.uint8)
    for i in range(count):
        bits[i] = random_spec(state, operations[i])
    return bits, operations


@kernel
def mutate_notebook_batch(
    state: NDArray[np.uint64],
    bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    rate: float,
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """One child of ``mutate_notebook`` of each of N genotypes: bits and operations."""
    child_bits = np.empty(len(bits), np.uint32)
    child_operations = np.empty((len(bits), MAX_VERTICES), np.uint8)
    for i in range(len(bits)):
        child_bits[i] = mutate_notebook(state, bits[i], operations[i], rate, child_operations[i])
    return child_bits, child_operations


@kernel
def mutate_one_batch(
    state: NDArray[np.uint64],
    bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    until_valid: bool,
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """One child of ``mutate_one`` (or ``_valid``) of each of N genotypes."""
    child_bits = np.empty(len(bits), np.uint32)
    child_operations = np.empty((len(bits), MAX_VERTICES), np.uint8)
    for i in range(len(bits)):
        if until_valid:
            child_bits[i] = mutate_one_valid(state, bits[i], operations[i], child_operations[i])
        else:
            child_bits[i] = mutate_one(state, bits[i], operations[i], child_operations[i])
    return child_bits, child_operations
