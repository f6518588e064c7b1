"""Draws what a completed table models again: how much depends on the one draw that it holds.

A draw is the whole model anew: its parameters, which measurements leave uncertain, and then every
run. ``completed_draw(table, 0)`` is the table's own view ``completed``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.model.completion import Completion
from nprep.model.known_runs import IMAGES, Known
from nprep.spaces.nb101.cells import cell_keys
from nprep.spaces.nb101.facts import REPEATS
from nprep.spaces.nb101.features import structure_features
from nprep.table.schema import Provenance
from nprep.table.sources._complete import FINAL, draw_validation
from nprep.table.table import Table
from nprep.table.view import View

# Expectations of so many draws are computed together: most of the work is the same for all.
_TOGETHER = 8


def known_of(table: Table, view: View) -> Known:
    """What is measured of the validation of a view's cells.

    Sources that deliver one repeat with its training time deliver the best of three; a repeat
    without is any of the three.
    """
    metric = table.metrics["final", "validation_accuracy"]
    measured = metric.provenance[view.rows, FINAL] == Provenance.MEASURED
    images = np.rint(view.validation.astype(np.float64) * IMAGES).astype(np.int64)
    seconds = table.metrics.get(("final", "training_seconds"))
    timed = np.zeros_like(measured)
    if seconds is not None:
        timed = measured & (seconds.provenance[view.rows, FINAL] == Provenance.MEASURED)
    known = Known.nothing(len(view))
    known.best[:] = np.where(timed, images, -1).max(axis=1)
    known.runs[:] = -np.sort(-np.where(measured & ~timed, images, -1), axis=1)
    stored = table.means.get(("final", "validation_accuracy"))
    if stored is not None:
        there = stored.provenance[view.rows, FINAL] == Provenance.MEASURED
        mean = stored.values[view.rows[there], FINAL].astype(np.float64)
        known.total[there] = np.rint(mean * (REPEATS * IMAGES))
    return known


def _keep_places(
    validation: NDArray[np.int32],
    test: NDArray[np.int32],
    images: NDArray[np.int64],
    fixed: NDArray[np.bool_],
) -> None:
    """Swaps the drawn runs of each cell so that those that are known stand where they stood.

    Args:
        validation: (N, 3) drawn; changed.
        test: (N, 3) drawn; changed alike.
        images: (N, 3) of the table.
        fixed: (N, 3) which of these are known.
    """
    for k in range(REPEATS):
        for other in range(REPEATS):
            if other == k:
                continue
            # A place before this one that is settled is not touched.
            settled = fixed[:, other] & (other < k)
            rows = np.flatnonzero(
                fixed[:, k]
                & (validation[:, k] != images[:, k])
                & (validation[:, other] == images[:, k])
                & ~settled
            )
            for runs in (validation, test):
                runs[rows, k], runs[rows, other] = runs[rows, other], runs[rows, k]


def redraw(table: Table, build_seeds: Iterable[int], threads: int | None = None) -> Iterator[View]:
    """The view ``completed`` as builds with other seeds would have made it.

    Measured values stay, and drawn ones agree with them as in a build; the order of a cell's other
    repeats may differ from a build's. Training times stay as they are.

    Args:
        table: With the view ``completed``.
        build_seeds: Not negative; one view for each.
        threads: None: one for each processor. The result does not depend on it.

    Raises:
        TableError: If the table has no such view, or its test means are not those of three runs.
    """
    threads = threads or os.cpu_count() or 1
    view = table.view("completed")
    exact = view.test.astype(np.float64) * (REPEATS * IMAGES)
    total = np.rint(exact).astype(np.int64)
    if np.abs(exact - total).max() > 0.01:
        raise TableError(
            f"{table.path}: its mean test accuracies are not means of three runs on {IMAGES:,} "
            "images, so that the model of such runs cannot be drawn again."
        )
    # A view exists only where this metric does.
    codes = table.metrics["final", "validation_accuracy"].provenance[view.rows, FINAL]
    fixed = (codes == Provenance.MEASURED) | (codes == Provenance.DERIVED)
    complete = fixed.all(axis=1)
    known = known_of(table, view)
    images = np.rint(view.validation.astype(np.float64) * IMAGES).astype(np.int64)
    condition = str(table.attributes.get("condition", "none"))
    parameters_of_network = table.trainable_parameters[view.rows]

    model = Completion.load()
    features = structure_features(view.cells, parameters_of_network)
    keys = cell_keys(view.cells)
    seeds = list(build_seeds)
    for start in range(0, len(seeds), _TOGETHER):
        some = seeds[start : start + _TOGETHER]
        parameters = [model.parameters(seed) for seed in some]
        expectations = model.expect_many(features, total, parameters, threads)
        for seed, own, expectation in zip(some, parameters, expectations, strict=True):
            drawn, tests = draw_validation(
                model,
                expectation,
                own,
                total,
                known,
                keys,
                parameters_of_network,
                seed,
                condition,
                threads,
            )
            _keep_places(drawn, tests, images, fixed & ~complete[:, None])
            validation = (drawn / IMAGES).astype(np.float32)
            validation[complete] = view.validation[complete]
            test_runs = None
            if view.test_runs is not None:
                test_runs = (tests / IMAGES).astype(np.float32)
                test_runs[complete] = view.test_runs[complete]
            yield replace(view, validation=validation, test_runs=test_runs)


def build_seed_of(table: Table, draw: int) -> int:
    """The build seed of a draw: that of the table, and as many further.

    Raises:
        TableError: If the number is negative, or the table does not say how it was drawn.
    """
    if draw < 0:
        raise TableError(f"the draw {draw} is no number of a draw: give one from 0 on.")
    if "build_seed" not in table.attributes:
        raise TableError(
            f"{table.path}: nothing in it was drawn from a model, so there are no other draws."
        )
    return int(table.attributes["build_seed"]) + draw


def completed_draw(table: Table, draw: int, threads: int | None = None) -> View:
    """Draw number ``draw`` of a table's view ``completed``; the same for the same number.

    Args:
        table: With the view ``completed``.
        draw: 0: the table's own; others: what builds with the seeds from
            ``build_seed_of`` would have made.
        threads: None: one for each processor. The result does not depend on it.

    Raises:
        TableError: As ``redraw`` and ``build_seed_of``.
    """
    if draw == 0:
        return table.view("completed")
    return next(redraw(table, [build_seed_of(table, draw)], threads))
