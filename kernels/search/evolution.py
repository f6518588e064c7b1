"""Whole trials of random search and regularized evolution, compiled.

Each loop takes the view as plain arrays and writes its charged queries into arrays of the caller.
A spec that is not a cell of the view is drawn again. What "charged" and the rules mean is said in
``nprep.search.rules``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import (
    INPUT,
    MAX_VERTICES,
    NUM_OPERATIONS,
    NUM_PAIRS,
    OUTPUT,
    VALID,
    spec_key,
)
from nprep.kernels.nb101.sample import mutate_one, mutate_rates, random_spec
from nprep.kernels.numeric.lookup import find_key
from nprep.kernels.numeric.rng import bounded, choose, next_u64
from nprep.kernels.search.noise import draw_repeat

# How often a mutation that leaves the view is drawn again before the child counts as invalid. The
# notebook's mutation reaches a cell of the view in the end; all 31 one-parameter changes may not.
MAX_REDRAWS = 1000

_ABOVE_PAIRS = np.uint64(64 - NUM_PAIRS)

_INVALID = -1
_OUTSIDE = -2


class ViewArrays(NamedTuple):
    """A view of M cells as the kernels take it.

    Attributes:
        adjacency_bits: (M,) uint32.
        operations: (M, 7) uint8.
        num_vertices: (M,) uint8.
        validation: (M, R) float32; NaN where a repeat is missing.
        slot_keys: (S,) uint64; see ``kernels/numeric/lookup.py``.
        slot_rows: (S,) int32; positions in the view.
        seconds: (M, R) float32; training times.
    """

    adjacency_bits: NDArray[np.uint32]
    operations: NDArray[np.uint8]
    num_vertices: NDArray[np.uint8]
    validation: NDArray[np.float32]
    slot_keys: NDArray[np.uint64]
    slot_rows: NDArray[np.int32]
    seconds: NDArray[np.float32]


# Numba reads the type by this name in caches of compiled code that earlier versions left behind,
# before it sees that they are outdated.
Space = ViewArrays


class Rules(NamedTuple):
    """How queries are answered and charged.

    Attributes:
        noise_seed: uint64; see ``kernels/search/noise.py``.
        per_query: Draw the repeat anew at every query instead of once per cell.
        free_duplicates: Do not charge cells seen before.
        max_queries: A trial ends after this many queries, charged or not.
        max_seconds: A trial ends with the query that takes it to this much training time; infinity
            for no such end.
        keep_invalid: Let random specs that are no cell into the first population, with accuracy 0
            and at no cost, instead of drawing them again.
    """

    noise_seed: np.uint64
    per_query: bool
    free_duplicates: bool
    max_queries: int
    max_seconds: float
    keep_invalid: bool


class Evolution(NamedTuple):
    """Settings of regularized evolution.

    Attributes:
        population: Number of individuals alive.
        tournament: Number of them that compete to be the parent.
        replacement: Whether a tournament may hold an individual twice. If so the first drawn wins a
            tie, if not the youngest: what ``max`` and ``sorted`` do in the published programs.
        one_parameter: Change exactly one edge or operation; an invalid child is not charged and
            enters the population with accuracy 0. Otherwise mutate by the two rates, until valid.
        edge_rate: Probability that a pair of vertices flips.
        operation_rate: Probability that an operation changes to another one.
        from_specs: Draw the first population by the official sampler of specs, else uniformly over
            the cells of the view.
        founders: Number of random individuals that the population begins with, 1 to its size; it
            grows by breeding.
    """

    population: int
    tournament: int
    replacement: bool
    one_parameter: bool
    edge_rate: float
    operation_rate: float
    from_specs: bool
    founders: int


@kernel
def locate(space: ViewArrays, bits: Integer, operations: NDArray[np.uint8]) -> int:
    """The position of a 7-vertex spec in the view; -1 if it is invalid, -2 if it is outside."""
    validity, key = spec_key(bits, operations, MAX_VERTICES)
    if validity != VALID:
        return _INVALID
    position = find_key(space.slot_keys, space.slot_rows, key)
    return position if position >= 0 else _OUTSIDE


@kernel
def embed(
    state: NDArray[np.uint64],
    bits: int,
    operations: NDArray[np.uint8],
    num_vertices: int,
    genotype: NDArray[np.uint8],
) -> int:
    """A 7-vertex spec of a pruned cell: the output moves to the end, idle vertices get no edges.

    Args:
        state: (4,) uint64 generator state, advanced: idle vertices get random operations.
        bits: Adjacency bits of the cell.
        operations: (7,) uint8.
        num_vertices: 2 to 7.
        genotype: (7,) uint8; receives the operations.

    Returns:
        The spec's adjacency bits.
    """
    last = np.int64(num_vertices) - 1
    moved = 0
    for source in range(last):
        start = source * (13 - source) // 2 - source - 1
        for target in range(source + 1, last + 1):
            if (np.int64(bits) >> (start + target)) & 1:
                moved |= 1 << (start + (target if target < last else MAX_VERTICES - 1))
    genotype[0] = INPUT
    for vertex in range(1, MAX_VERTICES - 1):
        if vertex < last:
            genotype[vertex] = operations[vertex]
        else:
            genotype[vertex] = bounded(state, NUM_OPERATIONS)
    genotype[MAX_VERTICES - 1] = OUTPUT
    return moved


@kernel
def draw_spec(
    state: NDArray[np.uint64], space: ViewArrays, operations: NDArray[np.uint8]
) -> tuple[Integer, Integer]:
    """A spec of the official sampler that is a cell of the view.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        operations: (7,) uint8, overwritten.

    Returns:
        Its adjacency bits and position.
    """
    while True:
        bits = random_spec(state, operations)
        position = locate(space, bits, operations)
        if position >= 0:
            return bits, position


@kernel
def draw_any_spec(
    state: NDArray[np.uint64], space: ViewArrays, operations: NDArray[np.uint8]
) -> tuple[Integer, Integer]:
    """A uniformly random matrix and labeling, a cell of the view or none at all.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view; valid specs outside are drawn again.
        operations: (7,) uint8, overwritten.

    Returns:
        Its adjacency bits, and its position or -1 if it is invalid.
    """
    operations[0] = INPUT
    operations[MAX_VERTICES - 1] = OUTPUT
    while True:
        bits = np.int64(next_u64(state) >> _ABOVE_PAIRS)
        for vertex in range(1, MAX_VERTICES - 1):
            operations[vertex] = bounded(state, NUM_OPERATIONS)
        position = locate(space, bits, operations)
        if position != _OUTSIDE:
            return bits, position


@kernel
def draw_positions(
    state: NDArray[np.uint64], space: ViewArrays, from_specs: bool, positions: NDArray[np.int32]
) -> None:
    """Draws cells independently, uniformly over the view or by the sampler of specs.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        from_specs: Which of the two.
        positions: (N,) int32, overwritten.
    """
    operations = np.empty(MAX_VERTICES, np.uint8)
    for i in range(len(positions)):
        if from_specs:
            positions[i] = draw_spec(state, space, operations)[1]
        else:
            positions[i] = bounded(state, len(space.validation))


@kernel
def random_search(
    state: NDArray[np.uint64],
    space: ViewArrays,
    rules: Rules,
    from_specs: bool,
    positions: NDArray[np.int32],
    repeats: NDArray[np.uint8],
) -> int:
    """One trial of random search, cells drawn independently.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        rules: How queries are answered and charged.
        from_specs: Draw by the official sampler of specs instead of uniformly over cells.
        positions: (S,) int32; receives the charged cells.
        repeats: (S,) uint8; receives the repeats seen.

    Returns:
        The number of charged queries, at most S.
    """
    operations = np.empty(MAX_VERTICES, np.uint8)
    seen = np.zeros(len(space.validation) if rules.free_duplicates else 1, np.bool_)
    charged = 0
    spent = 0.0
    for query in range(rules.max_queries):
        if charged == len(positions) or spent >= rules.max_seconds:
            break
        if from_specs:
            position = draw_spec(state, space, operations)[1]
        else:
            position = bounded(state, len(space.validation))
        if rules.free_duplicates:
            if seen[position]:
                continue
            seen[position] = True
        counter = query if rules.per_query else position
        repeat = draw_repeat(space.validation[position], rules.noise_seed, counter)
        positions[charged] = position
        repeats[charged] = repeat
        spent += space.seconds[position, repeat]
        charged += 1
    return charged


@kernel
def tournament(
    state: NDArray[np.uint64],
    values: NDArray[np.float32],
    oldest: int,
    replacement: bool,
    drawn: NDArray[np.int64],
) -> int:
    """The place of the winner in the ring of individuals, of which ``oldest`` is the oldest."""
    population = len(values)
    if replacement:
        for i in range(len(drawn)):
            drawn[i] = bounded(state, population)
    else:
        choose(state, population, drawn)
    best_age = drawn[0]
    best = (oldest + best_age) % population
    for i in range(1, len(drawn)):
        place = (oldest + drawn[i]) % population
        tie = values[place] == values[best] and not replacement and drawn[i] > best_age
        if values[place] > values[best] or tie:
            best = place
            best_age = drawn[i]
    return best


@kernel
def breed(
    state: NDArray[np.uint64],
    space: ViewArrays,
    settings: Evolution,
    bits: Integer,
    operations: NDArray[np.uint8],
    child: NDArray[np.uint8],
) -> tuple[Integer, Integer]:
    """A child of a parent.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        settings: Of the evolution.
        bits: The parent's adjacency bits.
        operations: (7,) uint8; the parent's operations.
        child: (7,) uint8; receives the child's operations.

    Returns:
        The child's adjacency bits, and its position in the view; negative if it is no cell of it.
    """
    position = _OUTSIDE
    redraws = 0
    child_bits = bits
    while position == _OUTSIDE and redraws < MAX_REDRAWS:
        if settings.one_parameter:
            child_bits = mutate_one(state, bits, operations, child)
        else:
            child_bits = mutate_rates(
                state, bits, operations, settings.edge_rate, settings.operation_rate, child
            )
            # This mutation reaches a cell of the view sooner or later.
            redraws = 0
        position = locate(space, child_bits, child)
        redraws += 1
    return child_bits, position


@kernel
def first_individual(
    state: NDArray[np.uint64],
    space: ViewArrays,
    rules: Rules,
    settings: Evolution,
    child: NDArray[np.uint8],
) -> tuple[Integer, Integer]:
    """A random individual of the first population; arguments and results as of ``breed``."""
    if settings.from_specs:
        if rules.keep_invalid:
            return draw_any_spec(state, space, child)
        return draw_spec(state, space, child)
    position = bounded(state, len(space.validation))
    bits = embed(
        state,
        space.adjacency_bits[position],
        space.operations[position],
        space.num_vertices[position],
        child,
    )
    return bits, position


@kernel
def evolve(
    state: NDArray[np.uint64],
    space: ViewArrays,
    rules: Rules,
    settings: Evolution,
    positions: NDArray[np.int32],
    repeats: NDArray[np.uint8],
) -> int:
    """One trial of regularized evolution (Real et al., 2019) on unpruned 7-vertex specs.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        rules: How queries are answered and charged.
        settings: Of the evolution.
        positions: (S,) int32; receives the charged cells.
        repeats: (S,) uint8; receives the repeats seen.

    Returns:
        The number of charged queries, at most S.
    """
    population = settings.population
    genes = np.empty(population, np.int64)
    genotypes = np.empty((population, MAX_VERTICES), np.uint8)
    values = np.empty(population, np.float32)
    drawn = np.empty(settings.tournament, np.int64)
    child = np.empty(MAX_VERTICES, np.uint8)
    seen = np.zeros(len(space.validation) if rules.free_duplicates else 1, np.bool_)
    charged = 0
    queries = 0
    spent = 0.0
    for born in range(rules.max_queries):
        if charged == len(positions) or spent >= rules.max_seconds:
            break
        # The child takes the place of the oldest individual.
        place = born % population
        if born >= settings.founders:
            alive = min(born, population)
            oldest = place if born >= population else 0
            parent = tournament(state, values[:alive], oldest, settings.replacement, drawn)
            bits, position = breed(state, space, settings, genes[parent], genotypes[parent], child)
        else:
            bits, position = first_individual(state, space, rules, settings, child)
        genes[place] = bits
        genotypes[place] = child
        if position < 0:
            values[place] = 0.0
            continue
        counter = queries if rules.per_query else position
        queries += 1
        repeat = draw_repeat(space.validation[position], rules.noise_seed, counter)
        values[place] = space.validation[position, repeat]
        if rules.free_duplicates:
            if seen[position]:
                continue
            seen[position] = True
        positions[charged] = position
        repeats[charged] = repeat
        spent += space.seconds[position, repeat]
        charged += 1
    return charged
