"""What files say of NAS-Bench-201, in one form: every source of that space fills it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError, TableError
from nprep.spaces.nb201.space import NB201
from nprep.spaces.nb201.strings import SIZE, from_numbers, numbers, parse_text
from nprep.table.schema import Content, Metric

CITATION = (
    "X. Dong, Y. Yang, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture "
    "Search, ICLR 2020; X. Dong, L. Liu, K. Musial, B. Gabrys, NATS-Bench, TPAMI 2021"
)
FULL_EPOCHS = 200

# Whose validation and test accuracies a table of each dataset holds.
NETWORKS = {
    "cifar10": (
        "networks trained on half of CIFAR-10's training images (cifar10-valid); validation on the "
        "other half, test on the test images"
    ),
    "cifar100": (
        "networks trained on CIFAR-100's training images; validation and test on one half each of "
        "its test images"
    ),
    "ImageNet16-120": (
        "networks trained on the training images of ImageNet16-120; validation and test on one "
        "half each of its validation images"
    ),
}


@dataclass(frozen=True)
class Trainings:
    """Trainings of M architectures.

    Attributes:
        dataset: "cifar10", "cifar100" or "ImageNet16-120".
        numbers: (M,) int32 official numbers, ascending.
        budgets: Epochs of the B trainings, ascending.
        repeats: What the R repeats are, such as "seed 777"; none where only means are known.
        values: Metric to float32, (M, B, R), or (M, B) means; NaN where missing. Accuracies and
            shares from 0 to 1.
        attributes: Of the source: file, sha256 and so on.
    """

    dataset: str
    numbers: NDArray[np.int32]
    budgets: tuple[int, ...]
    repeats: tuple[str, ...]
    values: Mapping[str, NDArray[np.float32]]
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)


def number_of(text: str, where: str) -> int:
    """The official number of an architecture string that a file has.

    Args:
        text: The string.
        where: What to call its place in a message, such as "file.csv, line 3".

    Raises:
        TableError: If it is no architecture of NAS-Bench-201.
    """
    try:
        return int(numbers(parse_text(text))[0])
    except InvalidSpecError as error:
        raise TableError(f"{where}: {error}") from error


def check_values(path: Path, values: Mapping[str, NDArray[np.float32]], number: object) -> None:
    """Refuses accuracies outside 0 to 1, and negative or infinite numbers.

    Args:
        path: The file, for the message.
        values: Metric to values of any shape.
        number: Of the architecture, or what else to call the place.

    Raises:
        TableError: If there are some.
    """
    for name, array in values.items():
        high = 1.0 if name.endswith("accuracy") else np.inf
        with np.errstate(invalid="ignore"):
            wrong = (array < 0) | (array > high) | np.isinf(array)
        if wrong.any():
            raise TableError(
                f"{path}: architecture {number} has a {name.replace('_', ' ')} of "
                f"{float(array[wrong][0]):g}, which cannot be: get the file again."
            )


def to_content(
    source: str,
    trainings: Trainings,
    views: Mapping[str, str],
    attributes: Mapping[str, str] | None = None,
) -> Content:
    """A table of what a file says.

    Args:
        source: Name of the source.
        trainings: The values; all of them count as measured.
        views: Name of each view to what it is, without space, dataset and number of architectures,
            which come first.
        attributes: More attributes of the file.
    """
    metrics: dict[tuple[str, str], Metric] = {}
    means: dict[tuple[str, str], Metric] = {}
    for name, values in trainings.values.items():
        if not np.isnan(values).all():
            (metrics if values.ndim == 3 else means)["final", name] = Metric.measured(values)
    count = len(trainings.numbers)
    which = f"all {count:,}" if count == SIZE else f"{count:,} of {SIZE:,}"
    begin = f"NAS-Bench-201, {trainings.dataset}, {which} architectures: "
    return Content(
        source=source,
        space=NB201,
        budgets=trainings.budgets,
        repeats=max(1, len(trainings.repeats)),
        cells=from_numbers(trainings.numbers),
        facts={},
        metrics=metrics,
        means=means,
        views={name: begin + text for name, text in views.items()},
        sources={source: {**trainings.attributes, "citation": CITATION}},
        attributes={
            "dataset": trainings.dataset,
            "networks": NETWORKS[trainings.dataset],
            "repeat_names": ", ".join(trainings.repeats) or "means over seeds",
            "test_of": trainings.attributes.get("test_of", "same"),
            **(attributes or {}),
        },
    )
