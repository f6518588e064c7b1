"""A made-up table of the toy space: trainings of 3, 9 and 27 epochs, two of each."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import numpy as np

from nprep.spaces.registry import register
from nprep.table.schema import Content, Metric
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table
from tests.toy_space.space import TOY

register(TOY)


def toy_view() -> View:
    """The view of the made-up table, by way of a file."""
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "toy.h5", toy_content())
        return copy.deepcopy(Table.open(Path(folder) / "toy.h5").view("measured"))


def toy_content(seed: int = 0) -> Content:
    rng = np.random.default_rng(seed)
    codes = TOY.enumerate()
    rows = len(codes)
    # Better with large operations and wide ends; the two branches help each other.
    quality = codes.values @ np.array([0.02, 0.03, 0.02, 0.025, 0.03]) + 0.5
    quality += 0.03 * (codes.values[:, 1] == codes.values[:, 3])
    budgets = np.array([3, 9, 27])
    noise = rng.normal(0, 0.01, (rows, 3, 2))
    validation = quality[:, None, None] * (1 - 0.3 / budgets[:, None]) + noise
    test = validation - 0.01 + rng.normal(0, 0.005, validation.shape)
    cost = 10.0 + codes.values.sum(axis=1)[:, None, None]
    return Content(
        source="made-up",
        space=TOY,
        budgets=(3, 9, 27),
        repeats=2,
        cells=codes,
        facts={},
        metrics={
            ("final", "validation_accuracy"): Metric.measured(validation),
            ("final", "test_accuracy"): Metric.measured(test),
            ("final", "training_seconds"): Metric.measured(cost * budgets[:, None] + 0 * noise),
        },
        means={},
        views={"measured": "made-up values of the toy space"},
        sources={"made-up": {"file": "nothing", "seed": seed}},
    )
