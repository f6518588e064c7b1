"""Completes test means of every cell to a table with repeats, validation and training time."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.model.completion import Completion, cell_seeds
from nprep.model.draws import IMAGES
from nprep.spaces.nb101.cells import CellBatch, cell_keys
from nprep.spaces.nb101.facts import BUDGETS, REPEATS
from nprep.spaces.nb101.features import structure_features
from nprep.table.schema import Metric, Provenance

FINAL = BUDGETS.index(108)


@dataclass(frozen=True)
class Drawn:
    """Modelled repeats at 108 epochs.

    Attributes:
        validation: (N, 3) int32 correct images of 9,984.
        test: (N, 3) int32; they add up to the given totals.
        seconds: (N, 3) float64.
    """

    validation: NDArray[np.int32]
    test: NDArray[np.int32]
    seconds: NDArray[np.float64]


def draw_all(
    cells: CellBatch,
    trainable_parameters: NDArray[np.int32],
    total: NDArray[np.integer],
    best: NDArray[np.integer] | None,
    build_seed: int,
    model: Completion | None = None,
    threads: int | None = None,
) -> Drawn:
    """Draws the repeats of cells from the completion model.

    Args:
        cells: N cells.
        trainable_parameters: (N,) int32.
        total: (N,) sum of the correct test images of three runs, each of 9,984.
        best: (N,) correct validation images of a cell's best run where measured, else -1.
        build_seed: The draws of a cell depend on this and its key alone.
        model: None: the one that ships with the project.
        threads: None: one for each processor. The result does not depend on it.
    """
    model = model or Completion.load()
    threads = threads or os.cpu_count() or 1
    features = structure_features(cells, trainable_parameters)
    seeds = cell_seeds(cell_keys(cells), build_seed)
    known = np.full(len(cells), -1) if best is None else best
    expectation = model.expect(features, total, threads)
    validation, test = model.draw(expectation, total, known, seeds, threads)
    return Drawn(validation, test, model.draw_seconds(features, seeds, threads))


def empty(rows: int) -> Metric:
    """A metric of repeats with every value missing."""
    shape = (rows, len(BUDGETS), REPEATS)
    return Metric(np.full(shape, np.nan, np.float32), np.zeros(shape, np.uint8))


def modelled_metrics(drawn: Drawn, code: Provenance = Provenance.MODELLED) -> dict[str, Metric]:
    """Draws as metrics, by name.

    A run's time per epoch does not depend on its length, so the time at a lower budget is modelled
    as its share of the time at 108 epochs.

    Args:
        drawn: The draws.
        code: What to call them.
    """
    rows = len(drawn.validation)
    validation, test, seconds = empty(rows), empty(rows), empty(rows)
    for metric, values in ((validation, drawn.validation), (test, drawn.test)):
        metric.values[:, FINAL] = values / IMAGES
        metric.provenance[:, FINAL] = code
    for k, budget in enumerate(BUDGETS):
        seconds.values[:, k] = drawn.seconds * (budget / BUDGETS[FINAL])
    seconds.provenance[:] = code
    return {
        "validation_accuracy": validation,
        "test_accuracy": test,
        "training_seconds": seconds,
    }


def measured_test_means(total: NDArray[np.integer]) -> Metric:
    """Means over three measured repeats at 108 epochs, from the sums of their correct images."""
    means = np.full((len(total), len(BUDGETS)), np.nan, np.float32)
    means[:, FINAL] = np.asarray(total) / (REPEATS * IMAGES)
    return Metric.measured(means)
