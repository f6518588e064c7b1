"""Settings of the predictors, and the presets with names.

What the paper leaves open is settled by experiment: ``README.md`` beside this file has the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nprep.errors import SettingsError

# The paper's widths, chosen by cross-validation for these numbers of training samples.
WIDTHS = {43: 48, 86: 72, 129: 96, 172: 144, 344: 210, 860: 320}

ACTIVATIONS = ("relu", "linear")
INITIALISATIONS = ("glorot", "torch-linear", "he")
LABELS = ("zscore", "sigmoid", "sigmoid-percent", "normal-scores")
LOSSES = ("squared", "ranking")
REGRESSOR_SAMPLES = ("classifier", "observed", "all")


def width_for(samples: int) -> int:
    """The width of the GCN layers for a number of training samples.

    Args:
        samples: Number N of training samples.

    Returns:
        The paper's width where the paper has one; else interpolated linearly between its values
        (constant outside), rounded to a multiple of 8, which the matrix products like.
    """
    if samples in WIDTHS:
        return WIDTHS[samples]
    width = np.interp(samples, list(WIDTHS), list(WIDTHS.values()))
    return round(float(width) / 8) * 8


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise SettingsError(f"{fault}.")


@dataclass(frozen=True)
class TrainingSettings:
    """How a predictor is trained, whatever its architecture.

    Attributes:
        head: Sizes of the hidden dense layers.
        activation: Of the hidden dense layers: "relu" or "linear".
        head_bias: Whether the dense layers have biases.
        dropout_head: Dropout rate after each hidden dense layer.
        initialisation: "glorot" (uniform, fan in + fan out), "torch-linear" (uniform within
            1 / sqrt(fan in)) or "he" (uniform within sqrt(6 / fan in)). Biases start at zero.
        labels: What a regressor learns: "zscore" (accuracy minus the mean of its training sample,
            over its standard deviation; linear output), "sigmoid" (accuracy as it is, output
            0.1 + 0.9 sigmoid), "sigmoid-percent" (the same in percent, so the decay weighs 10,000
            times less) or "normal-scores" (normal quantiles of the ranks; linear output).
        loss: Of a regressor: "squared" or "ranking" (logistic loss of the pairs of a batch).
        epochs: Passes over the training sample.
        batch: Samples in a step.
        learning_rate: First learning rate of a regressor; cosine decay to zero.
        classifier_learning_rate: That of a classifier.
        weight_decay: Weight decay.
        decoupled: Whether it is decoupled from the gradient (AdamW) or L2 regularisation in Adam.
    """

    head: tuple[int, ...] = (128,)
    activation: str = "relu"
    head_bias: bool = True
    dropout_head: float = 0.1
    initialisation: str = "glorot"
    labels: str = "zscore"
    loss: str = "squared"
    epochs: int = 100
    batch: int = 10
    learning_rate: float = 1e-3
    classifier_learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    decoupled: bool = False

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            SettingsError: If one is outside its range.
        """
        for name, known in (
            ("activation", ACTIVATIONS),
            ("initialisation", INITIALISATIONS),
            ("labels", LABELS),
            ("loss", LOSSES),
        ):
            value = getattr(self, name)
            choices = ", ".join(known)
            _require(value in known, f"{name} {value!r} is unknown; choose from {choices}")
        for name in ("epochs", "batch"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} is {value}; it must be at least 1")
        for name in ("learning_rate", "classifier_learning_rate"):
            value = getattr(self, name)
            _require(value > 0, f"{name} is {value}; it must be above 0")
        _require(
            self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; it must be at least 0"
        )
        _require(
            all(size >= 1 for size in self.head), f"head {self.head} has a layer without units"
        )
        for name in ("dropout_head", "dropout_layers", "dropout_readout"):
            value = getattr(self, name, 0.0)
            _require(0 <= value < 1, f"{name} is {value}; it must be in [0, 1)")


@dataclass(frozen=True)
class GcnSettings(TrainingSettings):
    """The graph-convolutional predictor: classifier and regressor share the architecture.

    Attributes:
        layers: Number of bidirectional GCN layers.
        width: Their width; None takes ``width_for`` the number of samples.
        layer_bias: Whether they have biases.
        normalisation: Of the adjacency: "row", "symmetric" or "sum".
        dropout_layers: Dropout rate after each GCN layer.
        dropout_readout: Dropout rate of the mean over vertices.
        threshold: Validation accuracy above which a cell is accurate, for the classifier.
        regressor_samples: Which samples train the two-stage regressor: those that the "classifier"
            accepts, those whose "observed" run is above the threshold, or "all".
    """

    layers: int = 3
    width: int | None = None
    layer_bias: bool = False
    normalisation: str = "row"
    dropout_layers: float = 0.0
    dropout_readout: float = 0.0
    threshold: float = 0.91
    regressor_samples: str = "observed"

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            SettingsError: If one is outside its range.
        """
        super().__post_init__()
        _require(self.layers >= 1, f"layers is {self.layers}; it must be at least 1")
        _require(
            self.width is None or self.width >= 1, f"width is {self.width}; it must be at least 1"
        )
        known = ", ".join(REGRESSOR_SAMPLES)
        _require(
            self.regressor_samples in REGRESSOR_SAMPLES,
            f"regressor_samples {self.regressor_samples!r} is unknown; choose from {known}",
        )
        _require(0 < self.threshold < 1, f"threshold is {self.threshold}; it must be in (0, 1)")

    def for_samples(self, samples: int) -> GcnSettings:
        """These settings with the width settled for a number of training samples."""
        return self if self.width is not None else replace(self, width=width_for(samples))


@dataclass(frozen=True)
class MlpSettings(TrainingSettings):
    """The perceptron on one-hot operations and the upper triangle of the adjacency matrix."""

    head: tuple[int, ...] = (128, 128)
    epochs: int = 300


# What the paper states, and where it is silent the plainest reading of it: accuracies as they are,
# mapped by the output into [10 %, 100 %]; no biases; a linear hidden dense layer, dropout after it;
# adjacency with self-loops divided by its row sums; the regressor learns from the samples that the
# classifier accepts, as in the re-implementations.
FAITHFUL = GcnSettings(
    labels="sigmoid",
    head_bias=False,
    activation="linear",
    epochs=300,
    learning_rate=1e-4,
    classifier_learning_rate=2e-4,
    regressor_samples="classifier",
)
