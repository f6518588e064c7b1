"""New cells for searches that never train a cell twice: random ones, children and neighbours.

Genotypes are unpruned 7-vertex specs, as in ``kernels/nb101/sample.py``; the marks ``taken`` say
which cells of the view are no longer new.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import MAX_VERTICES, NUM_OPERATIONS, NUM_PAIRS, keep_mask
from nprep.kernels.nb101.sample import mutate_rates, random_spec
from nprep.kernels.numeric.rng import bounded, shuffle
from nprep.kernels.search.evolution import MAX_REDRAWS, Rules, ViewArrays, embed, locate
from nprep.kernels.search.noise import draw_repeat

_INTERIOR = MAX_VERTICES - 2
# Two other operations for each interior vertex, and each pair flipped.
NEIGHBOURS = _INTERIOR * (NUM_OPERATIONS - 1) + NUM_PAIRS


@kernel
def draw_new(
    state: NDArray[np.uint64],
    space: ViewArrays,
    from_specs: bool,
    taken: NDArray[np.bool_],
    operations: NDArray[np.uint8],
) -> tuple[Integer, Integer]:
    """A random cell that is not taken, and marks it.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        from_specs: Draw by the official sampler of specs until one is a new cell of the view;
            otherwise, and where that never happens in 1,000 draws, uniformly over the new cells.
        taken: (M,) marks, changed.
        operations: (7,) uint8; receives the genotype's operations.

    Returns:
        The genotype's adjacency bits and the position; -1 for the position if every cell is taken.
    """
    if from_specs:
        for _ in range(MAX_REDRAWS):
            bits = random_spec(state, operations)
            position = locate(space, bits, operations)
            if position >= 0 and not taken[position]:
                taken[position] = True
                return bits, position
    left = len(taken) - np.sum(taken)
    if left == 0:
        return 0, -1
    place = bounded(state, left)
    for row in range(len(taken)):
        if not taken[row]:
            if place == 0:
                taken[row] = True
                embedded = embed(
                    state,
                    space.adjacency_bits[row],
                    space.operations[row],
                    space.num_vertices[row],
                    operations,
                )
                return embedded, row
            place -= 1
    return 0, -1


@kernel
def draw_many_new(
    state: NDArray[np.uint64],
    space: ViewArrays,
    from_specs: bool,
    taken: NDArray[np.bool_],
    bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    positions: NDArray[np.int32],
) -> Integer:
    """Draws N cells by ``draw_new``.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        from_specs: See ``draw_new``.
        taken: (M,) marks, changed.
        bits: (N,) uint32; receives the adjacency bits of the genotypes.
        operations: (N, 7) uint8; receives their operations.
        positions: (N,) int32; receives the cells.

    Returns:
        How many there were, at most N.
    """
    for i in range(len(positions)):
        drawn, position = draw_new(state, space, from_specs, taken, operations[i])
        if position < 0:
            return i
        bits[i] = drawn
        positions[i] = position
    return len(positions)


@kernel
def children_of(
    state: NDArray[np.uint64],
    space: ViewArrays,
    parent_bits: NDArray[np.uint32],
    parent_operations: NDArray[np.uint8],
    tries: Integer,
    enough: Integer,
    edge_rate: float,
    operation_rate: float,
    taken: NDArray[np.bool_],
    bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    positions: NDArray[np.int32],
) -> Integer:
    """Mutates parents, one after another, and keeps the children that are new cells.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        parent_bits: (P,) uint32; genotypes of the parents, best first.
        parent_operations: (P, 7) uint8.
        tries: Mutations of each parent; one that leaves the view is drawn again (1,000 times).
        enough: Number of children with which no further parent is taken.
        edge_rate: See ``nprep.kernels.nb101.sample.mutate_rates``.
        operation_rate: Likewise.
        taken: (M,) marks; children are not marked.
        bits: (C,) uint32; receives the adjacency bits of the children.
        operations: (C, 7) uint8; receives their operations.
        positions: (C,) int32; receives the cells, all different.

    Returns:
        The number of children, at most C.
    """
    count = 0
    child = np.empty(MAX_VERTICES, np.uint8)
    for parent in range(len(parent_bits)):
        if count >= enough:
            break
        for _ in range(tries):
            if count == len(positions):
                break
            position = -1
            redraws = 0
            while position < 0 and redraws < MAX_REDRAWS:
                mutated = mutate_rates(
                    state,
                    parent_bits[parent],
                    parent_operations[parent],
                    edge_rate,
                    operation_rate,
                    child,
                )
                position = locate(space, mutated, child)
                redraws += 1
            if position < 0 or taken[position]:
                continue
            taken[position] = True
            bits[count] = mutated
            operations[count] = child
            positions[count] = position
            count += 1
    for i in range(count):
        taken[positions[i]] = False
    return count


@kernel
def neighbour(
    bits: Integer,
    operations: NDArray[np.uint8],
    number: Integer,
    child: NDArray[np.uint8],
) -> Integer:
    """The spec that differs from another in one operation or one pair.

    Args:
        bits: Adjacency bits.
        operations: (7,) uint8.
        number: 0 to 9: an interior vertex takes one of the two other operations; 10 to 30: a pair
            flips.
        child: (7,) uint8; receives the operations; not the same array as ``operations``.

    Returns:
        The adjacency bits; -1 where the change is to a vertex that pruning removes.
    """
    for vertex in range(MAX_VERTICES):
        child[vertex] = operations[vertex]
    changes = _INTERIOR * (NUM_OPERATIONS - 1)
    if number >= changes:
        return np.int64(bits) ^ (1 << (number - changes))
    vertex = 1 + number // (NUM_OPERATIONS - 1)
    if not (keep_mask(bits, MAX_VERTICES) >> vertex) & 1:
        return -1
    shift = 1 + number % (NUM_OPERATIONS - 1)
    child[vertex] = (np.int64(operations[vertex]) + shift) % NUM_OPERATIONS
    return np.int64(bits)


@kernel
def climb(
    state: NDArray[np.uint64],
    space: ViewArrays,
    rules: Rules,
    initial: Integer,
    whole: bool,
    positions: NDArray[np.int32],
    repeats: NDArray[np.uint8],
    begins: NDArray[np.bool_],
) -> Integer:
    """One trial of local search (White, Nolen and Savani, 2021); no cell is trained twice.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        rules: How queries are answered and charged.
        initial: Random specs of each start, the best of which is where the climb begins.
        whole: Train all neighbours and move to the best of them, if it is better; otherwise move to
            the first that is better.
        positions: (S,) int32; receives the cells trained.
        repeats: (S,) uint8; receives the repeats seen.
        begins: (S,) bool; receives where rounds of trainings begin that need not wait for one
            another.

    Returns:
        The number of cells trained, at most S; fewer where the view has fewer.
    """
    taken = np.zeros(len(space.validation), np.bool_)
    order = np.arange(NEIGHBOURS)
    here = np.empty(MAX_VERTICES, np.uint8)
    child = np.empty(MAX_VERTICES, np.uint8)
    best_child = np.empty(MAX_VERTICES, np.uint8)
    here_bits = 0
    best_bits = 0
    count = 0
    seconds = 0.0
    while True:
        height = -1.0
        for start in range(initial):
            if count == len(positions) or seconds >= rules.max_seconds:
                return count
            bits, position = draw_new(state, space, True, taken, child)
            if position < 0:
                return count
            repeat = _train(space, rules, position, count, positions, repeats)
            begins[count] = start == 0
            count += 1
            seconds += space.seconds[position, repeat]
            if space.validation[position, repeat] > height:
                height = space.validation[position, repeat]
                here_bits = bits
                here[:] = child
        improved = True
        while improved:
            improved = False
            first = True
            shuffle(state, order)
            for number in order:
                bits = neighbour(here_bits, here, number, child)
                position = locate(space, bits, child) if bits >= 0 else -1
                if position < 0 or taken[position]:
                    continue
                if count == len(positions) or seconds >= rules.max_seconds:
                    return count
                taken[position] = True
                repeat = _train(space, rules, position, count, positions, repeats)
                begins[count] = first or not whole
                first = False
                count += 1
                seconds += space.seconds[position, repeat]
                if space.validation[position, repeat] > height:
                    improved = True
                    height = space.validation[position, repeat]
                    best_bits = bits
                    best_child[:] = child
                    if not whole:
                        break
            if improved:
                here_bits = best_bits
                here[:] = best_child


@kernel
def _train(
    space: ViewArrays,
    rules: Rules,
    position: Integer,
    count: Integer,
    positions: NDArray[np.int32],
    repeats: NDArray[np.uint8],
) -> Integer:
    """Trains one more cell, the first time that it is trained, and returns the repeat seen."""
    counter = count if rules.per_query else position
    repeat = draw_repeat(space.validation[position], rules.noise_seed, counter)
    positions[count] = position
    repeats[count] = repeat
    return repeat
