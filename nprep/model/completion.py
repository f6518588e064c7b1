"""The model of what NASBench-101 recorded and the public measurements lack.

Known of every cell: its structure and the sum of its three test accuracies; of some, one or more of
their validation accuracies. Modelled from them: the validation accuracy of each repeat, how the
test accuracy is shared by the repeats, and the training time. The model's own parameters are drawn
too, for each draw of a table anew (``Completion.parameters``). They lie in
``data/completion.npz``; ``data/fit/fit_completion.py`` fits them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep._files import ARCHIVE_ERRORS
from nprep.errors import TableError
from nprep.kernels.numeric.trees import TreeEnsemble
from nprep.kernels.threads import run_slices
from nprep.model.donors import Noise
from nprep.model.draws import draw_cells, draw_factors
from nprep.model.expectation import Calibration, Expectation, Parameters, split_failures
from nprep.model.known_runs import Known
from nprep.model.process import Process, evaluate
from nprep.spaces.nb101.features import FEATURE_NAMES

FORMAT = 2

# The fields of a model that are plain arrays.
_ARRAYS = (
    "offset",
    "offset_samples",
    "spread",
    "seconds_weights",
    "seconds_levels",
    "seconds_noise",
)


def seconds_terms(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The terms of the linear part of the logarithm of the training time: (N, 9) float64."""
    column = {name: k for k, name in enumerate(FEATURE_NAMES)}
    names = ["vertices", "edges", *(n for n in FEATURE_NAMES if n.startswith(("cost_", "count_")))]
    chosen = features[:, [column[name] for name in [*names, "log10_parameters"]]]
    return np.column_stack([np.ones(len(features)), chosen.astype(np.float64)])


_GROUPS: dict[str, Any] = {"process": Process, "calibration": Calibration, "noise": Noise}


@dataclass(frozen=True)
class Completion:
    """The fitted model; P basis functions of the process.

    Attributes:
        guess: Structure to test accuracy of a run that did not fail.
        process: The basis functions of offset and spread.
        offset: (P,) weights of (mean validation - mean test), in units of the calibration's scale.
        offset_samples: (S, P) draws from the weights' posterior, less ``offset``.
        spread: (P,) weights of the logarithm of the standard deviation between repeats.
        calibration: Of the offset.
        noise: The law of the runs of validation and test.
        seconds: Structure to the logarithm of the training time, less the linear part.
        seconds_weights: Of the linear part.
        seconds_levels: (Q,) quantile levels of what is left.
        seconds_noise: (Q,) quantiles of it.
        statistics: How the fit went, as written by the script.
    """

    guess: TreeEnsemble
    process: Process
    offset: NDArray[np.float64]
    offset_samples: NDArray[np.float16]
    spread: NDArray[np.float64]
    calibration: Calibration
    noise: Noise
    seconds: TreeEnsemble
    seconds_weights: NDArray[np.float64]
    seconds_levels: NDArray[np.float64]
    seconds_noise: NDArray[np.float64]
    statistics: dict[str, Any]

    def parameters(self, seed: int | None) -> Parameters:
        """The parameters of one draw of the model.

        Measurements leave them uncertain: the weights are drawn from their posterior, calibration
        and cell effect with their standard errors, and the donors by bootstrap.

        Args:
            seed: Not negative; decides all of it. None: the fitted ones.
        """
        count = len(self.noise.donors)
        if seed is None:
            return Parameters(
                self.offset,
                self.calibration.slope[:, 0],
                self.calibration.effect[:, 0].clip(min=0.0),
                np.arange(count),
            )
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        samples = self.offset_samples.astype(np.float64)
        offset = self.offset.copy()
        # In this order, so that the sum is the same everywhere.
        for share, sample in zip(rng.normal(size=len(samples)), samples, strict=True):
            offset += share / len(samples) ** 0.5 * sample
        # One error for all knots of each: what is unknown of one is unknown of its neighbours.
        slope = self.calibration.slope @ np.array([1.0, rng.normal()])
        effect = self.calibration.effect @ np.array([1.0, rng.normal()])
        donors = np.sort(rng.integers(count, size=count))
        return Parameters(offset, slope, effect.clip(min=0.0), donors)

    def expect_many(
        self,
        features: NDArray[np.float32],
        total: NDArray[np.integer],
        parameters: Sequence[Parameters],
        threads: int = 1,
    ) -> list[Expectation]:
        """What the model expects of cells under several sets of parameters.

        Args:
            features: (N, F) float32 of ``nprep.spaces.nb101.features.structure_features``.
            total: (N,) sum of the correct test images of three runs.
            parameters: The sets.
            threads: Number of threads; the result does not depend on it.
        """
        guess = self.guess.predict(features, threads)
        failures, level = split_failures(total, guess, self.noise.failed)
        weights = np.stack([self.spread, *(one.offset for one in parameters)], axis=1)
        values = evaluate(self.process, features, level, guess, weights, threads)
        spread = np.exp(values[:, 0]).clip(0, 0.1)
        place = self.calibration
        scale = np.interp(level, place.levels, place.scale)
        pivot = np.interp(level, place.levels, place.pivot)
        found = []
        for k, one in enumerate(parameters):
            gap = scale * values[:, 1 + k]
            gap = pivot + np.interp(level, place.levels, one.slope) * (gap - pivot)
            effect = np.sqrt(np.interp(level, place.levels, one.effect))
            found.append(Expectation(guess, failures, level, level + gap, spread, effect))
        return found

    def expect(
        self,
        features: NDArray[np.float32],
        total: NDArray[np.integer],
        parameters: Parameters | None = None,
        threads: int = 1,
    ) -> Expectation:
        """As ``expect_many``, under one set of parameters; None: the fitted ones."""
        chosen = parameters or self.parameters(None)
        return self.expect_many(features, total, [chosen], threads)[0]

    def draw(
        self,
        expectation: Expectation,
        total: NDArray[np.integer],
        known: Known,
        seeds: NDArray[np.uint64],
        parameters: Parameters | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Draws the repeats of cells.

        Args:
            expectation: Of N cells.
            total: (N,) sum of the correct test images of three runs.
            known: What was measured of their validation.
            seeds: (N,) uint64; one per cell.
            parameters: Those of the expectation; None: the fitted ones.
            threads: Number of threads; the result does not depend on it.

        Returns:
            (N, 3) int32 correct validation images and (N, 3) int32 correct test images, of
            ``known_runs.IMAGES``; the test images of a cell add up to its total, and the validation
            images agree with what is known.
        """
        donors = (parameters or self.parameters(None)).donors
        noise = self.noise._replace(
            donor_level=self.noise.donor_level[donors],
            donors=self.noise.donors[donors],
            donor_spread=self.noise.donor_spread[donors],
            donor_luck=self.noise.donor_luck[donors],
        )
        validation = np.empty((len(seeds), 3), np.int32)
        test = np.empty((len(seeds), 3), np.int32)
        totals = np.asarray(total, dtype=np.int64)

        def work(start: int, stop: int) -> None:
            part = slice(start, stop)
            draw_cells(
                seeds[part],
                noise,
                expectation.validation[part],
                expectation.spread[part],
                expectation.level[part] - expectation.guess[part],
                expectation.effect[part],
                expectation.level[part],
                expectation.failures[part],
                known.take(part),
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
        draw_factors(seeds, self.seconds_levels, self.seconds_noise, noise)
        seconds: NDArray[np.float64] = np.exp(expected[:, None] + noise)
        return seconds

    def save(self, path: Path) -> None:
        """Writes the model; no pickled objects."""
        arrays: dict[str, Any] = {"format": np.array([FORMAT], np.int32)}
        for name in ("guess", "seconds"):
            arrays |= getattr(self, name).arrays(f"{name}_")
        for name in _ARRAYS:
            arrays[name] = getattr(self, name)
        for group in _GROUPS:
            for name, value in getattr(self, group)._asdict().items():
                arrays[f"{group}_{name}"] = np.asarray(value)
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
            groups: dict[str, Any] = {
                group: kind(**{name: arrays[f"{group}_{name}"] for name in kind._fields})
                for group, kind in _GROUPS.items()
            }
            noise = groups.pop("noise")
            return cls(
                guess=TreeEnsemble.from_arrays(arrays, "guess_"),
                seconds=TreeEnsemble.from_arrays(arrays, "seconds_"),
                **groups,
                **{name: arrays[name] for name in _ARRAYS},
                noise=noise._replace(window=int(noise.window), test_slope=float(noise.test_slope)),
                statistics=json.loads(arrays["statistics"].tobytes()),
            )
        except (OSError, *ARCHIVE_ERRORS) as error:
            raise TableError(
                f"{where} is not a completion model of this version ({error}): reinstall nprep, "
                "or fit it again with data/fit/fit_completion.py."
            ) from error


def cell_seeds(keys: NDArray[np.uint64], build_seed: int) -> NDArray[np.uint64]:
    """A seed for each cell, from its canonical key and the build's seed: independent of the order.

    Args:
        keys: (N,) uint64.
        build_seed: Not negative, below 2^63.
    """
    mixed = np.random.SeedSequence(build_seed).generate_state(1, np.uint64)
    seeds: NDArray[np.uint64] = np.asarray(keys, np.uint64) ^ mixed
    return seeds
