"""Completes test means of every cell to a table with repeats, validation and training time."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.model.completion import Completion, cell_seeds
from nprep.model.condition import CONDITIONS, condition_published
from nprep.model.expectation import Expectation, Parameters
from nprep.model.known_runs import IMAGES, Known
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


def add_draw_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of a source that draws what was not measured."""
    parser.add_argument(
        "--build-seed", type=int, default=0, help="seed of the modelled values (default: 0)"
    )
    parser.add_argument(
        "--condition",
        choices=CONDITIONS,
        default="none",
        help="published: draw so that the highest published accuracies of the full data set are "
        "met; the table then says nothing about them (default: none)",
    )


def check_draw_arguments(arguments: argparse.Namespace) -> None:
    """Checks them.

    Raises:
        TableError: If the seed is negative.
    """
    if arguments.build_seed < 0:
        raise TableError(f"--build-seed is {arguments.build_seed}: give a number from 0 on.")


def draw_attributes(arguments: argparse.Namespace) -> dict[str, str | int]:
    """What the file is to say of the draw."""
    return {"build_seed": arguments.build_seed, "condition": arguments.condition}


def condition_note(condition: str) -> str:
    """What a view's description is to add."""
    if condition == "none":
        return ""
    return "; drawn so as to agree with the highest accuracies published of the full data set"


def draw_validation(
    model: Completion,
    expectation: Expectation,
    parameters: Parameters,
    total: NDArray[np.integer],
    known: Known,
    keys: NDArray[np.uint64],
    trainable_parameters: NDArray[np.int32],
    build_seed: int,
    condition: str = "none",
    threads: int = 1,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draws validation and test of three runs of all cells.

    Args:
        model: The completion model.
        expectation: Of N cells.
        parameters: Those of the expectation.
        total: (N,) sums of their correct test images.
        known: What was measured of their validation.
        keys: (N,) canonical keys.
        trainable_parameters: (N,) int32.
        build_seed: Not negative.
        condition: One of ``nprep.model.condition.CONDITIONS``.
        threads: Number of threads; the result does not depend on it.

    Returns:
        (N, 3) int32 correct validation images and (N, 3) int32 correct test images.
    """
    seeds = cell_seeds(keys, build_seed)
    validation, test = model.draw(expectation, total, known, seeds, parameters, threads)
    if condition == "published":

        def redraw(
            rows: NDArray[np.int64], facts: Known, attempt: int
        ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
            # Other words for each attempt, from the cell's seed.
            other = seeds[rows] + np.uint64(attempt * 0x9E3779B97F4A7C15 % 2**64)
            return model.draw(expectation.take(rows), total[rows], facts, other, parameters)

        condition_published(validation, test, total, trainable_parameters, known, redraw)
    return validation, test


def draw_all(
    cells: CellBatch,
    trainable_parameters: NDArray[np.int32],
    total: NDArray[np.integer],
    known: Known | None,
    build_seed: int,
    condition: str = "none",
    model: Completion | None = None,
    threads: int | None = None,
) -> Drawn:
    """Draws the repeats of cells from the completion model, with parameters drawn first.

    Args:
        cells: N cells.
        trainable_parameters: (N,) int32.
        total: (N,) sum of the correct test images of three runs, each of 9,984.
        known: What was measured of their validation; None: nothing.
        build_seed: The draws of a cell depend on this and its key alone.
        condition: One of ``nprep.model.condition.CONDITIONS``.
        model: None: the one that ships with the project.
        threads: None: one for each processor. The result does not depend on it.
    """
    model = model or Completion.load()
    threads = threads or os.cpu_count() or 1
    features = structure_features(cells, trainable_parameters)
    keys = cell_keys(cells)
    parameters = model.parameters(build_seed)
    expectation = model.expect(features, total, parameters, threads)
    validation, test = draw_validation(
        model,
        expectation,
        parameters,
        total,
        Known.nothing(len(cells)) if known is None else known,
        keys,
        trainable_parameters,
        build_seed,
        condition,
        threads,
    )
    seconds = model.draw_seconds(features, cell_seeds(keys, build_seed), threads)
    return Drawn(validation, test, seconds)


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
