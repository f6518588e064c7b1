"""What every backend offers, and what it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.predictor.gcn import GcnWeights
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.spaces.graphs import HasGraphs

# Bytes that the buffers of a GPU's predictors may take together.
DEFAULT_MEMORY = 4 << 30


@dataclass(frozen=True)
class TrainingTask:
    """One predictor to train; see ``nprep.predictor.gcn.train``.

    Attributes:
        cells: The N training architectures, or their graphs.
        labels: (N,) accuracies train a regressor, booleans a classifier.
        settings: Architecture and training.
        seed: Decides all that is random.
    """

    cells: HasGraphs
    labels: NDArray[np.floating] | NDArray[np.bool_]
    settings: GcnSettings
    seed: np.random.SeedSequence


class Backend(Protocol):
    """Trains predictors and asks them about all graphs of a plan.

    Attributes:
        name: Its name.
        precision: Of the matrix products.
        whole: Whether inferring a whole space costs less than choosing what to infer.
    """

    name: str
    precision: str
    whole: bool

    def train(self, tasks: Sequence[TrainingTask]) -> list[GcnWeights]:
        """Trains predictors; a task's result does not depend on the others beyond rounding."""
        ...

    def outputs(
        self, plan: SharingPlan, weights: Sequence[GcnWeights]
    ) -> Iterator[NDArray[np.float32]]:
        """Raw outputs (N,) float32 of one predictor after the other, in bounded memory.

        Raises:
            SettingsError: If the plan was built for another kind of predictor.
        """
        ...

    def describe(self) -> dict[str, str]:
        """What outputs say about it."""
        ...


def predictions(
    backend: Backend, plan: SharingPlan, weights: Sequence[GcnWeights]
) -> Iterator[NDArray[np.float32]]:
    """Predictions (N,) (accuracies, probabilities or scores) of one predictor after the other."""
    for one, outputs in zip(weights, backend.outputs(plan, weights), strict=True):
        yield one.scale.predictions(outputs)
