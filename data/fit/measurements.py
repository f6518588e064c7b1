"""The measured table as the fit of the completion model needs it, and the regions of accuracy.

``fit_completion.py`` says what *triples* and *bests* are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.nb101.cells import key_batch
from nprep.model.known_runs import IMAGES
from nprep.spaces.nb101.cells import CellBatch
from nprep.spaces.nb101.features import structure_features

Floats = NDArray[np.float64]

# Bounds of the regions of mean test accuracy (of the runs that did not fail) by which the law of
# the runs, the calibration and the donors are told apart.
REGIONS = (0.80, 0.86, 0.88, 0.90, 0.91, 0.92, 0.93, 0.935)

# A run below this test accuracy, with its cell's structure promising more, has failed: runs between
# chance and 50 % are 1 in 2,000.
FAILED_BELOW = 0.12


@dataclass(frozen=True)
class FitData:
    """The measurements as the fit needs them, runs as numbers of correct images."""

    features: NDArray[np.float32]
    keys: NDArray[np.uint64]
    total: NDArray[np.int64]
    triple_rows: NDArray[np.int64]
    triple_validation: NDArray[np.int64]
    triple_test: NDArray[np.int64]
    best_rows: NDArray[np.int64]
    best_validation: NDArray[np.int64]
    seconds_rows: NDArray[np.int64]
    seconds: Floats
    visited_rows: NDArray[np.int64]
    visited_mean: Floats


def read(path: Path) -> FitData:
    """Reads the measured table."""
    with np.load(path, allow_pickle=False) as archive:
        cells = CellBatch(archive["adjacency_bits"], archive["operations"], archive["num_vertices"])
        features = structure_features(cells, archive["trainable_parameters"])
        single = archive["single_rows"].astype(np.int64)
        triple = archive["repeat_rows"].astype(np.int64)
        best = np.rint(archive["single_validation_accuracy"][:, 3] * IMAGES).astype(np.int64)
        new = ~np.isin(single, triple)
        # Those that a search visited, whatever they turned out to be.
        held = (archive["mean_source"] == 1) & ~np.isin(archive["mean_rows"], [*triple, *single])
        return FitData(
            features=features,
            keys=key_batch(cells.adjacency_bits, cells.operations, cells.num_vertices),
            total=archive["test_correct_108_sum3"].astype(np.int64),
            triple_rows=triple,
            triple_validation=np.rint(archive["repeat_validation_accuracy"][:, 3] * IMAGES).astype(
                np.int64
            ),
            triple_test=np.rint(archive["repeat_test_accuracy"][:, 3] * IMAGES).astype(np.int64),
            best_rows=single[new],
            best_validation=best[new],
            seconds_rows=single,
            seconds=archive["single_training_seconds_108"].astype(np.float64),
            visited_rows=archive["mean_rows"][held].astype(np.int64),
            visited_mean=archive["mean_validation_correct_sum3"][held] / (3 * IMAGES),
        )


def regions_of(level: Floats) -> NDArray[np.int64]:
    """The region of each test accuracy."""
    return np.searchsorted(REGIONS, level)


@dataclass(frozen=True)
class Measured:
    """Cells without failed runs of which validation was measured.

    Attributes:
        rows: (N,) of the space.
        level: (N,) mean test accuracy.
        guess: (N,) the accuracy predicted from structure.
        basis: (N, P) of the process.
    """

    rows: NDArray[np.int64]
    level: Floats
    guess: Floats
    basis: Floats

    def take(self, chosen: NDArray[Any]) -> Measured:
        """Some of the cells."""
        return Measured(
            self.rows[chosen], self.level[chosen], self.guess[chosen], self.basis[chosen]
        )
