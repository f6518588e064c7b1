"""Small made-up tables."""

from __future__ import annotations

import numpy as np

from nprep.spaces.nb101.cells import module_hashes, trainable_parameters
from nprep.spaces.nb101.facts import BUDGETS, REPEATS
from nprep.spaces.nb101.space import NB101
from nprep.table.schema import Content, Metric, Provenance
from tests.synthetic import synthetic_cells


def small_content(cells: int = 120, seed: int = 0) -> Content:
    """A few real cells with made-up values: the first third has three measured repeats."""
    batch, _ = synthetic_cells(cells, seed)
    hashes = module_hashes(batch)
    order = np.lexsort(hashes.T[::-1])
    batch, hashes = batch.take(order), hashes[order]
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.5, 0.95, (cells, 4, 3)).astype(np.float32)
    values[::7, 2, 1] = np.nan
    validation = Metric.measured(values)
    validation.provenance[cells // 3 :, 3] = Provenance.MODELLED
    validation.provenance[cells // 3 :, 3, 0] = Provenance.MEASURED
    seconds = rng.uniform(300, 3000, (cells, 4, 3)).astype(np.float32)
    seconds[:, :2] = np.nan
    test = np.full((cells, 4), np.nan, np.float32)
    test[:, 3] = rng.uniform(0.5, 0.94, cells)
    return Content(
        source="made-up",
        space=NB101,
        budgets=BUDGETS,
        repeats=REPEATS,
        cells=batch,
        facts={"module_hash": hashes, "trainable_parameters": trainable_parameters(batch)},
        metrics={
            ("final", "validation_accuracy"): validation,
            ("final", "training_seconds"): Metric.measured(seconds),
            ("half_way", "validation_accuracy"): Metric.measured(values / 2),
        },
        means={("final", "test_accuracy"): Metric.measured(test)},
        views={
            "measured": "made-up, measured",
            "completed": "made-up, everything, most of it modelled",
        },
        sources={"made-up": {"file": "nothing", "sha256": "0" * 64, "seed": seed}},
        attributes={"build_seed": seed},
    )
