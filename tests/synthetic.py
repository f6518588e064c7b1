"""A small made-up view of the space, for tests that need no measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nprep.kernels.nb101.cells import key_batch, prune_batch
from nprep.kernels.nb101.sample import random_spec_batch
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.kernels.numeric.rng import seed_state
from nprep.spaces.nb101.cells import CellBatch
from nprep.table.view import View


def synthetic_cells(cells: int, seed: int = 0) -> tuple[CellBatch, np.ndarray]:
    """Distinct real cells of the space and their keys, in ascending order of the keys."""
    state = seed_state(np.random.SeedSequence(seed))
    bits, operations = random_spec_batch(state, 20 * cells + 1000)
    vertices = np.full(len(bits), 7, np.uint8)
    _, bits, operations, vertices = prune_batch(bits, operations, vertices)
    keys = key_batch(bits, operations, vertices)
    # The most frequent ones, so that searches that redraw outside the view find their way.
    keys, first, counts = np.unique(keys, return_index=True, return_counts=True)
    assert len(keys) >= cells
    chosen = np.sort(np.argsort(-counts, kind="stable")[:cells])
    batch = CellBatch(bits, operations, vertices).take(first[chosen])
    return batch, keys[chosen]


def synthetic_view(cells: int = 600, seed: int = 0, missing: float = 0.05) -> View:
    """A view whose accuracies follow the cells' structure, with noise, failures and gaps.

    Args:
        cells: Number of cells M, at most about 2,000.
        seed: Decides everything.
        missing: Share of repeats that are missing; one of each cell is always there.
    """
    batch, keys = synthetic_cells(cells, seed)
    rng = np.random.default_rng(seed)
    conv3x3 = (batch.operations == 0).sum(axis=1)
    pooling = (batch.operations == 2).sum(axis=1)
    edges = np.array([int(b).bit_count() for b in batch.adjacency_bits])
    quality = 0.90 + 0.008 * conv3x3 - 0.006 * pooling + 0.001 * edges
    quality = np.minimum(quality + rng.normal(0, 0.004, cells), 0.945)
    validation = quality[:, None] + 0.008 + rng.normal(0, 0.003, (cells, 3))
    test = quality[:, None] + rng.normal(0, 0.002, (cells, 3))
    failed = rng.random((cells, 3)) < 0.01
    validation[failed] = 0.1
    test[failed] = 0.1
    gaps = rng.random((cells, 3)) < missing
    gaps[np.arange(cells), rng.integers(3, size=cells)] = False
    validation[gaps] = np.nan
    seconds = 500 + 400 * conv3x3[:, None] + rng.uniform(0, 100, (cells, 3))
    return View(
        name="completed",
        description="made-up values for tests",
        rows=np.arange(cells, dtype=np.int32),
        cells=batch,
        validation=validation.astype(np.float32),
        test=test.mean(axis=1).astype(np.float32),
        training_seconds=seconds.astype(np.float32),
        index=KeyIndex.build(keys),
        provenance={
            "validation_accuracy": {"modelled": int((~gaps).sum()), "missing": int(gaps.sum())}
        },
        test_runs=test.astype(np.float32),
    )


@dataclass(frozen=True)
class SyntheticSource:
    """Hands out a synthetic view where a table would be opened."""

    cells: int = 600
    seed: int = 0

    def load(self) -> View:
        return synthetic_view(self.cells, self.seed)

    def describe(self) -> dict[str, object]:
        return {"synthetic": self.seed}
