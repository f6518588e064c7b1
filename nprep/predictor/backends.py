"""What trains and asks predictors: one interface, and a backend by its name.

=========  ==================  ===========================  ==========================
name       training            asking a whole space         precision
=========  ==================  ===========================  ==========================
``numpy``  compiled CPU loop   NumPy: the oracle            float32
``numba``  compiled CPU loop   compiled CPU kernels         float32, bfloat16
``torch``  compiled CPU loop   PyTorch, on CUDA if it can   float32, bfloat16
``cupy``   CUDA, all trials    cuBLAS and CUDA kernels      float32, tf32, bfloat16
=========  ==================  ===========================  ==========================

``auto`` is ``cupy`` where a CUDA device can be used and ``numba`` elsewhere. A precision other than
float32 is asked for behind a colon: ``cupy:tf32``. The backends agree up to rounding where nothing
random differs; ``cupy`` draws orders and dropout masks of its own from the same seeds.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import MissingDependencyError
from nprep.kernels.gemm_bfloat16 import AVAILABLE
from nprep.predictor.choices import parse_backend
from nprep.predictor.gcn import GcnWeights, train
from nprep.predictor.graphs import GraphBatch
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.space import CellBatch

# Bytes that the buffers of a GPU's predictors may take together.
DEFAULT_MEMORY = 4 << 30


@dataclass(frozen=True)
class TrainingTask:
    """One predictor to train; see :func:`nprep.predictor.gcn.train`.

    Attributes:
        cells: The N training cells, or their graphs.
        labels: (N,) accuracies train a regressor, booleans a classifier.
        settings: Architecture and training.
        seed: Decides all that is random.
    """

    cells: CellBatch | GraphBatch
    labels: NDArray[np.floating] | NDArray[np.bool_]
    settings: GcnSettings
    seed: np.random.SeedSequence


class Backend(Protocol):
    """Trains predictors and asks them about all graphs of a plan.

    Attributes:
        name: Its name.
        precision: Of the matrix products.
        whole: Whether asking about a whole space costs less than choosing whom to ask about.
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
        """See :meth:`Backend.train`."""
        return [train(task.cells, task.labels, task.settings, task.seed) for task in tasks]

    def outputs(
        self, plan: SharingPlan, weights: Sequence[GcnWeights]
    ) -> Iterator[NDArray[np.float32]]:
        """See :meth:`Backend.outputs`."""
        for one in weights:
            yield plan.outputs(one, self.threads, self.precision)

    def describe(self) -> dict[str, str]:
        """See :meth:`Backend.describe`."""
        return {"name": self.name, "precision": self.precision, "training": "numba float32"}


def make_backend(choice: str = "auto", threads: int = 1, memory: int = DEFAULT_MEMORY) -> Backend:
    """A backend by its name.

    Args:
        choice: See the module.
        threads: How many threads may share a whole space on the CPU.
        memory: Bytes that buffers of a GPU's predictors may take; fewer go through together if it
            does not hold all.

    Raises:
        SettingsError: If the choice is unknown.
        MissingDependencyError: If what it needs is not there.
    """
    name, precision = parse_backend(choice)
    if name == "auto":
        if importlib.util.find_spec("cupy") is None:
            return NumbaBackend(threads)
        try:
            return make_backend("cupy", threads, memory)
        except MissingDependencyError:
            return NumbaBackend(threads)
    if name == "numba":
        return NumbaBackend(threads, precision)
    if name == "numpy":
        from nprep.predictor.backend_numpy import NumpyBackend

        return NumpyBackend()
    if name == "torch":
        from nprep.predictor.backend_torch import TorchBackend

        return TorchBackend(precision)
    from nprep.kernels.cuda_device import cuda_device
    from nprep.predictor.backend_cupy import CupyBackend

    return CupyBackend(cuda_device(), precision, memory)
