"""Draws what a completed table models again: how much hangs on the one draw that it holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from nprep.errors import TableError
from nprep.model.completion import Completion, cell_seeds
from nprep.model.draws import IMAGES
from nprep.spaces.nb101.cells import cell_keys
from nprep.spaces.nb101.facts import REPEATS
from nprep.spaces.nb101.features import structure_features
from nprep.table.schema import Provenance
from nprep.table.sources._complete import FINAL
from nprep.table.table import Table
from nprep.table.view import View


def redraw(table: Table, build_seeds: Iterable[int], threads: int | None = None) -> Iterator[View]:
    """The view ``completed`` as builds with other seeds would have made it.

    Measured validation stays; a single measured repeat is taken for the best of its cell, as in a
    build. The order of a cell's repeats may differ from a build's; training times stay as they are.

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
            "images, so that the model of such runs can't be drawn again."
        )
    # A view exists only where this metric does.
    codes = table.metrics["final", "validation_accuracy"].provenance[view.rows, FINAL]
    known = codes == Provenance.MEASURED
    complete = known.all(axis=1)
    highest = np.where(known, view.validation, 0.0).max(axis=1)
    best = np.where(known.any(axis=1), np.rint(highest * IMAGES), -1).astype(np.int64)

    model = Completion.load()
    features = structure_features(view.cells, table.trainable_parameters[view.rows])
    keys = cell_keys(view.cells)
    expectation = model.expect(features, total, threads)
    for seed in build_seeds:
        drawn, _ = model.draw(expectation, total, best, cell_seeds(keys, seed), threads)
        validation = (drawn / IMAGES).astype(np.float32)
        validation[complete] = view.validation[complete]
        yield replace(view, validation=validation)
