"""Local search as the program naszilla does it: stop at a minimum, or continue elsewhere.

Genotypes are unpruned 7-vertex specs, as in ``kernels/nb101/sample.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import MAX_VERTICES
from nprep.kernels.nb101.sample import random_spec
from nprep.kernels.numeric.rng import shuffle
from nprep.kernels.search.breeding import NEIGHBOURS, neighbour
from nprep.kernels.search.evolution import MAX_REDRAWS, Rules, Space, locate
from nprep.kernels.search.noise import draw_repeat


@kernel
def climb_by_groups(
    state: NDArray[np.uint64],
    space: Space,
    rules: Rules,
    initial: Integer,
    continuing: bool,
    groups: NDArray[np.int32],
    positions: NDArray[np.int32],
    repeats: NDArray[np.uint8],
    begins: NDArray[np.bool_],
) -> Integer:
    """One trial of local search; no cell is trained twice, nor one of the group of another.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        rules: How queries are answered and charged.
        initial: Random specs of each start, the best of which is where the climb begins.
        continuing: After the neighbours of a cell, or the first better one of them, take the best
            cell so far whose neighbours were not tried. Otherwise move to the first better
            neighbour, and start again from random specs where there is none.
        groups: (M,) int32, 0 to M - 1; cells of one group count as one.
        positions: (S,) int32; receives the cells trained.
        repeats: (S,) uint8; receives the repeats seen.
        begins: (S,) bool; receives where rounds of trainings begin.

    Returns:
        The number of cells trained, at most S; fewer where no new cell is found.
    """
    taken = np.zeros(len(space.validation), np.bool_)
    order = np.arange(NEIGHBOURS)
    child = np.empty(MAX_VERTICES, np.uint8)
    # Of every cell trained: its genotype, its value, and whether its neighbours were tried.
    all_bits = np.empty(len(positions), np.int64)
    all_operations = np.empty((len(positions), MAX_VERTICES), np.uint8)
    values = np.empty(len(positions), np.float32)
    tried = np.zeros(len(positions), np.bool_)
    count = 0
    seconds = 0.0
    while True:
        here = count
        for start in range(initial):
            if count == len(positions) or seconds >= rules.max_seconds:
                return count
            position = -1
            bits = 0
            for _ in range(MAX_REDRAWS):
                bits = random_spec(state, child)
                found = locate(space, bits, child)
                if found >= 0 and not taken[groups[found]]:
                    position = found
                    break
            if position < 0:
                return count
            taken[groups[position]] = True
            all_bits[count] = bits
            all_operations[count] = child
            values[count] = _train(space, rules, position, count, positions, repeats)
            begins[count] = start == 0
            seconds += space.seconds[position, repeats[count]]
            if values[count] > values[here]:
                here = count
            count += 1
        while here >= 0:
            tried[here] = True
            shuffle(state, order)
            better = -1
            for number in order:
                bits = neighbour(all_bits[here], all_operations[here], number, child)
                position = locate(space, bits, child) if bits >= 0 else -1
                if position < 0 or taken[groups[position]]:
                    continue
                if count == len(positions) or seconds >= rules.max_seconds:
                    return count
                taken[groups[position]] = True
                all_bits[count] = bits
                all_operations[count] = child
                values[count] = _train(space, rules, position, count, positions, repeats)
                begins[count] = True
                seconds += space.seconds[position, repeats[count]]
                count += 1
                if values[count - 1] > values[here]:
                    better = count - 1
                    break
            here = better
            if continuing:
                here = -1
                for i in range(count):
                    if not tried[i] and (here < 0 or values[i] > values[here]):
                        here = i


@kernel
def _train(
    space: Space,
    rules: Rules,
    position: Integer,
    count: Integer,
    positions: NDArray[np.int32],
    repeats: NDArray[np.uint8],
) -> float:
    """Trains one more cell, the first time that it is trained, and returns what was seen."""
    counter = count if rules.per_query else position
    repeat = draw_repeat(space.validation[position], rules.noise_seed, counter)
    positions[count] = position
    repeats[count] = repeat
    return space.validation[position, repeat]
