"""BANANAS: an ensemble of perceptrons on the path encoding guides mutations of the best cells.

White, Neiswanger, Savani: "BANANAS: Bayesian Optimization with Neural Architectures for Neural
Architecture Search", AAAI 2021. The settings are those of the authors' program naszilla: 10 random
cells, then batches of 10 chosen among about 100 mutations of the best cells by independent Thompson
sampling; five perceptrons of 10 layers with 20 units, trained from scratch in every round on the
validation error in percent. Published at 150 queries, the mean of the validation runs driving the
search: 94.077 % mean test accuracy over 200 trials (Table 1 of s41598-025-94187-8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.nb101.paths import NUM_PATHS, path_encoding
from nprep.kernels.numeric.mlp_ensemble import ensemble_outputs, fill_glorot, train_ensemble
from nprep.kernels.numeric.rng import seed_state
from nprep.search.archive import Breeding, archive_of
from nprep.search.evaluator import evaluator_of
from nprep.search.method import Preset
from nprep.search.pool import Pool
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Trace
from nprep.spaces.nb101.space import NB101

# The lower bound of the validation error, in percent, of the relative loss: below any in the space.
_LOWER_BOUND = 4.5
# Stored sizes of hidden layers are multiples of this.
_LANES = 8


@dataclass(frozen=True)
class PerceptronSettings:
    """The perceptrons and their training.

    Attributes:
        paths: Length of the path encoding of NASBench-101: the first so many of 364 paths, shortest
            first. Other spaces have their flat encoding instead.
        hidden: Sizes of the hidden layers.
        loss: "absolute", or "relative" to the distance of the label from 4.5 % error.
        epochs: Passes over the samples so far.
        batch: Samples in a step.
        learning_rate: Of Adam; constant.
        beta_2: Adam's decay of squared gradients.
    """

    paths: int = 40
    hidden: tuple[int, ...] = (20,) * 10
    loss: str = "absolute"
    epochs: int = 150
    batch: int = 32
    learning_rate: float = 0.01
    beta_2: float = 0.99

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        if not 1 <= self.paths <= NUM_PATHS:
            raise SettingsError(f"paths is {self.paths}: use a number from 1 to {NUM_PATHS}.")
        if not self.hidden or min(self.hidden) < 1:
            raise SettingsError(f"hidden is {self.hidden}: give each layer at least one unit.")
        if self.loss not in ("absolute", "relative"):
            raise SettingsError(
                f"loss is {self.loss!r}, which is unknown: use absolute or relative."
            )
        if self.epochs < 1 or self.batch < 1:
            raise SettingsError(
                f"epochs is {self.epochs} and batch {self.batch}: both must be at least 1."
            )
        if not (self.learning_rate > 0 and 0 <= self.beta_2 < 1):
            raise SettingsError(
                f"learning_rate is {self.learning_rate} and beta_2 {self.beta_2}: use a rate above "
                "0 and a decay from 0 to below 1."
            )


@dataclass(frozen=True)
class Bananas(Preset):
    """BANANAS (White et al., 2021); the defaults are those of the program naszilla.

    Attributes:
        name: Name of the method.
        initial: Random architectures that a trial begins with, by the space's own sampler.
        batch: Trainings in a round.
        max_samples: Samples after which a trial ends, since its rounds get slower and slower.
        members: Perceptrons of the ensemble.
        breeding: How candidates are made.
        perceptron: The perceptrons.
    """

    name: str = "bananas"
    initial: int = 10
    batch: int = 10
    max_samples: int = 1000
    members: int = 5
    breeding: Breeding = field(default_factory=Breeding)
    perceptron: PerceptronSettings = field(default_factory=PerceptronSettings)

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        for setting in ("initial", "batch", "max_samples", "members"):
            if getattr(self, setting) < 1:
                raise SettingsError(f"{setting} is {getattr(self, setting)}: use at least 1.")

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        return [self._trial(pool, seed, samples, protocol) for seed in seeds]

    def _trial(
        self, pool: Pool, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> Trace:
        draws, networks, sampled = stream(seed, SEARCH_STREAM).spawn(3)
        evaluator = evaluator_of(pool, seed, min(samples, self.max_samples), protocol)
        archive = archive_of(pool, evaluator, draws)
        state = seed_state(networks)
        rng = np.random.default_rng(sampled)
        archive.train(archive.draw(self.initial))
        capacity = self.breeding.candidates + self.breeding.tries
        while not evaluator.done:
            candidates = archive.candidates(self.breeding, capacity)
            if not len(candidates):
                break
            predictions = predict_errors(
                self._encode(pool, archive.positions),
                archive.values,
                self._encode(pool, candidates.positions),
                self.members,
                self.perceptron,
                state,
            )
            # Independent Thompson sampling: one draw for each candidate, by itself.
            errors = rng.normal(predictions.mean(axis=0), predictions.std(axis=0))
            archive.train(candidates.take(np.argsort(errors, kind="stable")[: self.batch]))
        return evaluator.trace()

    def _encode(self, pool: Pool, positions: NDArray[np.int32]) -> NDArray[np.float32]:
        """The path encoding of cells of NASBench-101; elsewhere the space's flat encoding."""
        batch = pool.take(positions)
        if pool.space.name == NB101.name:
            cells = NB101.pruned(batch)
            return path_encoding(
                cells.adjacency_bits, cells.operations, cells.num_vertices, self.perceptron.paths
            )
        return pool.space.encode_flat(batch)


def predict_errors(
    trained: NDArray[np.float32],
    values: NDArray[np.float32],
    features: NDArray[np.float32],
    members: int,
    settings: PerceptronSettings,
    state: NDArray[np.uint64],
) -> NDArray[np.float64]:
    """Trains an ensemble and predicts with it.

    Args:
        trained: (N, F) encodings of the architectures to learn from.
        values: (N,) their validation accuracies in [0, 1].
        features: (C, F) encodings of those to predict.
        members: Number M of perceptrons.
        settings: Of the perceptrons.
        state: (4,) generator state, advanced.

    Returns:
        (M, C) predicted validation errors in percent.
    """
    sizes = np.array([trained.shape[1], *settings.hidden, 1], np.int64)
    stored = sizes.copy()
    stored[1:-1] = -(-sizes[1:-1] // _LANES) * _LANES
    parameters = np.empty((members, int(((stored[:-1] + 1) * stored[1:]).sum())), np.float32)
    for member in parameters:
        fill_glorot(state, sizes, stored, member)
    train_ensemble(
        trained,
        (100.0 * (1.0 - values.astype(np.float64))).astype(np.float32),
        parameters,
        stored,
        settings.epochs,
        settings.batch,
        settings.learning_rate,
        settings.beta_2,
        _LOWER_BOUND if settings.loss == "relative" else np.nan,
        state,
    )
    outputs = ensemble_outputs(features, parameters, stored)
    return outputs.astype(np.float64)


def preset(name: str, train_samples: int) -> Bananas:
    """The method of a name; it has no use for a number of training samples."""
    return Bananas(name)
