"""What was measured of a cell's validation, and runs drawn so that they agree with it.

Where something of the cell was measured (its best run, the mean of its runs, or single ones), many
donors are tried and one that agrees is kept; see ``data/README.md``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.model.donors import DONORS, Noise, draw_triple, uniform

IMAGES = 9984  # Accuracies are multiples of 1 / IMAGES: 39 batches of 256 images.

# Donors that are tried for a cell of which something is known.
_CANDIDATES = 256

# The words of each candidate, and where the first one's begin.
_WORDS = 16
FIRST_WORD = 16


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
            place = np.int64(count * uniform(seed, counter + k))
            slots[k] = free[place]
            count -= 1
            free[place] = free[count]


@kernel
def agree(
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
        counter = FIRST_WORD + _WORDS * candidate
        draw_triple(seed, counter, noise, first, window, spread, luck, effect, triple)
        _assign(seed, counter + DONORS + 2, best, runs, lowest, places)
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
def settle(
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
