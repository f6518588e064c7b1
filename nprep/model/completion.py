"""The model of what NASBench-101 recorded and the public measurements lack.

Known of every cell: its structure and the sum of its three test accuracies. Modelled from them: the
validation accuracy of each repeat, how the test accuracy is shared by the repeats, and the training
time. The parameters lie in ``data/completion.npz``; ``data/fit/fit_completion.py`` fits them.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.kernels.threads import run_slices
from nprep.model.draws import IMAGES, Noise, draw_cells, draw_factors
from nprep.spaces.nb101.features import FEATURE_NAMES

FORMAT = 1

# By how much a cell's other runs may exceed what the structure promises if one failed; what would
# be beyond it is ascribed to the failed run, which may have been better than chance.
_MAX_ABOVE = 0.006
_FLOOR = 0.86
_KNOTS = (0.90, 0.91, 0.92, 0.93)


def linear_terms(level: NDArray[np.float64], guess: NDArray[np.float64]) -> NDArray[np.float64]:
    """The terms of the piecewise linear part of the model.

    Boosted trees are constant beyond the last cut, just where a search ends; these terms carry the
    trend there: regression to the mean (a test accuracy above what the structure promises was
    partly luck), by region.

    Args:
        level: (N,) mean test accuracy of the runs that did not fail.
        guess: (N,) what the structure promises.

    Returns:
        (N, 14) float64.
    """
    # Below, where few cells were measured, the trees alone decide.
    level, guess = np.maximum(level, _FLOOR), np.maximum(guess, _FLOOR)
    above = level - guess
    terms = [np.ones(len(level)), level, guess]
    for knot in _KNOTS:
        terms += [np.maximum(level - knot, 0), np.maximum(guess - knot, 0)]
    terms += [np.maximum(above - 0.004, 0), np.minimum(above + 0.004, 0), above * (guess - 0.9)]
    return np.stack(terms, axis=1)


def seconds_terms(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The terms of the linear part of the logarithm of the training time: (N, 9) float64."""
    column = {name: k for k, name in enumerate(FEATURE_NAMES)}
    names = ["vertices", "edges", *(n for n in FEATURE_NAMES if n.startswith(("cost_", "count_")))]
    chosen = features[:, [column[name] for name in [*names, "log10_parameters"]]]
    return np.column_stack([np.ones(len(features)), chosen.astype(np.float64)])


def split_failures(
    total: NDArray[np.integer], guess: NDArray[np.float64], failed: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many of a cell's runs failed, and the mean test accuracy of the others.

    A failed run is at chance (10 %), so the sum of three shows the number of failures: the one that
    brings the others nearest to what the structure promises.

    Args:
        total: (N,) sum of the correct test images of three runs.
        guess: (N,) what the structure promises.
        failed: (2,) correct validation and test images of a failed run.

    Returns:
        (N,) int64 and (N,) float64, which is the guess itself where all three failed.
    """
    total = np.asarray(total, dtype=np.int64)
    failures = np.zeros(len(total), np.int64)
    level = total / (3 * IMAGES)
    for count in (1, 2):
        rest = (total - count * failed[1]) / ((3 - count) * IMAGES)
        # Beyond 0.03 even a failed run above chance explains nothing: all runs were bad.
        nearer = (np.abs(rest - guess) < np.abs(level - guess)) & (rest < guess + 0.03)
        failures[nearer] = count
        level = np.where(nearer, np.minimum(rest, guess + _MAX_ABOVE), level)
    collapsed = np.abs(total - 3 * failed[1]) < 0.06 * IMAGES
    failures[collapsed] = 3
    return failures, np.where(collapsed, guess, level)


@dataclass(frozen=True)
class Expectation:
    """What the model expects of N cells before it draws.

    Attributes:
        guess: (N,) test accuracy that the structure promises.
        failures: (N,) number of failed runs.
        level: (N,) mean test accuracy of the others.
        validation: (N,) their expected mean validation accuracy.
        spread: (N,) their expected standard deviation.
    """

    guess: NDArray[np.float64]
    failures: NDArray[np.int64]
    level: NDArray[np.float64]
    validation: NDArray[np.float64]
    spread: NDArray[np.float64]


@dataclass(frozen=True)
class Completion:
    """The fitted model.

    Attributes:
        guess: Structure to test accuracy of a run that did not fail.
        offset: Structure, test accuracy and guess to (mean validation - mean test), less the
            linear part.
        offset_weights: Of the linear part.
        spread: The same inputs to the logarithm of the standard deviation between repeats.
        spread_weights: Of its linear part.
        seconds: Structure to the logarithm of the training time, less the linear part.
        seconds_weights: Of the linear part.
        seconds_noise: (Q,) quantiles of what is left.
        noise: The noise model of validation and test.
        statistics: How the fit went, as written by the script.
    """

    guess: TreeEnsemble
    offset: TreeEnsemble
    offset_weights: NDArray[np.float64]
    spread: TreeEnsemble
    spread_weights: NDArray[np.float64]
    seconds: TreeEnsemble
    seconds_weights: NDArray[np.float64]
    seconds_noise: NDArray[np.float64]
    noise: Noise
    statistics: dict[str, Any]

    def expect(
        self, features: NDArray[np.float32], total: NDArray[np.integer], threads: int = 1
    ) -> Expectation:
        """What the model expects of cells.

        Args:
            features: (N, F) float32 of :func:`nprep.spaces.nb101.features.structure_features`.
            total: (N,) sum of the correct test images of three runs.
            threads: Number of threads; the result does not depend on it.
        """
        guess = self.guess.predict(features, threads)
        failures, level = split_failures(total, guess, self.noise.failed)
        inputs = offset_inputs(features, level, guess)
        terms = linear_terms(level, guess)
        offset = terms @ self.offset_weights + self.offset.predict(inputs, threads)
        spread = terms @ self.spread_weights + self.spread.predict(inputs, threads)
        return Expectation(guess, failures, level, level + offset, np.exp(spread).clip(0, 0.1))

    def draw(
        self,
        expectation: Expectation,
        total: NDArray[np.integer],
        best: NDArray[np.integer],
        seeds: NDArray[np.uint64],
        threads: int = 1,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Draws the repeats of cells.

        Args:
            expectation: Of N cells.
            total: (N,) sum of the correct test images of three runs.
            best: (N,) correct validation images of the best run where known, else -1.
            seeds: (N,) uint64; one per cell.
            threads: Number of threads; the result does not depend on it.

        Returns:
            (N, 3) int32 correct validation images and (N, 3) int32 correct test images, of
            :data:`IMAGES`; the test images of a cell add up to its total.
        """
        validation = np.empty((len(seeds), 3), np.int32)
        test = np.empty((len(seeds), 3), np.int32)
        totals = np.asarray(total, dtype=np.int64)
        known = np.asarray(best, dtype=np.int64)

        def work(start: int, stop: int) -> None:
            part = slice(start, stop)
            draw_cells(
                seeds[part],
                self.noise,
                expectation.validation[part],
                expectation.spread[part],
                expectation.guess[part],
                expectation.level[part],
                expectation.failures[part],
                known[part],
                totals[part],
                validation[part],
                test[part],
            )

        run_slices(work, len(seeds), threads)
        return validation, test

    def draw_seconds(
        self, features: NDArray[np.float32], seeds: NDArray[np.uint64], threads: int = 1
    ) -> NDArray[np.float64]:
        """Draws the training time of a 108-epoch run of each repeat: (N, 3) float64 seconds."""
        expected = seconds_terms(features) @ self.seconds_weights
        expected += self.seconds.predict(features, threads)
        noise = np.empty((len(features), 3))
        draw_factors(seeds, self.noise.levels, self.seconds_noise, noise)
        seconds: NDArray[np.float64] = np.exp(expected[:, None] + noise)
        return seconds

    def save(self, path: Path) -> None:
        """Writes the model; no pickled objects."""
        arrays: dict[str, Any] = {"format": np.array([FORMAT], np.int32)}
        for name in ("guess", "offset", "spread", "seconds"):
            arrays |= getattr(self, name).arrays(f"{name}_")
        for name in ("offset_weights", "spread_weights", "seconds_weights", "seconds_noise"):
            arrays[name] = getattr(self, name)
        for name, value in self.noise._asdict().items():
            arrays[f"noise_{name}"] = np.asarray(value)
        arrays["features"] = np.frombuffer("\n".join(FEATURE_NAMES).encode(), np.uint8)
        arrays["statistics"] = np.frombuffer(json.dumps(self.statistics).encode(), np.uint8)
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path | None = None) -> Completion:
        """Reads a model.

        Args:
            path: None means the one that ships with the project.

        Raises:
            TableError: If the file is missing or no model of this version.
        """
        where = path or Path(str(resources.files("nprep.data").joinpath("completion.npz")))
        try:
            # Opened here, for numpy leaves a damaged file open.
            with open(where, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            if arrays["format"][0] != FORMAT:
                raise ValueError(f"format {arrays['format'][0]}, not {FORMAT}")
            names = arrays["features"].tobytes().decode().split("\n")
            if tuple(names) != FEATURE_NAMES:
                raise ValueError("it was fitted to other features")
            noise = {name: arrays[f"noise_{name}"] for name in Noise._fields}
            noise["test_slope"] = float(noise["test_slope"])
            noise["ceiling"] = int(noise["ceiling"])
            return cls(
                **{
                    name: TreeEnsemble.from_arrays(arrays, f"{name}_")
                    for name in ("guess", "offset", "spread", "seconds")
                },
                offset_weights=arrays["offset_weights"],
                spread_weights=arrays["spread_weights"],
                seconds_weights=arrays["seconds_weights"],
                seconds_noise=arrays["seconds_noise"],
                noise=Noise(**noise),
                statistics=json.loads(arrays["statistics"].tobytes()),
            )
        except (
            OSError,
            EOFError,
            KeyError,
            TypeError,
            ValueError,
            zlib.error,
            zipfile.BadZipFile,
        ) as error:
            raise TableError(
                f"{where} is not a completion model of this version ({error}): reinstall nprep, "
                "or fit it again with data/fit/fit_completion.py."
            ) from error


def offset_inputs(
    features: NDArray[np.float32], level: NDArray[np.float64], guess: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The inputs of the offset's and the spread's trees: (N, F + 3) float32."""
    return np.column_stack([features, level, guess, level - guess]).astype(np.float32)


def cell_seeds(keys: NDArray[np.uint64], build_seed: int) -> NDArray[np.uint64]:
    """A seed for each cell, from its canonical key and the build's seed: independent of the order.

    Args:
        keys: (N,) uint64.
        build_seed: Not negative, below 2^63.
    """
    mixed = np.random.SeedSequence(build_seed).generate_state(1, np.uint64)
    seeds: NDArray[np.uint64] = np.asarray(keys, np.uint64) ^ mixed
    return seeds
