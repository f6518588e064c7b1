"""Where images come from: folders, or nowhere (made up). Shards are in ``shards``."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nprep._optional import need
from nprep.errors import NprepError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}


class DataError(NprepError):
    """Images that are missing, unreadable or wrongly laid out."""


class Source(Protocol):
    """Encoded images with labels, in any order."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) labels."""

    @property
    def groups(self) -> NDArray[np.int32] | None:
        """(n,) groups of images that lie together on disk, or None if all lie apart."""

    def __len__(self) -> int:
        """The number of images."""

    def read(self, index: int) -> bytes:
        """The encoded image."""

    def name(self, index: int) -> str:
        """What to call the image in messages."""


class FolderSource:
    """One folder a class, any depth of folders below, as torchvision's ImageFolder."""

    groups = None

    def __init__(self, root: Path, classes: tuple[str, ...] | None = None) -> None:
        """Lists the images.

        Args:
            root: Holds the class folders.
            classes: The classes that there must be (those of the training set), or None.

        Raises:
            DataError: If there are no images, or not those classes.
        """
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        if not folders:
            raise DataError(
                f"{root} holds no class folders: put the images of each class in a folder of it."
            )
        if classes is not None and tuple(folders) != classes:
            extra, missing = (
                sorted(set(folders) - set(classes)),
                sorted(set(classes) - set(folders)),
            )
            raise DataError(
                f"{root} has other classes than the training images ("
                f"{len(extra)} more{_some(extra)}, {len(missing)} missing{_some(missing)}): "
                "the two need the same class folders."
            )
        self.classes = tuple(folders)
        paths: list[bytes] = []
        labels: list[int] = []
        for label, folder in enumerate(folders):
            found = sorted(
                os.fsencode(path.relative_to(root))
                for path in (root / folder).rglob("*")
                if path.suffix.lower() in EXTENSIONS and path.is_file()
            )
            if not found:
                raise DataError(
                    f"{root / folder} holds no images: remove the folder or fill it (known "
                    f"endings: {', '.join(sorted(EXTENSIONS))})."
                )
            paths += found
            labels += [label] * len(found)
        self.labels = np.array(labels, np.int64)
        # One array, not a million objects: loader processes share it without copying.
        self._root, self._paths = root, np.array(paths)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def read(self, index: int) -> bytes:
        """The encoded image."""
        return Path(self.name(index)).read_bytes()

    def name(self, index: int) -> str:
        """The path of the image."""
        return str(self._root / os.fsdecode(self._paths[index].item()))


class SyntheticSource:
    """Made-up images, for smoke runs: noise around one random colour a class, as PNG."""

    groups = None

    def __init__(self, count: int, num_classes: int, image_size: int, seed: int) -> None:
        """Sets the shape of the data; images are made when they are read."""
        self.classes = tuple(f"class{number}" for number in range(num_classes))
        self.labels = np.arange(count, dtype=np.int64) % num_classes
        self._size, self._seed = image_size, seed
        self._colours = np.random.default_rng(num_classes).uniform(40, 215, (num_classes, 3))

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def read(self, index: int) -> bytes:
        """The encoded image."""
        image = need("PIL.Image", "make images up", "pillow", extra="imagenet")
        rng = np.random.default_rng((self._seed, index))
        noise = rng.normal(self._colours[self.labels[index]], 40, (self._size, self._size, 3))
        out = io.BytesIO()
        image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(out, "PNG", compress_level=0)
        return out.getvalue()

    def name(self, index: int) -> str:
        """Its number."""
        return f"synthetic image {index}"


@dataclass(frozen=True)
class Subset:
    """Some images of a source."""

    source: Source
    rows: NDArray[np.int64]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the whole source."""
        return self.source.classes

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) labels."""
        return self.source.labels[self.rows]

    @property
    def groups(self) -> NDArray[np.int32] | None:
        """(n,) groups, or None."""
        return None if self.source.groups is None else self.source.groups[self.rows]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.rows)

    def read(self, index: int) -> bytes:
        """The encoded image."""
        return self.source.read(int(self.rows[index]))

    def name(self, index: int) -> str:
        """Its name in the source."""
        return self.source.name(int(self.rows[index]))


def split_off(source: Source, count: int, seed: int = 0) -> tuple[Subset, Subset]:
    """Takes images for validation out of the training images, evenly over the classes.

    Args:
        source: The training images.
        count: How many to take.
        seed: Which; the same for every training of a study.

    Returns:
        What stays, and what was taken; both in the order of the source.

    Raises:
        DataError: If that leaves no image to train on.
    """
    if count >= len(source):
        raise DataError(
            f"a holdout of {count} leaves none of the {len(source)} training images: take fewer."
        )
    rng = np.random.default_rng((seed, 0x5B11))
    shuffled = rng.permutation(len(source))
    # The k-th image of each class gets the key (k + 0.5) / size of the class: the smallest keys
    # are an even share of every class.
    keys = np.empty(len(source))
    labels = source.labels[shuffled]
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        keys[places] = (np.arange(len(places)) + rng.random()) / len(places)
    order = shuffled[np.argsort(keys, kind="stable")]
    taken, kept = np.sort(order[:count]), np.sort(order[count:])
    return Subset(source, kept), Subset(source, taken)


def _some(names: list[str]) -> str:
    return ": " + ", ".join(names[:3]) + ("..." if len(names) > 3 else "") if names else ""
