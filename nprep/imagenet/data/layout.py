"""Finds the parts of a data set: what to train on, validate on and test on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nprep.imagenet.data.hugging_face import PREFIX, open_hugging_face
from nprep.imagenet.data.shards import ShardSource
from nprep.imagenet.data.sources import DataError, FolderSource, Source, SyntheticSource, split_off
from nprep.imagenet.settings import TrainSettings


@dataclass(frozen=True)
class DataParts:
    """The parts of a data set; all have the same classes."""

    train: Source
    val: Source
    test: Source | None

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.train.classes)


def _part(
    root: Path, name: str, classes: tuple[str, ...] | None, num_classes: int = 0
) -> Source | None:
    folder = root / name
    if folder.is_dir():
        shards = sorted(folder.glob("*.tar"))
        if not shards:
            return FolderSource(folder, classes)
    else:
        shards = sorted(root.glob(f"{name}-*.tar"))
    return ShardSource(shards, classes, num_classes) if shards else None


def open_parts(settings: TrainSettings) -> DataParts:
    """Opens the images of a training.

    Args:
        settings: Say where the images are, or that they are made up.

    Returns:
        The parts. With a holdout, validation images come out of the training images, and the
        folder's ``val`` is the test set.

    Raises:
        DataError: If the data is missing or not laid out as it should be.
    """
    if settings.synthetic_data:
        classes = settings.num_classes or 1000
        count, size = settings.synthetic_data, settings.image_size
        return DataParts(
            SyntheticSource(count, classes, size, seed=0),
            SyntheticSource(max(1, count // 4), classes, size, seed=1),
            None,
        )
    train: Source
    val: Source | None
    test: Source | None
    if settings.data.startswith(PREFIX):
        name = settings.data.removeprefix(PREFIX)
        train, val, test = open_hugging_face(name, settings.image_column, settings.label_column)
        where, lacks_val = name, "a split validation"
    else:
        train, val, test = _open_folder(Path(settings.data), settings.num_classes)
        where, lacks_val = settings.data, "a folder val/ or shards val-*.tar"
    if settings.num_classes and settings.num_classes != len(train.classes):
        raise DataError(
            f"{where} has {len(train.classes)} classes and num_classes is {settings.num_classes}: "
            "leave --num-classes out or correct the data."
        )
    if len(train.classes) < 2:
        raise DataError(f"{where} has a single class: a classifier needs at least two.")
    if settings.holdout:
        kept, taken = split_off(train, settings.holdout)
        return DataParts(kept, taken, test if test is not None else val)
    if val is None:
        raise DataError(
            f"{where} lacks {lacks_val}: add it, or take validation images out of the training "
            "images with --holdout COUNT."
        )
    return DataParts(train, val, test)


def _open_folder(root: Path, num_classes: int) -> tuple[Source, Source | None, Source | None]:
    """The parts of a folder: train, val and test."""
    if not root.is_dir():
        raise DataError(f"data folder {root} does not exist: check --data.")
    train = _part(root, "train", None, num_classes)
    if train is None:
        raise DataError(
            f"{root} has neither a folder train/ nor shards train-*.tar: lay the images out as "
            "train/CLASS/*.jpg and val/CLASS/*.jpg, or as WebDataset shards."
        )
    return train, _part(root, "val", train.classes), _part(root, "test", train.classes)
