"""Draws the repeats of cells whose validation accuracy was not measured, or not all of it.

A cell's three runs are drawn together: their deviations from what is expected come from a donor
(``nprep.model.donors``), of many tried where something of the cell was measured
(``nprep.model.known_runs``). Test runs follow validation runs and add up to the measured sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.model.donors import Noise, draw_triple, normal, uniform
from nprep.model.known_runs import FIRST_WORD, IMAGES, Known, agree, settle


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
        agree(
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
        draw_triple(seed, FIRST_WORD, noise, first, window, spread, luck, effect, chosen)
    # Which of the three the failed runs replace, and the order of the repeats.
    one = np.int64(3.0 * uniform(seed, 0))
    two = np.int64(2.0 * uniform(seed, 1))
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
        settle(failures, best, alive, runs, slots, counts)
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
        deviation[run] += noise.test_noise[region] * IMAGES * normal(seed, 4 + 2 * run)
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
def draw_factors(
    seeds: NDArray[np.uint64],
    levels: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Draws (N, 3) values of a quantile function into ``out``, from words apart from the above."""
    for i in range(len(seeds)):
        for run in range(3):
            out[i, run] = _quantile(levels, quantiles, uniform(seeds[i], (1 << 20) + run))
