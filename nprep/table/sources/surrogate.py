"""The fitted surrogate of NASBench-101: a table of every cell from the models that ship.

It needs no input. Nothing in it is measured, and every value says so.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.model.completion import Completion, cell_seeds
from nprep.model.expectation import Expectation
from nprep.model.known_runs import IMAGES, Known
from nprep.model.surrogate import (
    Prediction,
    Surrogate,
    file_digest,
    shipped_weights,
)
from nprep.model.surrogate_features import surrogate_features
from nprep.spaces.nb101.cells import cell_keys, enumerate_space, trainable_parameters
from nprep.spaces.nb101.facts import BUDGETS, REPEATS
from nprep.spaces.nb101.features import FEATURE_NAMES
from nprep.spaces.nb101.space import NB101
from nprep.table.schema import Content, Metric, Provenance
from nprep.table.sources._complete import FINAL, Drawn, modelled_metrics

VIEW = "surrogate"
DESCRIPTION = (
    "fitted surrogate of NASBench-101, all {cells:,} cells: accuracies and training times are "
    "drawn from models fitted to measurements; none is measured"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument(
        "--build-seed",
        type=int,
        default=0,
        help="0: the landscape that ships; others: more draws from the same law (default: 0)",
    )


def is_default(arguments: argparse.Namespace) -> bool:
    """Whether these arguments build the default table, which has a place in the cache folder."""
    return bool(arguments.build_seed == 0)


def draw_landscape(
    model: Surrogate,
    completion: Completion,
    features: NDArray[np.float32],
    keys: NDArray[np.uint64],
    prediction: Prediction,
    build_seed: int,
    threads: int,
) -> tuple[NDArray[np.int32], Expectation]:
    """Draws the test means of all cells of the space, and what to expect of their repeats.

    Args:
        model: Gives test means.
        completion: Gives the rest.
        features: (N, F) float32 of all cells.
        keys: (N,) uint64.
        prediction: Of the model.
        build_seed: Not negative.
        threads: Number of threads; the result does not depend on it.

    Returns:
        (N,) int32 sums of correct test images, and the expectation.
    """
    landscape = model.draw(features, keys, prediction, build_seed, threads)
    basic = np.ascontiguousarray(features[:, : len(FEATURE_NAMES)])
    expected = completion.expect(basic, landscape.total, None, threads)
    return landscape.total, replace(expected, validation=expected.validation + landscape.carried)


def draw_table(
    model: Surrogate,
    completion: Completion,
    features: NDArray[np.float32],
    keys: NDArray[np.uint64],
    prediction: Prediction,
    build_seed: int,
    threads: int,
) -> tuple[NDArray[np.int32], Drawn]:
    """Draws all cells of the space: (N,) int32 sums of correct test images, and the repeats.

    The arguments are those of ``draw_landscape``.
    """
    total, expected = draw_landscape(
        model, completion, features, keys, prediction, build_seed, threads
    )
    seeds = cell_seeds(keys, model.noise_seed + build_seed)
    unknown = Known.nothing(len(keys))
    validation, test = completion.draw(expected, total, unknown, seeds, None, threads)
    basic = np.ascontiguousarray(features[:, : len(FEATURE_NAMES)])
    seconds = completion.draw_seconds(basic, seeds, threads)
    return total, Drawn(validation, test, seconds)


def build_content(
    build_seed: int, progress: Callable[[str], None], threads: int | None = None
) -> Content:
    """Draws a table.

    Args:
        build_seed: Not negative.
        progress: Takes one line of text at each step.
        threads: None: one for each processor. The result does not depend on it.
    """
    threads = threads or os.cpu_count() or 1
    model = Surrogate.load()
    progress("enumerating the space")
    cells, hashes = enumerate_space(threads)
    parameters = trainable_parameters(cells)
    progress("evaluating the trees")
    features = surrogate_features(cells, parameters)
    prediction = model.predict(features, threads)
    progress("drawing accuracies and training times")
    total, drawn = draw_table(
        model, Completion.load(), features, cell_keys(cells), prediction, build_seed, threads
    )
    means = np.full((len(cells), len(BUDGETS)), np.nan, np.float32)
    means[:, FINAL] = total / (REPEATS * IMAGES)
    codes = np.where(np.isnan(means), Provenance.MISSING, Provenance.FITTED).astype(np.uint8)
    metrics = modelled_metrics(drawn, Provenance.FITTED)
    return Content(
        source="surrogate",
        space=NB101,
        budgets=BUDGETS,
        repeats=REPEATS,
        cells=cells,
        facts={"module_hash": hashes, "trainable_parameters": parameters},
        metrics={("final", name): metric for name, metric in metrics.items()},
        means={("final", "test_accuracy"): Metric(means, codes)},
        views={VIEW: DESCRIPTION.format(cells=len(cells))},
        sources={
            "surrogate": {
                "file": "nprep/data/surrogate.npz",
                "sha256": file_digest(shipped_weights()),
                "citation": "fitted surrogate of NASBench-101, by data/fit/fit_surrogate.py",
                "measured": "nothing",
                "build_seed": build_seed,
            },
            "completion": {
                "file": "nprep/data/completion.npz",
                "sha256": file_digest(shipped_weights("completion.npz")),
                "citation": "fitted by data/fit/fit_completion.py",
                "build_seed": build_seed,
            },
        },
        attributes={"build_seed": build_seed},
    )


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Draws the table.

    Raises:
        TableError: If the seed is negative or the installation lacks its weights.
    """
    if arguments.build_seed < 0:
        raise TableError(f"--build-seed is {arguments.build_seed}: give a number from 0 on.")
    return build_content(arguments.build_seed, progress)
