"""Draws the repeats of cells whose validation accuracy was not measured.

A cell's three runs are described by their number of failed runs, the mean of the others' validation
accuracy less their mean test accuracy, the standard deviation between them, and where the middle
one lies between the lowest and the highest. Each is a quantile function fitted to the cells with
three measured repeats; see ``data/README.md``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.search.noise import noise_word

IMAGES = 9984  # Accuracies are multiples of 1 / IMAGES: 39 batches of 256 images.
_HALVES = 2.0**-53
_CANDIDATES = 96
_TRIES = 64


class Noise(NamedTuple):
    """The noise model as arrays; R regions, B bins of the relative spread, Q quantile levels.

    Attributes:
        region_edges: (R - 1,) float64; ascending bounds on the mean test accuracy.
        levels: (Q,) float64 in [0, 1], ascending.
        mean: (R, Q) float64; quantiles of (mean validation - its expectation - shift * excess),
            the excess being the standard deviation over the usual one, see below.
        spread: (R, Q) float64; quantiles of the standard deviation between repeats, divided by the
            expected one.
        usual: (R,) float64; the standard deviation that is usual in the region. A larger one is the
            work of one bad run: it does not reach upwards as far as downwards.
        shift: (R,) float64; how the mean changes with the standard deviation over the usual one.
        bin_edges: (B - 1,) float64; ascending bounds on the same.
        middle: (B, Q) float64 in [0, 1]; quantiles of (middle - lowest) / (highest - lowest).
        test_slope: How far a run's test accuracy follows its validation accuracy.
        test_noise: (R,) float64; standard deviation of what is left of it.
        headroom: (R, 2) float64; by how much a cell's best validation accuracy can exceed the
            greater of its test accuracy and the one that its structure promises, and by how much
            the expected mean validation accuracy.
        failed: (2,) int64; correct validation and test images of a failed run.
        ceiling: Highest number of correct validation images that is plausible.
    """

    region_edges: NDArray[np.float64]
    levels: NDArray[np.float64]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    usual: NDArray[np.float64]
    shift: NDArray[np.float64]
    bin_edges: NDArray[np.float64]
    middle: NDArray[np.float64]
    test_slope: float
    test_noise: NDArray[np.float64]
    headroom: NDArray[np.float64]
    failed: NDArray[np.int64]
    ceiling: int


@kernel
def _uniform(seed: int, counter: int) -> float:
    return np.float64(noise_word(np.uint64(seed), counter) >> np.uint64(11)) * _HALVES


@kernel
def _normal(seed: int, counter: int) -> float:
    """A standard normal number from two words, by Box and Muller's formula."""
    radius = np.sqrt(-2.0 * np.log(1.0 - _uniform(seed, counter)))
    return radius * np.cos(2.0 * np.pi * _uniform(seed, counter + 1))


@kernel
def _quantile(levels: NDArray[np.float64], values: NDArray[np.float64], u: float) -> float:
    """Linear interpolation of a quantile function; ``u`` beyond the levels takes the end value."""
    k = np.searchsorted(levels, u)
    if k == 0:
        return values[0]
    if k == len(levels):
        return values[-1]
    share = (u - levels[k - 1]) / (levels[k] - levels[k - 1])
    return values[k - 1] + share * (values[k] - values[k - 1])


@kernel
def _draw_triple(
    seed: int,
    counter: int,
    noise: Noise,
    region: Integer,
    spread: float,
    triple: NDArray[np.float64],
) -> None:
    """Draws three deviations from the expected mean, in ascending order; uses three words."""
    ratio = _quantile(noise.levels, noise.spread[region], _uniform(seed, counter))
    shift = _quantile(noise.levels, noise.mean[region], _uniform(seed, counter + 1))
    excess = ratio * spread / float(noise.usual[region])
    middle_bin = np.searchsorted(noise.bin_edges, excess)
    shift += float(noise.shift[region]) * excess
    middle = _quantile(noise.levels, noise.middle[middle_bin], _uniform(seed, counter + 2))
    centre = (1.0 + middle) / 3.0
    scale = np.sqrt((centre**2 + (middle - centre) ** 2 + (1.0 - centre) ** 2) / 2.0)
    width = ratio * spread / scale
    triple[0] = shift - centre * width
    triple[1] = shift + (middle - centre) * width
    triple[2] = shift + (1.0 - centre) * width


@kernel
def _draw_cell(
    seed: int,
    noise: Noise,
    expected: float,
    spread: float,
    guess: float,
    level: float,
    failures: int,
    excess: int,
    best: int,
    validation: NDArray[np.int32],
) -> None:
    """Draws the correct validation images of a cell's three runs, in random order.

    Args:
        seed: Of the cell.
        noise: The noise model.
        expected: Mean validation accuracy of the runs that did not fail.
        spread: Expected standard deviation between them.
        guess: Test accuracy that the structure promises.
        level: Mean test accuracy of the runs that did not fail.
        failures: Number of failed runs.
        excess: Correct images by which one of the failed runs was better than chance.
        best: Correct images of the best run if that is known, else -1.
        validation: (3,) int32; receives the result.
    """
    for run in range(3):
        validation[run] = noise.failed[0]
    region = np.searchsorted(noise.region_edges, level)
    triple = np.empty(3)
    chosen = np.empty(3)
    if best >= 0:
        # Of many candidates take one whose best run is near the known one, as often as its nearness
        # says: the width of the window is small beside the spread. What is left is a shift.
        target = best / IMAGES - expected
        width = 0.15 * spread
        nearest = np.inf
        for candidate in range(_CANDIDATES):
            _draw_triple(seed, 16 + 4 * candidate, noise, region, spread, triple)
            gap = abs(triple[2] - target)
            if gap < nearest:
                nearest = gap
                chosen[:] = triple
            if gap < width:
                break
        chosen += target - chosen[2]
    else:
        room = max(guess, level) + noise.headroom[region, 0] - expected
        room = min(room, noise.headroom[region, 1], noise.ceiling / IMAGES - expected)
        for attempt in range(_TRIES):
            _draw_triple(seed, 16 + 4 * attempt, noise, region, spread, chosen)
            if chosen[2] <= room:
                break
        if chosen[2] > room:
            # Nothing near the expected spread fits under the ceiling: the cell gets as much of it
            # as does.
            chosen *= room / chosen[2] if room > 0 else 0.0
    # Which of the three the failed runs replace, and the order of the repeats.
    first = np.int64(3.0 * _uniform(seed, 0))
    second = np.int64(2.0 * _uniform(seed, 1))
    order = np.array([first, (first + 1 + second) % 3, (first + 2 - second) % 3])
    if failures > 0:
        validation[order[0]] += excess
    # Failed runs take the place of the lower ones, so that a known best stays the best.
    for rank in range(2, failures - 1, -1):
        accuracy = expected + chosen[rank]
        if best < 0 and failures > 0:
            # The mean of the runs that are left is what the mean of three would have been.
            rest = 0.0
            for other in range(failures, 3):
                rest += chosen[other] / (3 - failures)
            accuracy += (chosen[0] + chosen[1] + chosen[2]) / 3.0 - rest
        count = np.int64(np.rint(accuracy * IMAGES))
        ceiling = best if best >= 0 else noise.ceiling
        validation[order[rank]] = min(max(count, noise.failed[0]), ceiling)


@kernel
def _draw_tests(
    seed: int,
    noise: Noise,
    level: float,
    failures: int,
    total: int,
    validation: NDArray[np.int32],
    test: NDArray[np.int32],
) -> None:
    """Draws the correct test images of three runs, whose sum is known.

    Args:
        seed: Of the cell.
        noise: The noise model.
        level: Mean test accuracy of the runs that did not fail.
        failures: Number of failed runs.
        total: Sum of the three.
        validation: (3,) int32; of the same runs. The lowest ones are those that failed.
        test: (3,) int32; receives the result.
    """
    region = np.searchsorted(noise.region_edges, level)
    rank = np.argsort(validation)
    left = 3 - failures
    mean = 0.0
    for k in range(failures, 3):
        mean += validation[rank[k]] / left
    deviation = np.zeros(3)
    centre = 0.0
    for k in range(failures, 3):
        run = rank[k]
        deviation[run] = noise.test_slope * (validation[run] - mean)
        deviation[run] += noise.test_noise[region] * IMAGES * _normal(seed, 4 + 2 * run)
        centre += deviation[run] / left
    remaining = total
    for k in range(3):
        run = rank[k]
        if k < failures:
            test[run] = noise.failed[1] + (validation[run] - noise.failed[0])
        else:
            test[run] = np.int64(np.rint(level * IMAGES + deviation[run] - centre))
        remaining -= test[run]
    # Rounding leaves an image or two over.
    test[rank[2]] += remaining


@kernel
def draw_cells(
    seeds: NDArray[np.uint64],
    noise: Noise,
    expected: NDArray[np.float64],
    spread: NDArray[np.float64],
    guess: NDArray[np.float64],
    level: NDArray[np.float64],
    failures: NDArray[np.int64],
    best: NDArray[np.int64],
    totals: NDArray[np.int64],
    validation: NDArray[np.int32],
    test: NDArray[np.int32],
) -> None:
    """Draws N cells into ``validation`` and ``test``, both (N, 3) int32.

    The other arguments are (N,) arrays of those of :func:`_draw_cell` and :func:`_draw_tests`.
    """
    for i in range(len(seeds)):
        alive = 3 - failures[i]
        excess = totals[i] - failures[i] * noise.failed[1]
        excess -= np.int64(np.rint(alive * level[i] * IMAGES)) if alive > 0 else 0
        _draw_cell(
            seeds[i],
            noise,
            expected[i],
            spread[i],
            guess[i],
            level[i],
            failures[i],
            excess,
            best[i],
            validation[i],
        )
        _draw_tests(seeds[i], noise, level[i], failures[i], totals[i], validation[i], test[i])


@kernel
def draw_factors(
    seeds: NDArray[np.uint64],
    levels: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Draws (N, 3) values of a quantile function into ``out``, from words apart from the above."""
    for i in range(len(seeds)):
        for run in range(3):
            out[i, run] = _quantile(levels, quantiles, _uniform(seeds[i], 1000 + run))
