"""Compiled kernels on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nprep.errors import MissingDependencyError
from nprep.kernels.numeric.gemm_bfloat16 import AVAILABLE
from nprep.predictor.backends.base import TrainingTask
from nprep.predictor.gcn import GcnWeights, train
from nprep.predictor.plan import SharingPlan


class NumbaBackend:
    """Compiled kernels on the CPU, one predictor at a time.

    A block of trials trains one predictor after another: stacking them would make the products no
    faster, since a single one already runs at the processor's peak, and would push the parameters
    out of its cache.

    Attributes:
        name: "numba".
        precision: "float32" or "bfloat16", of the products of the GCN layers when it is asked.
            Training takes float32: at its sizes, rounding operands anew in every step takes much of
            what faster products gain.
        whole: False.
        threads: How many threads share a whole space.
    """

    name = "numba"
    precision = "float32"
    whole = False

    def __init__(self, threads: int = 1, precision: str = "float32") -> None:
        """Takes a number of threads; results do not depend on it.

        Raises:
            MissingDependencyError: If the processor lacks the precision.
        """
        if precision == "bfloat16" and not AVAILABLE:
            raise MissingDependencyError(
                f"this processor has no products of bfloat16 numbers, which {self.name}:bfloat16 "
                "needs: use float32."
            )
        self.threads = threads
        self.precision = precision

    def train(self, tasks: Sequence[TrainingTask]) -> list[GcnWeights]:
        """See ``Backend.train``."""
        return [train(task.cells, task.labels, task.settings, task.seed) for task in tasks]

    def outputs(
        self, plan: SharingPlan, weights: Sequence[GcnWeights]
    ) -> Iterator[NDArray[np.float32]]:
        """See ``Backend.outputs``."""
        for one in weights:
            yield plan.outputs(one, self.threads, self.precision)

    def describe(self) -> dict[str, str]:
        """See ``Backend.describe``."""
        return {"name": self.name, "precision": self.precision, "training": "numba float32"}
