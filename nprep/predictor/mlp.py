"""The paper's ablation: a multi-layer perceptron on a flat encoding of the cell.

Unlike the GCN it sees the order of the vertices, so isomorphic cells may get different predictions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.numeric.dense_inference import finish_dense, output_dot
from nprep.kernels.numeric.gemm import gemm
from nprep.kernels.numeric.mlp_train import train_mlp
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.threads import run_slices
from nprep.predictor.gcn import initialise_dense
from nprep.predictor.labels import LabelScale, loss_kind
from nprep.predictor.settings import MlpSettings

_CHUNK = 1024


@dataclass(frozen=True)
class MlpWeights:
    """A trained perceptron.

    Attributes:
        parameters: (P,) float32, laid out as in ``nprep.kernels.numeric.mlp_dense``.
        sizes: (k + 2,) sizes of its layers, input and output included.
        settings: The settings that it was trained with.
        scale: Turns raw outputs into predictions.
        losses: (epochs,) mean training loss of every epoch.
    """

    parameters: NDArray[np.float32]
    sizes: tuple[int, ...]
    settings: MlpSettings
    scale: LabelScale
    losses: NDArray[np.float64]

    def layers(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Views of the layers: each a (C, H) matrix and (H,) biases, the output last."""
        offset = 0
        views = []
        for width, height in itertools.pairwise(self.sizes):
            matrix = self.parameters[offset : offset + width * height].reshape(width, height)
            offset += width * height
            views.append((matrix, self.parameters[offset : offset + height]))
            offset += height
        return views


def train_perceptron(
    features: NDArray[np.float32],
    labels: NDArray[np.floating] | NDArray[np.bool_],
    settings: MlpSettings,
    seed: np.random.SeedSequence,
) -> MlpWeights:
    """Trains one perceptron.

    Args:
        features: (N, F) encodings of the training architectures.
        labels: (N,) accuracies in [0, 1] train a regressor, booleans a classifier.
        settings: Architecture and training.
        seed: Seeds initial weights, orders and dropout; the same seed gives the same bits.

    Returns:
        The trained perceptron.

    Raises:
        SettingsError: If there are no samples, or not one label for each.
    """
    if len(features) == 0 or len(features) != len(labels):
        raise SettingsError(
            f"{len(features)} training cells come with {len(labels)} labels; give one label a cell."
        )
    state = seed_state(seed)
    sizes = np.array([features.shape[1], *settings.head, 1], np.int64)
    parameters = np.zeros(int(((sizes[:-1] + 1) * sizes[1:]).sum()), np.float32)
    initialise_dense(settings.initialisation, sizes, parameters, 0, state)
    scale = LabelScale.fit(labels, settings)
    classifier = labels.dtype == np.bool_
    losses = np.empty(settings.epochs, np.float64)
    train_mlp(
        features,
        scale.targets(labels),
        parameters,
        sizes,
        settings.head_bias,
        settings.activation == "relu",
        settings.dropout_head,
        loss_kind(classifier, settings),
        settings.epochs,
        settings.batch,
        settings.classifier_learning_rate if classifier else settings.learning_rate,
        settings.weight_decay,
        settings.decoupled,
        True,
        state,
        losses,
        np.empty_like(parameters),
    )
    return MlpWeights(parameters, tuple(sizes.tolist()), settings, scale, losses)


def predict_perceptron(
    weights: MlpWeights, features: NDArray[np.float32], threads: int = 1
) -> NDArray[np.float32]:
    """Predictions for architectures.

    Args:
        weights: The perceptron.
        features: (M, F) encodings.
        threads: How many threads share the work; the result does not depend on it.

    Returns:
        (M,) float32: accuracies, or probabilities of a classifier, or scores without a unit.
    """
    layers = weights.layers()
    out = np.empty(len(features), np.float32)
    rectify = weights.settings.activation == "relu"

    def work(start: int, stop: int) -> None:
        buffers = [np.empty((_CHUNK, size), np.float32) for size in weights.sizes[1:-1]]
        for first in range(start, stop, _CHUNK):
            last = min(first + _CHUNK, stop)
            values = features[first:last]
            for (matrix, bias), buffer in zip(layers[:-1], buffers, strict=True):
                target = buffer[: last - first]
                gemm(values, matrix, target)
                finish_dense(target, bias, rectify)
                values = target
            matrix, bias = layers[-1]
            output_dot(values, matrix[:, 0], bias[0], out[first:last])

    run_slices(work, len(features), threads)
    return weights.scale.predictions(out)
