"""Parameters and multiplications of the networks of NAS-Bench-201, in closed form.

The network of all the authors' files (C = 16 channels, N = 5): a 3x3 convolution of the image with
batch normalisation; three stages of N cells with C, 2 C and 4 C channels, a residual block of
stride 2 before the second and the third; batch normalisation, ReLU, the mean over all pixels, a
linear classifier. Source: ``TinyNetwork``, ``InferCell`` and ``ResNetBasicblock`` of
AutoDL-Projects.

Multiplications are counted as the authors' files do (``flop_benchmark.py``): those of convolutions
and of the classifier, with one for each of its biases; poolings, normalisations and sums are not
counted. They call the count FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.spaces.choices import Codes
from nprep.spaces.nb201.strings import CONV_1X1, CONV_3X3, NUM_OPERATIONS

CHANNELS = 16
CELLS_PER_STAGE = 5
STAGES = 3


@dataclass(frozen=True)
class Dataset:
    """What the networks were trained on.

    Attributes:
        name: The authors' name.
        classes: Number of classes.
        image_size: Height and width of the images, pixels.
    """

    name: str
    classes: int
    image_size: int


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("cifar10", 10, 32),
        Dataset("cifar100", 100, 32),
        Dataset("ImageNet16-120", 120, 16),
    )
}


def dataset_named(name: str) -> Dataset:
    """The dataset of a name.

    Raises:
        SettingsError: If there is none.
    """
    if name not in DATASETS:
        raise SettingsError(f"the dataset {name!r} is unknown: use {', '.join(DATASETS)}.")
    return DATASETS[name]


def _by_operation(conv_1x1: int, conv_3x3: int) -> NDArray[np.int64]:
    """(5,) costs by operation code: only convolutions have any."""
    costs = np.zeros(NUM_OPERATIONS, np.int64)
    costs[CONV_1X1], costs[CONV_3X3] = conv_1x1, conv_3x3
    return costs


def trainable_parameters(batch: Codes, dataset: str) -> NDArray[np.int32]:
    """Trainable parameters (N,) int32 of the full networks.

    Args:
        batch: N architectures.
        dataset: One of ``DATASETS``, which differ in the classifier.

    Raises:
        SettingsError: If the dataset is unknown.
    """
    c = CHANNELS
    last = c << (STAGES - 1)
    # Scale and shift of a normalisation are two parameters for each channel.
    fixed = 27 * c + 2 * c + 2 * last + (last + 1) * dataset_named(dataset).classes
    cells = np.zeros(NUM_OPERATIONS, np.int64)
    for stage in range(STAGES):
        own = c << stage
        cells += CELLS_PER_STAGE * _by_operation(own * own + 2 * own, 9 * own * own + 2 * own)
        if stage:
            # Two 3x3 convolutions with normalisation, and a 1x1 convolution beside them.
            fixed += 9 * own * (own // 2) + 9 * own * own + 4 * own + own * (own // 2)
    return (fixed + cells[batch.values].sum(axis=1)).astype(np.int32)


def multiplications(batch: Codes, dataset: str) -> NDArray[np.int64]:
    """Multiplications (N,) int64 for one image, which the authors' files call FLOPs.

    Args:
        batch: N architectures.
        dataset: One of ``DATASETS``, which differ in classifier and image size.

    Raises:
        SettingsError: If the dataset is unknown.
    """
    chosen = dataset_named(dataset)
    c = CHANNELS
    pixels = chosen.image_size**2
    fixed = 27 * c * pixels + ((c << (STAGES - 1)) + 1) * chosen.classes
    cells = np.zeros(NUM_OPERATIONS, np.int64)
    for stage in range(STAGES):
        own = c << stage
        here = pixels >> (2 * stage)
        cells += CELLS_PER_STAGE * here * _by_operation(own * own, 9 * own * own)
        if stage:
            fixed += here * (9 * own * (own // 2) + 9 * own * own + own * (own // 2))
    return fixed + cells[batch.values].sum(axis=1)
