"""Which of a cell's repeats a query sees: random, but a pure function of trial and counter.

A counter-based draw has no state to carry, so a compiled loop, a Python searcher and a block of
trials all see the same value for the same cell in the same trial.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)


@kernel
def noise_word(noise_seed: np.uint64, counter: int) -> np.uint64:
    """64 random bits: output number ``counter`` of the generator SplitMix64 seeded so.

    Args:
        noise_seed: uint64; one per trial.
        counter: Not negative.
    """
    word = np.uint64(noise_seed) + (np.uint64(counter) + np.uint64(1)) * _GAMMA
    word = (word ^ (word >> np.uint64(30))) * _MIX_1
    word = (word ^ (word >> np.uint64(27))) * _MIX_2
    return word ^ (word >> np.uint64(31))


@kernel
def draw_repeat(validation: NDArray[np.float32], noise_seed: np.uint64, counter: int) -> int:
    """One of the repeats that are present, uniformly (up to 2^-32).

    Args:
        validation: (R,) float32; NaN where a repeat is missing; at least one is present.
        noise_seed: uint64.
        counter: Not negative.

    Returns:
        The repeat, or -1 if all are missing.
    """
    present = 0
    for repeat in range(len(validation)):
        if not np.isnan(validation[repeat]):
            present += 1
    if present == 0:
        return -1
    word = noise_word(noise_seed, counter)
    place = np.int64(((word >> _HALF) * np.uint64(present)) >> _HALF)
    for repeat in range(len(validation)):
        if not np.isnan(validation[repeat]):
            if place == 0:
                return repeat
            place -= 1
    return -1


@kernel
def draw_repeats(
    validation: NDArray[np.float32],
    noise_seed: np.uint64,
    positions: NDArray[np.int32],
    counters: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """The repeat that each of N queries sees.

    Args:
        validation: (M, R) float32, NaN where missing.
        noise_seed: uint64.
        positions: (N,) int32; rows of ``validation``.
        counters: (N,) int64.

    Returns:
        (N,) uint8.
    """
    repeats = np.empty(len(positions), np.uint8)
    for i in range(len(positions)):
        repeats[i] = draw_repeat(validation[positions[i]], noise_seed, counters[i])
    return repeats


@kernel
def best_draw(validation: NDArray[np.float32], noise_seed: np.uint64) -> tuple[int, int]:
    """The row with the best drawn value, each row's counter being its number; first wins ties.

    Args:
        validation: (M, R) float32, NaN where missing.
        noise_seed: uint64.

    Returns:
        The row and its repeat.
    """
    best_row = 0
    best_repeat = -1
    best = -np.inf
    for row in range(len(validation)):
        repeat = draw_repeat(validation[row], noise_seed, row)
        if repeat >= 0 and validation[row, repeat] > best:
            best = validation[row, repeat]
            best_row = row
            best_repeat = repeat
    return best_row, best_repeat
