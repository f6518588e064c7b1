"""The graph-convolutional predictor: training and inference."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.graphs.train import train_gcn
from nprep.kernels.numeric.initialisation import fill_uniform
from nprep.kernels.numeric.rng import seed_state
from nprep.predictor.labels import LabelScale, loss_kind
from nprep.predictor.settings import GcnSettings
from nprep.spaces.graphs import GraphBatch, HasGraphs


@dataclass(frozen=True)
class GcnWeights:
    """A trained predictor.

    Attributes:
        parameters: (P,) float32, laid out as in ``nprep.kernels.graphs.train``.
        num_types: Length of the one-hot node input.
        settings: The settings that it was trained with; the width is settled.
        scale: Turns raw outputs into predictions.
        losses: (epochs,) mean training loss of every epoch.
    """

    parameters: NDArray[np.float32]
    num_types: int
    settings: GcnSettings
    scale: LabelScale
    losses: NDArray[np.float64]

    @property
    def width(self) -> int:
        """Width of the GCN layers."""
        assert self.settings.width is not None
        return self.settings.width

    def layer(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Views of a GCN layer: the (C, 2 D) matrix [W+ | W-] and the (2 D,) biases."""
        offset = 0
        for current in range(number + 1):
            channels = self.num_types if current == 0 else self.width
            size = channels * 2 * self.width
            if current < number:
                offset += size + 2 * self.width
        matrix = self.parameters[offset : offset + size].reshape(channels, 2 * self.width)
        return matrix, self.parameters[offset + size : offset + size + 2 * self.width]

    def head(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Views of the dense layers: each a (C, H) matrix and (H,) biases, the output last."""
        offset = layer_parameters(self.settings, self.num_types)
        sizes = head_sizes(self.settings)
        views = []
        for width, height in itertools.pairwise(sizes):
            matrix = self.parameters[offset : offset + width * height].reshape(width, height)
            offset += width * height
            views.append((matrix, self.parameters[offset : offset + height]))
            offset += height
        return views


def head_sizes(settings: GcnSettings) -> NDArray[np.int64]:
    """Sizes of the dense stack, from the GCN's width to the single output."""
    assert settings.width is not None
    return np.array([settings.width, *settings.head, 1], np.int64)


def layer_parameters(settings: GcnSettings, num_types: int) -> int:
    """Number of parameters of the GCN layers (places for biases included)."""
    assert settings.width is not None
    return 2 * settings.width * (num_types + 1 + (settings.layers - 1) * (settings.width + 1))


def initial_parameters(
    settings: GcnSettings, num_types: int, state: NDArray[np.uint64]
) -> NDArray[np.float32]:
    """Draws initial parameters; biases are zero.

    Args:
        settings: Settings with a settled width.
        num_types: Length of the one-hot node input.
        state: (4,) generator state, advanced.

    Returns:
        (P,) float32.
    """
    width = settings.width
    assert width is not None
    head = head_sizes(settings)
    offset = layer_parameters(settings, num_types)
    parameters = np.zeros(offset + int(((head[:-1] + 1) * head[1:]).sum()), np.float32)
    start = 0
    for layer in range(settings.layers):
        channels = num_types if layer == 0 else width
        stop = start + channels * 2 * width
        # The two directions are two matrices of this size, whatever their storage.
        bound = uniform_bound(settings.initialisation, channels, width)
        fill_uniform(state, parameters, start, stop, bound)
        start = stop + 2 * width
    initialise_dense(settings.initialisation, head, parameters, offset, state)
    return parameters


def initialise_dense(
    initialisation: str,
    sizes: NDArray[np.int64],
    parameters: NDArray[np.float32],
    offset: int,
    state: NDArray[np.uint64],
) -> None:
    """Draws the weights of a dense stack; its biases are left alone.

    Args:
        initialisation: Name of the rule.
        sizes: (k + 2,) sizes of the stack.
        parameters: Flat parameters, changed in place.
        offset: First parameter of the stack.
        state: (4,) generator state, advanced.
    """
    for width, height in itertools.pairwise(sizes.tolist()):
        bound = uniform_bound(initialisation, width, height)
        fill_uniform(state, parameters, offset, offset + width * height, bound)
        offset += (width + 1) * height


def uniform_bound(initialisation: str, fan_in: int, fan_out: int) -> float:
    """Half the range of the uniform distribution that a weight matrix starts from."""
    if initialisation == "glorot":
        return float(np.sqrt(6.0 / (fan_in + fan_out)))
    if initialisation == "he":
        return float(np.sqrt(6.0 / fan_in))
    return float(1.0 / np.sqrt(fan_in))


def train(
    cells: HasGraphs,
    labels: NDArray[np.floating] | NDArray[np.bool_],
    settings: GcnSettings,
    seed: np.random.SeedSequence,
) -> GcnWeights:
    """Trains one predictor.

    Args:
        cells: The N training architectures, or their graphs (built with
            ``settings.normalisation``).
        labels: (N,) accuracies in [0, 1] train a regressor, booleans a classifier.
        settings: Architecture and training; a width of None is settled by N.
        seed: Seeds initial weights, orders and dropout; the same seed gives the same bits.

    Returns:
        The trained predictor.

    Raises:
        SettingsError: If there are no samples, or as many labels as there are cells are not given.
    """
    graphs = cells.graphs(settings.normalisation)
    if len(graphs) == 0 or len(graphs) != len(labels):
        raise SettingsError(
            f"{len(graphs)} training cells come with {len(labels)} labels; give one label a cell."
        )
    settings = settings.for_samples(len(graphs))
    state = seed_state(seed)
    parameters = initial_parameters(settings, graphs.num_types, state)
    return fit(graphs, labels, settings, parameters, state)


def fit(
    graphs: GraphBatch,
    labels: NDArray[np.floating] | NDArray[np.bool_],
    settings: GcnSettings,
    parameters: NDArray[np.float32],
    state: NDArray[np.uint64],
    shuffled: bool = True,
    gradients: NDArray[np.float32] | None = None,
) -> GcnWeights:
    """Trains from given initial parameters.

    Args:
        graphs: The training cells.
        labels: As in ``train``.
        settings: Settings with a settled width.
        parameters: (P,) initial parameters, changed in place.
        state: (4,) generator of orders and dropout, advanced.
        shuffled: Whether each epoch draws a new order (tests turn it off).
        gradients: (P,) receives the gradients of the last step, or None.

    Returns:
        The trained predictor; it owns ``parameters``.
    """
    scale = LabelScale.fit(labels, settings)
    classifier = labels.dtype == np.bool_
    losses = np.empty(settings.epochs, np.float64)
    width = settings.width
    assert width is not None
    train_gcn(
        graphs.types,
        graphs.num_types,
        graphs.cell_starts,
        graphs.out_starts,
        graphs.out_nodes,
        graphs.out_weights,
        graphs.in_starts,
        graphs.in_nodes,
        graphs.in_weights,
        scale.targets(labels),
        parameters,
        settings.layers,
        width,
        head_sizes(settings),
        settings.layer_bias,
        settings.head_bias,
        settings.activation == "relu",
        settings.dropout_layers,
        settings.dropout_readout,
        settings.dropout_head,
        loss_kind(classifier, settings),
        settings.epochs,
        settings.batch,
        settings.classifier_learning_rate if classifier else settings.learning_rate,
        settings.weight_decay,
        settings.decoupled,
        shuffled,
        state,
        losses,
        np.empty_like(parameters) if gradients is None else gradients,
    )
    return GcnWeights(parameters, graphs.num_types, settings, scale, losses)
