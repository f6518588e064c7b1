"""The measured table as the fit of the completion model needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.nb101.cells import key_batch
from nprep.model.draws import IMAGES
from nprep.spaces.nb101.cells import CellBatch
from nprep.spaces.nb101.features import structure_features

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
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


def read(path: Path) -> Data:
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
        return Data(
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
