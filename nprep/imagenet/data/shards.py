"""Images in WebDataset shards: tar files of KEY.jpg (or .png, ...) and KEY.cls (or .json).

The shards are indexed once, then read at random positions, so that a run can stop and go on at any
image, split evenly over processes and count every validation image once. The order of training
visits a few shards at a time, which keeps reading nearly sequential.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.imagenet.data.sources import EXTENSIONS, DataError


class ShardSource:
    """Shards as a source with random access."""

    def __init__(self, shards: list[Path], classes: tuple[str, ...] | None = None) -> None:
        """Indexes the shards.

        Args:
            shards: Tar files, uncompressed.
            classes: The classes of the training set, or None to count the labels found.

        Raises:
            DataError: If a shard is no readable tar, or an image has no label.
        """
        self._shards = shards
        parts = [_index(shard) for shard in shards]
        self.groups: NDArray[np.int32] | None = np.repeat(
            np.arange(len(parts), dtype=np.int32), [len(part) for part in parts]
        )
        table = np.concatenate(parts)
        if not len(table):
            raise DataError(f"the shards beside {shards[0]} hold no images")
        self._offsets, self._sizes, self.labels = table.T.copy()
        highest = int(self.labels.max())
        if classes is None:
            classes = tuple(map(str, range(highest + 1)))
        elif highest >= len(classes):
            raise DataError(
                f"{shards[0].parent} has label {highest} in its validation shards and the training "
                f"images have {len(classes)} classes: the two need the same classes"
            )
        self.classes = classes
        self._files: dict[int, int] = {}
        self._owner = os.getpid()

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def read(self, index: int) -> bytes:
        """The encoded image."""
        if self._owner != os.getpid():
            # Forked loaders open files of their own.
            self._files, self._owner = {}, os.getpid()
        assert self.groups is not None
        shard = int(self.groups[index])
        if shard not in self._files:
            self._files[shard] = os.open(self._shards[shard], os.O_RDONLY)
        return os.pread(self._files[shard], int(self._sizes[index]), int(self._offsets[index]))

    def name(self, index: int) -> str:
        """The shard and the position in it."""
        assert self.groups is not None
        return f"{self._shards[int(self.groups[index])]} at byte {int(self._offsets[index])}"

    def __getstate__(self) -> dict[str, object]:
        """Open files do not travel to other processes."""
        return {**self.__dict__, "_files": {}, "_owner": -1}


def _members(shard: Path) -> Iterator[tuple[str, str, int, int]]:
    """Yields key, extension, offset and size of the files of a shard."""
    try:
        with tarfile.open(shard, "r:") as archive:
            size = shard.stat().st_size
            for member in archive:
                if not member.isfile():
                    continue
                folder, _, file = member.name.rpartition("/")
                key, _, extension = file.partition(".")
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                yield f"{folder}/{key}", "." + extension.lower(), member.offset_data, member.size
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"shard {shard} cannot be read as an uncompressed tar file ({error}): copy it again"
        ) from error


def _index(shard: Path) -> NDArray[np.int64]:
    """(n, 3) int64: offset, size and label of the images of a shard, in their order."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    with shard.open("rb") as raw:
        for key, extension, offset, size in _members(shard):
            if extension in EXTENSIONS:
                images[key] = (offset, size)
            elif extension in (".cls", ".json"):
                labels[key] = _label(os.pread(raw.fileno(), size, offset), extension, key, shard)
    lost = [key for key in images if key not in labels]
    if lost:
        raise DataError(
            f"shard {shard} has no label for image {lost[0].lstrip('/')}: each KEY.jpg needs a "
            "KEY.cls with the class number (or a KEY.json with a label)"
        )
    rows = [(*place, labels[key]) for key, place in images.items()]
    return np.array(rows, np.int64).reshape(-1, 3)


def _label(content: bytes, extension: str, key: str, shard: Path) -> int:
    try:
        label = json.loads(content)
        if extension == ".json":
            label = label["label"]
        if type(label) is not int or label < 0:
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"shard {shard} has the label {content[:20]!r} for {key.lstrip('/')}: a label is a "
            "class number from 0 up"
        ) from error
    return label


def write_shards(
    folder: Path, prefix: str, images: list[tuple[bytes, int]], extension: str, per_shard: int
) -> list[Path]:
    """Writes images as WebDataset shards ``PREFIX-000000.tar``, ...

    Args:
        folder: Where to.
        prefix: "train", "val" or "test".
        images: Encoded images and labels.
        extension: Of the images, with the dot.
        per_shard: Images in one shard.

    Returns:
        The paths.
    """
    import io

    paths = []
    for start in range(0, len(images), per_shard):
        paths.append(folder / f"{prefix}-{start // per_shard:06d}.tar")
        with tarfile.open(paths[-1], "w") as archive:
            for number, (content, label) in enumerate(images[start : start + per_shard], start):
                for ending, data in ((extension, content), (".cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{number:08d}{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return paths
