"""The law of a cell's three runs: deviations from what is expected, as those of a measured cell.

That cell, the *donor*, of about the same test accuracy, gives how far the mean of its runs lay from
what was expected of it and how the three lay about that mean. Mean, spread and middle run so keep
their joint law; nothing caps them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.search.noise import noise_word

_HALVES = 2.0**-53

# Donors of which the most similar is taken, and by how much its runs may be stretched or shrunk.
DONORS = 8
_STRETCH = 1.25
# A difference in luck that counts like spreads of 1 : e.
_LUCK = 0.03


class Noise(NamedTuple):
    """The law of the runs; D donors, R regions.

    Attributes:
        donor_level: (D,) float64, ascending; mean test accuracy of the donors.
        donors: (D, 3) float64; mean of the three runs less its expectation, lowest run less mean,
            middle run less mean.
        donor_spread: (D,) float64; standard deviation between repeats that was expected of them.
        donor_luck: (D,) float64; their test accuracy minus the accuracy predicted from structure.
        window: A cell's donor is one of so many of the nearest test accuracies.
        region_edges: (R - 1,) float64; ascending bounds on the mean test accuracy.
        test_slope: How far a run's test accuracy follows its validation accuracy.
        test_noise: (R,) float64; standard deviation of what is left of it.
        failed: (2,) int64; correct validation and test images of a failed run.
    """

    donor_level: NDArray[np.float64]
    donors: NDArray[np.float64]
    donor_spread: NDArray[np.float64]
    donor_luck: NDArray[np.float64]
    window: int
    region_edges: NDArray[np.float64]
    test_slope: float
    test_noise: NDArray[np.float64]
    failed: NDArray[np.int64]


@kernel
def uniform(seed: int, counter: int) -> float:
    """A number from [0, 1), from one random word."""
    return np.float64(noise_word(np.uint64(seed), counter) >> np.uint64(11)) * _HALVES


@kernel
def normal(seed: int, counter: int) -> float:
    """A standard normal number from two words, by Box and Muller's formula."""
    radius = np.sqrt(-2.0 * np.log(1.0 - uniform(seed, counter)))
    return radius * np.cos(2.0 * np.pi * uniform(seed, counter + 1))


@kernel
def draw_triple(
    seed: int,
    counter: int,
    noise: Noise,
    first: int,
    window: int,
    spread: float,
    luck: float,
    effect: float,
    triple: NDArray[np.float64],
) -> None:
    """Draws three deviations from the expected mean, in ascending order; uses ten random words.

    Of some donors the most similar one is taken, by expected spread and by luck: a wide spread, or
    a test accuracy far below the one predicted from structure, comes from one bad run and has
    another shape. A remaining difference of spread stretches the runs a little.

    Args:
        seed: Of the cell.
        counter: Of the first word.
        noise: The law.
        first: The first donor of the window.
        window: Its length.
        spread: Expected standard deviation between the repeats.
        luck: Test accuracy minus the accuracy predicted from structure.
        effect: Standard deviation of what the cell has beyond structure and the donors'.
        triple: (3,) float64; receives the result.
    """
    chosen, nearest, ratio = np.int64(0), np.inf, 1.0
    for k in range(DONORS):
        one = first + np.int64(window * uniform(seed, counter + k))
        other = spread / noise.donor_spread[one]
        distance = abs(np.log(other)) + abs(luck - noise.donor_luck[one]) / _LUCK
        if distance < nearest:
            chosen, nearest, ratio = one, distance, other
    scale = min(max(ratio, 1.0 / _STRETCH), _STRETCH)
    donor = noise.donors[chosen]
    mean = donor[0]
    if effect > 0.0:
        mean += effect * normal(seed, counter + DONORS)
    triple[0] = mean + scale * donor[1]
    triple[1] = mean + scale * donor[2]
    triple[2] = mean - scale * (donor[1] + donor[2])
