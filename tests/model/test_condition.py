"""Draws that are made to agree with published facts."""

from __future__ import annotations

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.model.condition import (
    ABOVE_BEST_TEST,
    BEST_RUN,
    BEST_SMALL_TOTAL,
    BEST_TEST_RUN,
    BEST_TOTAL,
    SMALL_PARAMETERS,
    condition_published,
)
from nprep.model.known_runs import Known

CELLS = 2000


def made_up() -> tuple[np.ndarray, ...]:
    """Runs that exceed every published bound in some cells; sums of test images; parameters."""
    rng = np.random.default_rng(0)
    parameters = np.where(np.arange(CELLS) < 200, 500_000, 5_000_000).astype(np.int32)
    centre = np.where(parameters < SMALL_PARAMETERS, 8900, 9400)
    runs = np.rint(rng.normal(centre[:, None], 60, (CELLS, 3))).astype(np.int32)
    total = rng.integers(27_000, 28_000, CELLS)
    total[1234] = 28_250
    return runs, np.zeros((CELLS, 3), np.int32), total, parameters


def again(rows: np.ndarray, known: Known, attempt: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([attempt, len(rows)])
    low = np.where(rows < 200, 8800, 9300)
    runs = np.rint(rng.normal(low[:, None], 40, (len(rows), 3))).astype(np.int32)
    for k in np.flatnonzero(known.total >= 0):
        rest = known.total[k] - known.best[k]
        runs[k] = known.best[k], rest // 2, rest - rest // 2
    return runs, np.zeros_like(runs)


def test_a_conditioned_draw_has_the_published_facts() -> None:
    runs, test, total, parameters = made_up()
    small = parameters < SMALL_PARAMETERS
    known = Known.nothing(CELLS)
    known.best[300:400] = runs[300:400].max(axis=1)
    known.total[400:500] = runs[400:500].sum(axis=1)
    before = runs.copy()
    assert before.max() > BEST_RUN
    assert before[500:].sum(axis=1).max() > BEST_TOTAL
    before_known = before[400:500].copy()
    condition_published(runs, test, total, parameters, known, again)
    np.testing.assert_array_equal(runs[400:500], before_known)
    sums = runs.sum(axis=1)
    free = known.total < 0
    assert sums[free].max() <= BEST_TOTAL
    assert runs[free].max() == BEST_RUN
    assert sums[small].max() == BEST_SMALL_TOTAL
    assert (sums > sums[1234]).sum() == ABOVE_BEST_TEST
    assert runs[1234].max() == BEST_TEST_RUN


def test_cells_that_always_exceed_the_bounds_are_an_error() -> None:
    runs, test, total, parameters = made_up()

    def stubborn(rows: np.ndarray, known: Known, attempt: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(rows), 3), 9900, np.int32), np.zeros((len(rows), 3), np.int32)

    with pytest.raises(TableError, match="without --condition published"):
        condition_published(runs, test, total, parameters, Known.nothing(CELLS), stubborn)
