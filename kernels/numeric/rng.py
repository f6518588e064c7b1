"""A random generator whose state is an array: xoshiro256** (Blackman and Vigna, 2018).

The caller owns the state, so a compiled loop of a whole trial draws from its own stream, whatever
runs at the same time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_DOUBLE_SHIFT = np.uint64(11)
_DOUBLE_STEP = 2.0**-53


def seed_state(seed_sequence: np.random.SeedSequence) -> NDArray[np.uint64]:
    """A generator state from a seed sequence.

    Args:
        seed_sequence: Give each trial its own, by ``SeedSequence(seed).spawn(trials)``.

    Returns:
        (4,) uint64, to be passed to the functions below, which change it.
    """
    state = seed_sequence.generate_state(4, np.uint64).astype(np.uint64, copy=False)
    if not state.any():
        # The only state that xoshiro can't leave.
        state[0] = 1
    return state


@kernel
def next_u64(state: NDArray[np.uint64]) -> Integer:
    """64 random bits.

    Args:
        state: (4,) uint64, advanced.
    """
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    product = s1 * np.uint64(5)
    result = ((product << np.uint64(7)) | (product >> np.uint64(57))) * np.uint64(9)
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    state[0] = s0
    state[1] = s1
    state[2] = s2
    state[3] = s3
    return result


@kernel
def bounded(state: NDArray[np.uint64], n: Integer) -> Integer:
    """A uniform integer from 0 to n - 1, without bias (Lemire, 2019).

    Args:
        state: (4,) uint64, advanced.
        n: 1 to 2^32.
    """
    size = np.uint64(n)
    product = (next_u64(state) >> _HALF) * size
    low = product & _LOW_HALF
    if low < size:
        threshold = ((np.uint64(1) << _HALF) - size) % size
        while low < threshold:
            product = (next_u64(state) >> _HALF) * size
            low = product & _LOW_HALF
    return np.int64(product >> _HALF)


@kernel
def random_double(state: NDArray[np.uint64]) -> float:
    """A uniform double in [0, 1), a multiple of 2^-53.

    Args:
        state: (4,) uint64, advanced.
    """
    return np.float64(next_u64(state) >> _DOUBLE_SHIFT) * _DOUBLE_STEP


@kernel
def random_normal(state: NDArray[np.uint64]) -> float:
    """A standard normal double, by Marsaglia's polar method.

    Args:
        state: (4,) uint64, advanced.
    """
    while True:
        x = 2.0 * random_double(state) - 1.0
        y = 2.0 * random_double(state) - 1.0
        square = x * x + y * y
        if 0.0 < square < 1.0:
            return x * np.sqrt(-2.0 * np.log(square) / square)


@kernel
def shuffle(state: NDArray[np.uint64], values: NDArray[np.generic]) -> None:
    """Puts the elements of a 1-D array into a uniformly random order, in place.

    Args:
        state: (4,) uint64, advanced.
        values: (N,), changed.
    """
    for i in range(len(values) - 1, 0, -1):
        j = bounded(state, i + 1)
        kept = values[i]
        values[i] = values[j]
        values[j] = kept


@kernel
def choose(state: NDArray[np.uint64], n: Integer, out: NDArray[np.integer]) -> None:
    """Draws distinct integers from 0 to n - 1 into ``out``, in random order (Floyd's method).

    It costs len(out)^2 / 2 comparisons and no memory: for small samples such as tournaments. For
    large ones shuffle ``np.arange(n)``.

    Args:
        state: (4,) uint64, advanced.
        n: At least len(out).
        out: (M,) integers, overwritten.
    """
    count = len(out)
    for i in range(count):
        top = n - count + i
        drawn = bounded(state, top + 1)
        for j in range(i):
            if out[j] == drawn:
                drawn = top
                break
        # Floyd's set is uniform but its order is not: put each new member at a random place.
        place = bounded(state, i + 1)
        out[i] = out[place]
        out[place] = drawn
