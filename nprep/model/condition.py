"""Draws that agree with what is published of the full data set: the option ``published``.

By default a completed table knows nothing of these facts, so that it can be held against them. With
this option it is made to agree with some of them, and says so wherever it is shown:

* no cell's mean validation exceeds the published highest, and no single run the published highest;
* one run is that highest one;
* among cells below 800,000 parameters the best mean is the published one;
* the best validation of the cell with the best mean test accuracy is the published one, and as many
  cells as published have a higher mean validation.

Cells that would exceed a bound are drawn again; the runs that are published, of unknown cells, are
given to the cells that came nearest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.model.known_runs import Known

CONDITIONS = ("none", "published")

# Constants of bkj/nasbench's notes and of nas_benchmarks: sums of three runs, or runs, in images.
BEST_TOTAL = 28471
BEST_RUN = 9503
SMALL_PARAMETERS = 800_000
BEST_SMALL_TOTAL = 26911
BEST_TEST_RUN = 9472
ABOVE_BEST_TEST = 174

_ROUNDS = 100

# From the cells to draw again, what is known of them and the round to their runs, (M, 3) each.
Redraw = Callable[[NDArray[np.int64], Known, int], tuple[NDArray[np.int32], NDArray[np.int32]]]


def _limits(parameters: NDArray[np.int32]) -> NDArray[np.int64]:
    """The highest published sum of three runs of each cell's kind."""
    return np.where(parameters < SMALL_PARAMETERS, BEST_SMALL_TOTAL, BEST_TOTAL)


def _raise_one(
    validation: NDArray[np.int32], free: NDArray[np.bool_], value: int, limits: NDArray[np.int64]
) -> None:
    """Gives the free cell with the highest run, of those that may have it, the run ``value``."""
    top = validation.max(axis=1)
    room = validation.sum(axis=1) - top + value <= limits
    row = int(np.where(free & room, top, -1).argmax())
    validation[row, validation[row].argmax()] = value


def condition_published(
    validation: NDArray[np.int32],
    test: NDArray[np.int32],
    total: NDArray[np.integer],
    parameters: NDArray[np.int32],
    known: Known,
    redraw: Redraw,
) -> None:
    """Changes a draw of all cells so that it agrees with the published facts.

    Args:
        validation: (N, 3) correct images, drawn; are changed.
        test: (N, 3) likewise.
        total: (N,) sums of correct test images.
        parameters: (N,) trainable parameters.
        known: What was measured of the cells.
        redraw: Draws cells again.

    Raises:
        TableError: If some cell always exceeds the bounds.
    """
    limits = _limits(parameters)
    measured = (known.best >= 0) | (known.total >= 0) | (known.runs[:, 0] >= 0)

    def within(rows: NDArray[np.int64], round_: int) -> int:
        for k in range(round_, _ROUNDS):
            over = (validation[rows].sum(axis=1) > limits[rows]) | (
                validation[rows].max(axis=1) > BEST_RUN
            )
            rows = rows[over]
            if not len(rows):
                return k
            validation[rows], test[rows] = redraw(rows, known.take(rows), k)
        raise TableError(
            f"{len(rows)} cells exceed the published bounds in every draw: build the table without "
            "--condition published."
        )

    # Measured cells obey the bounds as they are; of those with a known sum there is nothing to do.
    last = within(np.flatnonzero(known.total < 0), 1)
    if validation.max() < BEST_RUN:
        _raise_one(validation, ~measured, BEST_RUN, limits)
    small = parameters < SMALL_PARAMETERS
    sums = validation.sum(axis=1)
    if sums[small].max() < BEST_SMALL_TOTAL:
        row = int(np.where(small & ~measured, sums, -1).argmax())
        place = validation[row].argmin()
        validation[row, place] += BEST_SMALL_TOTAL - sums[row]
    # Last, for it depends on the sums of all others.
    row = int(np.argmax(total))
    sums = validation.sum(axis=1)
    sums[row] = 0
    # A lowest run of which nothing is known, and which is not the best too, can be raised.
    fixed = (known.total >= 0) | (known.runs[:, 0] >= 0)
    fixed |= validation.min(axis=1) == validation.max(axis=1)
    order = np.lexsort((fixed, -sums))
    wanted = Known.nothing(1)
    wanted.best[0], wanted.total[0] = BEST_TEST_RUN, int(sums[order[ABOVE_BEST_TEST]])
    # Of those with just this sum some are to have a higher one.
    tied = [one for one in order[:ABOVE_BEST_TEST] if sums[one] == wanted.total[0]]
    for one in tied:
        if not fixed[one]:
            validation[one, validation[one].argmin()] += 1
    chosen = np.array([row])
    validation[chosen], test[chosen] = redraw(chosen, wanted, last + 1)
