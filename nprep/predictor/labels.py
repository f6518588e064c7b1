"""What a predictor is trained on, and how its raw output becomes a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nprep.predictor.settings import TrainingSettings

_LOSS_KINDS = {"zscore": 0, "normal-scores": 0, "sigmoid": 1, "sigmoid-percent": 4}
_CROSS_ENTROPY = 2
_RANKING = 3


def loss_kind(classifier: bool, settings: TrainingSettings) -> int:
    """The kernel's number of a loss (see ``nprep.kernels.numeric.mlp_dense.output_loss``)."""
    if classifier:
        return _CROSS_ENTROPY
    return _RANKING if settings.loss == "ranking" else _LOSS_KINDS[settings.labels]


def has_unit(settings: TrainingSettings) -> bool:
    """Whether a regressor's outputs are accuracies; else only their order means something."""
    return settings.loss != "ranking" and settings.labels != "normal-scores"


@dataclass(frozen=True)
class LabelScale:
    """The map between accuracies and what the network computes.

    Attributes:
        kind: "class" (output: log-odds), "sigmoid", "zscore" or "score" (no unit: only the order of
            the outputs means something).
        mean: Mean of the training labels, for "zscore".
        deviation: Their standard deviation, for "zscore".
    """

    kind: str
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def fit(
        cls, labels: NDArray[np.floating] | NDArray[np.bool_], settings: TrainingSettings
    ) -> LabelScale:
        """Fits the scale to the labels of the training sample, and to them alone.

        Args:
            labels: (N,) accuracies in [0, 1], or booleans of a classifier.
            settings: Names the scale.

        Returns:
            The scale.
        """
        if labels.dtype == np.bool_:
            return cls("class")
        if not has_unit(settings):
            return cls("score")
        if settings.labels == "zscore":
            values = labels.astype(np.float64)
            # A sample of equal labels has nothing to scale by.
            return cls("zscore", float(values.mean()), float(values.std()) or 1.0)
        return cls("sigmoid")

    def targets(self, labels: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float32]:
        """The labels as the loss takes them.

        Args:
            labels: (N,) as in ``fit``.

        Returns:
            (N,) float32.
        """
        if self.kind == "zscore":
            scaled = (labels.astype(np.float64) - self.mean) / self.deviation
            return scaled.astype(np.float32)
        if self.kind == "score":
            quantile = NormalDist().inv_cdf
            _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
            # Equal labels share the middle of their ranks.
            middles = (np.cumsum(counts) - counts / 2) / len(labels)
            return np.array([quantile(m) for m in middles.tolist()], np.float32)[places]
        return labels.astype(np.float32)

    def predictions(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions from raw outputs: accuracies, probabilities, or scores without a unit.

        Args:
            outputs: (M,) float32.

        Returns:
            (M,) float32, in the order of ``outputs`` (every map here is monotone).
        """
        if self.kind == "score":
            return outputs
        values = outputs.astype(np.float64)
        if self.kind == "zscore":
            return (self.mean + self.deviation * values).astype(np.float32)
        sigmoid = 0.5 * (1.0 + np.tanh(0.5 * values))
        if self.kind == "class":
            return sigmoid.astype(np.float32)
        return (0.1 + 0.9 * sigmoid).astype(np.float32)
