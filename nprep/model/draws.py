"""Draws the repeats of cells whose validation accuracy was not measured, or not all of it.

A cell's three runs are drawn together: a *donor*, a measured cell of about the same test accuracy,
gives how far the mean of its runs lay from what was expected of it and how the three lay about that
mean. Mean, spread and middle run so keep their joint law;
nothing caps them. Where something of the cell was measured (its best run, the mean of its runs, or
single ones), many donors are tried and one that agrees is kept; see ``data/README.md``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.search.noise import noise_word

IMAGES = 9984  # Accuracies are multiples of 1 / IMAGES: 39 batches of 256 images.
_HALVES = 2.0**-53

# Donors that are tried for a cell of which something is known.
_CANDIDATES = 256

# Donors of which the most similar is taken, and by how much its runs may be stretched or shrunk.
_DONORS = 8
_STRETCH = 1.25
# A difference in luck that counts like spreads of 1 : e.
_LUCK = 0.03

# The words of each candidate, and where the first one's begin.
_WORDS = 16
_FIRST = 16


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


class Known(NamedTuple):
    """What was measured of the validation of N cells, in correct images.

    Attributes:
        best: (N,) int64; of the best of the three runs, else -1.
        total: (N,) int64; the sum of the three, else -1.
        runs: (N, 3) int64; of single runs, those that are not known -1 and last.
    """

    best: NDArray[np.int64]
    total: NDArray[np.int64]
    runs: NDArray[np.int64]

    @staticmethod
    def nothing(count: int) -> Known:
        """Nothing known of ``count`` cells."""
        return Known(
            np.full(count, -1, np.int64),
            np.full(count, -1, np.int64),
            np.full((count, 3), -1, np.int64),
        )

    def take(self, chosen: slice | NDArray[np.integer]) -> Known:
        """Some of the cells."""
        return Known(self.best[chosen], self.total[chosen], self.runs[chosen])


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
    for k in range(_DONORS):
        one = first + np.int64(window * _uniform(seed, counter + k))
        other = spread / noise.donor_spread[one]
        distance = abs(np.log(other)) + abs(luck - noise.donor_luck[one]) / _LUCK
        if distance < nearest:
            chosen, nearest, ratio = one, distance, other
    scale = min(max(ratio, 1.0 / _STRETCH), _STRETCH)
    donor = noise.donors[chosen]
    mean = donor[0]
    if effect > 0.0:
        mean += effect * _normal(seed, counter + _DONORS)
    triple[0] = mean + scale * donor[1]
    triple[1] = mean + scale * donor[2]
    triple[2] = mean - scale * (donor[1] + donor[2])


@kernel
def _assign(
    seed: int,
    counter: int,
    best: int,
    runs: NDArray[np.int64],
    lowest: int,
    slots: NDArray[np.int64],
) -> None:
    """Which of the three runs, by rank, each known one is; -1 in ``slots`` where none is known.

    A run that equals the known best is the best; of the others any may be any.
    """
    slots[:] = -1
    free = np.empty(3, np.int64)
    count = 0
    for rank in range(lowest, 3):
        if rank < 2 or best < 0:
            free[count] = rank
            count += 1
    taken_best = False
    for k in range(3):
        if runs[k] < 0:
            continue
        if best >= 0 and runs[k] == best and not taken_best:
            slots[k] = 2
            taken_best = True
        elif count > 0:
            place = np.int64(count * _uniform(seed, counter + k))
            slots[k] = free[place]
            count -= 1
            free[place] = free[count]


@kernel
def _agree(
    seed: int,
    noise: Noise,
    first: int,
    window: int,
    expected: float,
    spread: float,
    luck: float,
    effect: float,
    lowest: int,
    best: int,
    total: int,
    runs: NDArray[np.int64],
    chosen: NDArray[np.float64],
    slots: NDArray[np.int64],
) -> None:
    """Sets ``chosen`` to runs that agree with what is known, and ``slots`` to which is which.

    Of many candidates the first is kept that is near enough, so that each is kept as often as its
    nearness says: the windows are small beside the spread. What is left is a shift.
    """
    triple, places = np.empty(3), np.empty(3, np.int64)
    nearest = np.inf
    for candidate in range(_CANDIDATES):
        counter = _FIRST + _WORDS * candidate
        _draw_triple(seed, counter, noise, first, window, spread, luck, effect, triple)
        _assign(seed, counter + _DONORS + 2, best, runs, lowest, places)
        gap, shift, facts = 0.0, 0.0, 0
        if best >= 0:
            off = best / IMAGES - expected - triple[2]
            gap = max(gap, abs(off) / 0.15)
            shift += off
            facts += 1
        if total >= 0:
            mean = 0.0
            for rank in range(lowest, 3):
                mean += triple[rank] / (3 - lowest)
            off = total / (IMAGES * (3 - lowest)) - expected - mean
            gap = max(gap, abs(off) / 0.10)
            shift += off
            facts += 1
        for k in range(3):
            if places[k] >= 0 and not (best >= 0 and places[k] == 2):
                off = runs[k] / IMAGES - expected - triple[places[k]]
                gap = max(gap, abs(off) / 0.15)
                shift += off
                facts += 1
        if gap < nearest:
            nearest = gap
            for k in range(3):
                chosen[k] = triple[k] + shift / max(facts, 1)
                slots[k] = places[k]
        if gap < spread:
            break


@kernel
def _settle(
    lowest: int,
    best: int,
    total: int,
    runs: NDArray[np.int64],
    slots: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Makes the counts of images, by rank, agree exactly with what is known.

    Args:
        lowest: The first rank that did not fail.
        best: The best run, or -1.
        total: The sum of the runs that did not fail, or -1.
        runs: (3,) known runs.
        slots: (3,) their ranks.
        counts: (3,) int64 drawn counts by rank, which are changed.
    """
    fixed = np.zeros(3, np.bool_)
    for k in range(3):
        if slots[k] >= 0:
            counts[slots[k]] = runs[k]
            fixed[slots[k]] = True
    top = IMAGES
    if best >= 0:
        counts[2] = best
        fixed[2] = True
        top = best
    for rank in range(lowest, 3):
        counts[rank] = min(max(counts[rank], 0), top)
    if total < 0:
        return
    left = total
    free = 0
    for rank in range(lowest, 3):
        left -= counts[rank]
        free += not fixed[rank]
    # Shares what is left among the free ones, image by image at the end; none passes the best.
    while left != 0 and free > 0:
        step = left // free if abs(left) >= free else (1 if left > 0 else -1)
        moved = 0
        for rank in range(lowest, 3):
            if fixed[rank] or left == 0:
                continue
            value = min(max(counts[rank] + step, 0), top)
            moved += abs(value - counts[rank])
            left -= value - counts[rank]
            counts[rank] = value
        if moved == 0:
            break


@kernel
def _draw_cell(
    seed: int,
    noise: Noise,
    expected: float,
    spread: float,
    luck: float,
    effect: float,
    level: float,
    failures: int,
    excess: int,
    best: int,
    total: int,
    runs: NDArray[np.int64],
    validation: NDArray[np.int32],
) -> None:
    """Draws the correct validation images of a cell's three runs, in random order.

    Args:
        seed: Of the cell.
        noise: The law.
        expected: Mean validation accuracy of the runs that did not fail.
        spread: Expected standard deviation between them.
        luck: Their test accuracy minus the accuracy predicted from structure.
        effect: Standard deviation of what the cell has beyond structure and the donors'.
        level: Mean test accuracy of the runs that did not fail.
        failures: Number of failed runs.
        excess: Correct images by which one of the failed runs was better than chance.
        best: Correct images of the best run if that is known, else -1.
        total: Sum of the three if that is known, else -1.
        runs: (3,) correct images of single runs, -1 and last where not known.
        validation: (3,) int32; receives the result.
    """
    window = min(noise.window, len(noise.donor_level))
    first = int(np.searchsorted(noise.donor_level, level)) - window // 2
    first = min(max(first, 0), len(noise.donor_level) - window)
    chosen = np.empty(3)
    slots = np.full(3, -1, np.int64)
    alive = total
    if total >= 0:
        alive = max(total - failures * noise.failed[0] - (excess if failures > 0 else 0), 0)
    known = best >= 0 or total >= 0 or runs[0] >= 0
    if known and failures < 3:
        _agree(
            seed,
            noise,
            first,
            window,
            expected,
            spread,
            luck,
            effect,
            failures,
            best,
            alive,
            runs,
            chosen,
            slots,
        )
    else:
        _draw_triple(seed, _FIRST, noise, first, window, spread, luck, effect, chosen)
    # Which of the three the failed runs replace, and the order of the repeats.
    one = np.int64(3.0 * _uniform(seed, 0))
    two = np.int64(2.0 * _uniform(seed, 1))
    order = np.array([one, (one + 1 + two) % 3, (one + 2 - two) % 3])
    counts = np.empty(3, np.int64)
    mean, rest = 0.0, 0.0
    for rank in range(3):
        mean += chosen[rank] / 3.0
        if rank >= failures:
            rest += chosen[rank] / max(3 - failures, 1)
    for rank in range(3):
        if rank < failures:
            # Failed runs take the place of the lower ones, so that a known best stays the best.
            counts[rank] = noise.failed[0] + (excess if rank == 0 else 0)
            continue
        accuracy = expected + chosen[rank]
        if not known and failures > 0:
            # The mean of the runs that are left is what the mean of three would have been.
            accuracy += mean - rest
        counts[rank] = np.int64(np.rint(accuracy * IMAGES))
        counts[rank] = min(max(counts[rank], noise.failed[0]), IMAGES)
    if known and failures < 3:
        _settle(failures, best, alive, runs, slots, counts)
    if total >= 0 and failures > 0:
        # The failed runs were not quite at chance.
        counts[0] += total - (counts[0] + counts[1] + counts[2])
    for rank in range(3):
        validation[order[rank]] = counts[rank]


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
        noise: The law.
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
    # Rounding leaves an image or two over; a failed run may be further from chance than usual.
    test[rank[0] if failures > 0 else rank[2]] += remaining


@kernel
def draw_cells(
    seeds: NDArray[np.uint64],
    noise: Noise,
    expected: NDArray[np.float64],
    spread: NDArray[np.float64],
    luck: NDArray[np.float64],
    effect: NDArray[np.float64],
    level: NDArray[np.float64],
    failures: NDArray[np.int64],
    known: Known,
    totals: NDArray[np.int64],
    validation: NDArray[np.int32],
    test: NDArray[np.int32],
) -> None:
    """Draws N cells into ``validation`` and ``test``, both (N, 3) int32.

    The other arguments are (N,) arrays of those of ``_draw_cell`` and ``_draw_tests``.
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
            luck[i],
            effect[i],
            level[i],
            failures[i],
            excess,
            known.best[i],
            known.total[i],
            known.runs[i],
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
            out[i, run] = _quantile(levels, quantiles, _uniform(seeds[i], (1 << 20) + run))
