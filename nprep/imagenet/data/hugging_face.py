"""Images in data sets of Hugging Face's ``datasets``: from the hub, or saved in a folder.

The rows of a split are read in any order, from memory-mapped files, so that what holds for folders
holds here: runs resume at any image, and every image is counted once.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep._optional import need
from nprep.imagenet.data.sources import DataError

_LOG = logging.getLogger("nprep.imagenet")
# What --data starts with.
PREFIX = "hf:"
# Names of splits, the first that is there counts.
SPLITS = {
    "train": ("train", "training"),
    "val": ("validation", "val", "valid", "dev"),
    "test": ("test",),
}
# Names of columns that count where several could be meant.
IMAGE_NAMES = ("image", "img")
LABEL_NAMES = ("label", "labels")


def _package() -> Any:
    return need("datasets", "read data sets of Hugging Face", extra="hf")


class HuggingFaceSource:
    """One split as a source with random access."""

    groups = None

    def __init__(
        self,
        split: Any,
        title: str,
        image: str = "",
        label: str = "",
        classes: tuple[str, ...] | None = None,
    ) -> None:
        """Reads the labels.

        Args:
            split: A ``datasets.Dataset``.
            title: What to call it in messages.
            image: The column of images; "" finds it.
            label: The column of labels; "" finds it.
            classes: The classes of the training images, or None.

        Raises:
            DataError: If a column or a label is missing, or the classes are others.
        """
        datasets = _package()
        features = split.features
        image = _column(image, title, "images", "input-key", IMAGE_NAMES, features, [
            name for name, kind in features.items() if isinstance(kind, datasets.Image)
        ])  # fmt: skip
        label = _column(label, title, "labels", "target-key", LABEL_NAMES, features, [
            name for name, kind in features.items()
            if isinstance(kind, datasets.ClassLabel) or name in LABEL_NAMES
        ])  # fmt: skip
        if not isinstance(features[image], datasets.Image):
            raise DataError(
                f"{title} has no images in column {image}, but {features[image]}: name another "
                "with --input-key, or cast it to datasets.Image."
            )
        # Plain arrays, which loader processes share without copying; images stay on disk.
        values = split.with_format(None)[label][:]
        self.classes, self.labels = _labels(values, features[label], title, label, classes)
        self._rows = split.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        self._image, self._title = image, title

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def read(self, index: int) -> bytes:
        """The encoded image.

        Raises:
            ValueError: If the row has none.
        """
        cell = self._rows[index][self._image]
        content = None if cell is None else cell["bytes"]
        if content is not None:
            return bytes(content)
        if cell is None or not cell["path"]:
            raise ValueError("the row has no image")
        # It may be inside an archive, or elsewhere on the network.
        import fsspec

        with fsspec.open(cell["path"], "rb") as file:
            found: bytes = file.read()
        return found

    def name(self, index: int) -> str:
        """The split and the row."""
        return f"row {index} of {self._title}"


def open_hugging_face(
    name: str, image: str = "", label: str = ""
) -> tuple[HuggingFaceSource, HuggingFaceSource | None, HuggingFaceSource | None]:
    """Opens the splits of a data set.

    Args:
        name: A folder that ``save_to_disk`` wrote, or the name of a data set on the hub; of one
            with several configurations NAME:CONFIGURATION.
        image: The column of images; "" finds it.
        label: The column of labels; "" finds it.

    Returns:
        Images to train on, to validate on and to test on; None where there is no such split. A
        test split without labels, which some hosts keep secret, counts as none.

    Raises:
        DataError: If it cannot be opened, or has no such columns.
        MissingDependencyError: If ``datasets`` is not installed.
    """
    splits = _load(name)
    found: dict[str, HuggingFaceSource | None] = {}
    classes = None
    for part, names in SPLITS.items():
        here = next((one for one in names if one in splits), None)
        found[part] = None
        if here is None:
            continue
        try:
            source = HuggingFaceSource(splits[here], f"{name} ({here})", image, label, classes)
        except _SecretLabelsError as error:
            if part != "test":
                raise
            _LOG.warning(f"{str(error).split(':')[0]}: there will be no test accuracy")
            continue
        found[part] = source
        if part == "train":
            classes = source.classes
    if found["train"] is None:
        raise DataError(
            f"{name} has the splits {', '.join(splits)}: one of them must be called train."
        )
    return found["train"], found["val"], found["test"]


class _SecretLabelsError(DataError):
    """A split of which no image has a label."""


def _load(name: str) -> dict[str, Any]:
    """The splits of a data set by their names."""
    datasets = _package()
    folder = Path(name)
    try:
        if any((folder / file).exists() for file in ("dataset_dict.json", "dataset_info.json")):
            loaded = datasets.load_from_disk(name)
        elif folder.exists():
            loaded = datasets.load_dataset(name)
        else:
            path, _, configuration = name.partition(":")
            loaded = datasets.load_dataset(path, configuration or None)
    except Exception as error:  # the package's own, the hub's, the network's and the system's
        first = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise DataError(
            f"data set {name} cannot be opened ({first}): check its name after {PREFIX}, and the "
            "network; on a machine without one give a folder that save_to_disk wrote elsewhere."
        ) from error
    # A folder may hold one split alone.
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


def _column(
    given: str,
    title: str,
    what: str,
    option: str,
    usual: tuple[str, ...],
    columns: Any,
    possible: list[str],
) -> str:
    """The column that is meant."""
    if given:
        if given not in columns:
            raise DataError(
                f"{title} has no column {given!r}: it has {', '.join(columns)}; name one with "
                f"--{option}."
            )
        return given
    for name in usual:
        if name in possible:
            return name
    if len(possible) != 1:
        several = f"several columns of {what} ({', '.join(possible)})"
        none = f"no column that is known to hold {what} (its columns: {', '.join(columns)})"
        raise DataError(f"{title} has {several if possible else none}: name it with --{option}.")
    return possible[0]


def _labels(
    values: Any, kind: Any, title: str, column: str, classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the classes, and (n,) labels."""
    if any(value is None for value in values):
        raise DataError(f"{title} has rows without a value in column {column}: remove them.")
    if not values:
        raise DataError(f"{title} has no rows: give a data set with images.")
    if isinstance(values[0], str):
        own = tuple(sorted(set(values)))
        number = {name: place for place, name in enumerate(classes or own)}
        unknown = [name for name in own if name not in number]
        if unknown:
            raise DataError(
                f"{title} has the class {unknown[0]!r}, of which there are no training images: "
                "the splits need the same classes."
            )
        return classes or own, np.array([number[value] for value in values], np.int64)
    if not all(isinstance(value, int | np.integer) for value in values):
        raise DataError(
            f"column {column} of {title} holds {kind} and no classes: name another with "
            "--target-key."
        )
    labels = np.array(values, np.int64)
    if (labels < 0).all():
        raise _SecretLabelsError(f"{title} has no labels: take images of train with --holdout.")
    own = tuple(map(str, getattr(kind, "names", None) or range(int(labels.max()) + 1)))
    if classes is None:
        classes = own
    elif hasattr(kind, "names") and own != classes:
        raise DataError(f"{title} has other classes than the training images: correct one of them.")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise DataError(
            f"row {wrong[0]} of {title} has label {labels[wrong[0]]} and there are "
            f"{len(classes)} classes: labels are numbers from 0 up."
        )
    return classes, labels
