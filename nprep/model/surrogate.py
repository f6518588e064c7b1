"""The fitted surrogate of NASBench-101: mean test accuracies of every cell, without a download.

Boosted trees on structural features (another family than the graph networks that a replay judges)
predict accuracy from structure; the residual is drawn, from a generator seeded by the
cell's key, with the distribution and the likeness between neighbours of what the trees cannot
explain; failed runs are a process of their own. No cell's measured value is stored. The parameters
lie in ``data/surrogate.npz``; ``data/fit/fit_surrogate.py`` fits them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep._files import ARCHIVE_ERRORS
from nprep.errors import TableError
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.model.known_runs import IMAGES
from nprep.model.surrogate_draws import (
    Residual,
    draw_failures,
    draw_residuals,
    standardise,
    structured_field,
)
from nprep.model.surrogate_features import SURROGATE_FEATURE_NAMES

FORMAT = 2

# The trees predict -log(CEILING - accuracy): a step of the same size means more where the best
# cells crowd, and no prediction or residual passes the ceiling.
CEILING = 0.955
LOWEST = 0.70

SMALL = 5
_VERTICES = SURROGATE_FEATURE_NAMES.index("vertices")


def to_scale(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Accuracies on the scale of the trees; below ``LOWEST`` they count as that."""
    scaled: NDArray[np.float64] = -np.log(CEILING - np.maximum(accuracy, LOWEST))
    return scaled


def from_scale(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of ``to_scale``."""
    return CEILING - np.exp(-scaled)


@dataclass(frozen=True)
class Prediction:
    """What the trees say of N cells.

    Attributes:
        level: (N,) float64; mean test accuracy of the runs that do not fail, on the trees' scale.
        failures: (N,) float64; expected number of failed runs.
    """

    level: NDArray[np.float64]
    failures: NDArray[np.float64]


@dataclass(frozen=True)
class Landscape:
    """Drawn values of N cells.

    Attributes:
        total: (N,) int32; sum of the correct test images of three runs, each of ``IMAGES``.
        carried: (N,) float64; to be added to the validation accuracy that the completion model
            expects, which knows nothing of drawn structure.
    """

    total: NDArray[np.int32]
    carried: NDArray[np.float64]


@dataclass(frozen=True)
class Surrogate:
    """The fitted model.

    Attributes:
        mean: Structure to mean test accuracy of the runs that did not fail, on the trees' scale.
        small: What to add to that for cells of up to ``SMALL`` vertices, of which there are so
            few that the other trees serve them badly, and which searches visit often.
        residual: Distribution of what is left.
        failure: Structure to the expected number of failed runs of three.
        failure_edges: (B - 1,) float64; ascending bounds on that number.
        failure_chances: (B, 4) float64; chances of 0 to 3 failures in each bin.
        failed: Correct test images of a failed run.
        carry: How much of the structured part of the residual validation has beyond what the
            completion model, which takes every residual for luck in part, expects.
        seed: Of the landscape: residuals and failed runs.
        noise_seed: Of the repeats, which the completion model draws.
        statistics: How the fit went, as written by the script.
    """

    mean: TreeEnsemble
    small: TreeEnsemble
    residual: Residual
    failure: TreeEnsemble
    failure_edges: NDArray[np.float64]
    failure_chances: NDArray[np.float64]
    failed: int
    carry: float
    seed: int
    noise_seed: int
    statistics: dict[str, Any]

    def predict(self, features: NDArray[np.float32], threads: int = 1) -> Prediction:
        """Evaluates the trees.

        Args:
            features: (N, F) float32 of ``nprep.model.surrogate_features.surrogate_features``.
            threads: Number of threads; the result does not depend on it.
        """
        level = self.mean.predict(features, threads)
        few = features[:, _VERTICES] <= SMALL
        level[few] += self.small.predict(features[few])
        return Prediction(level, self.failure.predict(features, threads))

    def draw(
        self,
        features: NDArray[np.float32],
        keys: NDArray[np.uint64],
        prediction: Prediction,
        build_seed: int = 0,
        threads: int = 1,
    ) -> Landscape:
        """Draws the landscape.

        Args:
            features: (N, F) float32 of all cells of the space, in any order: the residual is
                standardised over them.
            keys: (N,) uint64 canonical keys.
            prediction: Of ``predict``.
            build_seed: 0 is the landscape that ships; others are others of the same law.
            threads: Number of threads; the result does not depend on it.
        """
        root = np.random.SeedSequence([self.seed, build_seed])
        cells, *random = root.spawn(1 + len(self.residual.depths))
        seeds = np.asarray(keys, np.uint64) ^ cells.generate_state(1, np.uint64)[0]
        fields = [
            structured_field(features, self.mean, int(depth), field, threads)
            for depth, field in zip(self.residual.depths, random, strict=True)
        ]
        group = np.searchsorted(self.residual.vertices, features[:, _VERTICES]).astype(np.int64)
        structured = standardise(self.residual, prediction.level, group, np.stack(fields, axis=1))
        left, common = np.empty(len(features)), np.empty(len(features))
        draw_residuals(self.residual, prediction.level, group, structured, seeds, left, common)
        failures = np.empty(len(features), np.int64)
        draw_failures(
            prediction.failures, self.failure_edges, self.failure_chances, seeds, failures
        )
        level = from_scale(prediction.level + left)
        total = (3 - failures) * level * IMAGES + failures * self.failed
        return Landscape(
            total=np.clip(np.rint(total), 0, 3 * IMAGES).astype(np.int32),
            carried=self.carry * common * (CEILING - level),
        )

    def save(self, path: Path) -> None:
        """Writes the model; no pickled objects."""
        arrays: dict[str, Any] = {"format": np.array([FORMAT], np.int32)}
        for name in ("mean", "small", "failure"):
            arrays |= getattr(self, name).arrays(f"{name}_")
        for name, value in self.residual._asdict().items():
            arrays[f"residual_{name}"] = value
        arrays["failure_edges"] = self.failure_edges
        arrays["failure_chances"] = self.failure_chances
        arrays["failed_seeds"] = np.array([self.failed, self.seed, self.noise_seed], np.int64)
        arrays["carry"] = np.array([self.carry])
        for name, text in (
            ("features", "\n".join(SURROGATE_FEATURE_NAMES)),
            ("statistics", json.dumps(self.statistics)),
        ):
            arrays[name] = np.frombuffer(text.encode(), np.uint8)
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path | None = None) -> Surrogate:
        """Reads a model.

        Args:
            path: None means the one that ships with the project.

        Raises:
            TableError: If the file is missing or no model of this version.
        """
        where = path or shipped_weights()
        try:
            with where.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            if arrays["format"][0] != FORMAT:
                raise ValueError(f"format {arrays['format'][0]}, not {FORMAT}")
            names = arrays["features"].tobytes().decode().split("\n")
            if tuple(names) != SURROGATE_FEATURE_NAMES:
                raise ValueError("it was fitted to other features")
            failed, seed, noise_seed = arrays["failed_seeds"].tolist()
            return cls(
                mean=TreeEnsemble.from_arrays(arrays, "mean_"),
                small=TreeEnsemble.from_arrays(arrays, "small_"),
                residual=Residual(*(arrays[f"residual_{name}"] for name in Residual._fields)),
                failure=TreeEnsemble.from_arrays(arrays, "failure_"),
                failure_edges=arrays["failure_edges"],
                failure_chances=arrays["failure_chances"],
                failed=failed,
                carry=float(arrays["carry"][0]),
                seed=seed,
                noise_seed=noise_seed,
                statistics=json.loads(arrays["statistics"].tobytes()),
            )
        except (OSError, *ARCHIVE_ERRORS) as error:
            raise TableError(
                f"{where} is not a surrogate model of this version ({error}): reinstall nprep, "
                "or fit it again with data/fit/fit_surrogate.py."
            ) from error


def shipped_weights(name: str = "surrogate.npz") -> Path:
    """The weights that ship with the project."""
    return Path(str(resources.files("nprep.data").joinpath(name)))


def file_digest(path: Path) -> str:
    """The SHA-256 of a file of weights.

    Raises:
        TableError: If it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror}): reinstall nprep.") from error
