"""Proposals of BOHB: kernel densities of good and of bad specs, and the best ratio of the two.

A spec is 26 categorical parameters, its 21 pairs (two levels) and 5 interior operations (three
levels). The kernel of a parameter is that of Aitchison and Aitken (1976): probability 1 - w for the
level of the datum, w shared by the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import INPUT, MAX_VERTICES, NUM_OPERATIONS, NUM_PAIRS, OUTPUT
from nprep.kernels.numeric.rng import bounded, random_double
from nprep.kernels.search.evolution import ViewArrays, locate

# A sample near good specs of the measured view is a cell of it about once in three.
MAX_REDRAWS = 100

PARAMETERS = NUM_PAIRS + MAX_VERTICES - 2
LEVELS = np.array([2] * NUM_PAIRS + [NUM_OPERATIONS] * (MAX_VERTICES - 2), np.int64)


@kernel
def to_codes(bits: NDArray[np.uint32], operations: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The parameters (N, 26) uint8 of N specs: bits (N,) uint32, operations (N, 7) uint8."""
    codes = np.empty((len(bits), PARAMETERS), np.uint8)
    for i in range(len(bits)):
        for pair in range(NUM_PAIRS):
            codes[i, pair] = (np.int64(bits[i]) >> pair) & 1
        for vertex in range(1, MAX_VERTICES - 1):
            codes[i, NUM_PAIRS + vertex - 1] = operations[i, vertex]
    return codes


@kernel
def from_codes(codes: NDArray[np.uint8], operations: NDArray[np.uint8]) -> Integer:
    """The adjacency bits of a spec with parameters (26,) uint8; ``operations`` (7,) are filled."""
    bits: Integer = 0
    for pair in range(NUM_PAIRS):
        bits |= np.int64(codes[pair]) << pair
    operations[0] = INPUT
    for vertex in range(1, MAX_VERTICES - 1):
        operations[vertex] = codes[NUM_PAIRS + vertex - 1]
    operations[MAX_VERTICES - 1] = OUTPUT
    return bits


@kernel
def density(
    codes: NDArray[np.uint8], data: NDArray[np.uint8], widths: NDArray[np.float64]
) -> float:
    """The kernel density of one spec.

    Args:
        codes: (26,) uint8; the spec.
        data: (N, 26) uint8; the specs that the density is made of.
        widths: (26,) w of each parameter, above 0.
    """
    total = 0.0
    for i in range(len(data)):
        product = 1.0
        for k in range(PARAMETERS):
            if codes[k] == data[i, k]:
                product *= 1.0 - widths[k]
            else:
                product *= widths[k] / (LEVELS[k] - 1)
        total += product
    return total / len(data)


@kernel
def propose(
    state: NDArray[np.uint64],
    space: ViewArrays,
    good: NDArray[np.uint8],
    good_widths: NDArray[np.float64],
    bad: NDArray[np.uint8],
    bad_widths: NDArray[np.float64],
    samples: Integer,
    taken: NDArray[np.bool_],
    operations: NDArray[np.uint8],
) -> tuple[Integer, Integer]:
    """The cell with the highest ratio of the densities, of some that are drawn near the good ones.

    A sample takes a good spec and gives each of its parameters, with the probability of its width,
    a random level.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        good: (G, 26) uint8; the good specs.
        good_widths: (26,) kernel widths of their density.
        bad: (B, 26) uint8; the bad specs.
        bad_widths: (26,) kernel widths of their density.
        samples: Number of samples. One that is no new cell of the view is drawn again, up to 100
            times; the samples end with the first for which that is not enough.
        taken: (M,) marks of cells that are not to be proposed.
        operations: (7,) uint8; receives the operations of the proposal.

    Returns:
        Its adjacency bits and position; -1 for the position if no sample was a new cell.
    """
    codes = np.empty(PARAMETERS, np.uint8)
    child = np.empty(MAX_VERTICES, np.uint8)
    best = -1.0
    best_bits = 0
    best_position = -1
    for _ in range(samples):
        position = -1
        redraws = 0
        while (position < 0 or taken[position]) and redraws < MAX_REDRAWS:
            redraws += 1
            datum = bounded(state, len(good))
            for k in range(PARAMETERS):
                codes[k] = good[datum, k]
                if random_double(state) < good_widths[k]:
                    codes[k] = bounded(state, LEVELS[k])
            bits = from_codes(codes, child)
            position = locate(space, bits, child)
        if position < 0 or taken[position]:
            break
        bad_density = density(codes, bad, bad_widths)
        ratio = density(codes, good, good_widths) / max(bad_density, 1e-300)
        if ratio > best:
            best = ratio
            best_bits = bits
            best_position = position
            operations[:] = child
    return best_bits, best_position
