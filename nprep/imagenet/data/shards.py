"""Images in WebDataset shards: tar files of KEY.jpg (or .png, ...) and KEY.cls (or .json).

The shards are indexed once, then read at random positions, so that a run can stop and go on at any
image, split evenly over processes and count every validation image once. The order of training
visits a few shards at a time, which keeps reading nearly sequential.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.imagenet.data.sources import EXTENSIONS, DataError

# Windows alone knows text files at this level.
_BINARY = getattr(os, "O_BINARY", 0)


class ShardSource:
    """Shards as a source with random access."""

    def __init__(
        self, shards: list[Path], classes: tuple[str, ...] | None = None, num_classes: int = 0
    ) -> None:
        """Indexes the shards.

        Args:
            shards: Tar files, uncompressed.
            classes: The classes of the training set, or None to count the labels found.
            num_classes: How many classes there are, where some may have no images; 0 counts.

        Raises:
            DataError: If a shard is no readable tar, an image has no label, or labels have gaps.
        """
        self._shards = shards
        parts = [_index(shard) for shard in shards]
        self.groups: NDArray[np.int32] | None = np.repeat(
            np.arange(len(parts), dtype=np.int32), [len(part) for part in parts]
        )
        table = np.concatenate(parts)
        if not len(table):
            raise DataError(f"the shards beside {shards[0]} hold no images.")
        self._offsets, self._sizes, self.labels = table.T.copy()
        highest = int(self.labels.max())
        if classes is None:
            if not num_classes:
                _refuse_gaps(self.labels, shards[0].parent)
            classes = tuple(map(str, range(max(num_classes, highest + 1))))
        elif highest >= len(classes):
            raise DataError(
                f"{shards[0].parent} has label {highest} in its validation shards and the training "
                f"images have {len(classes)} classes: the two need the same classes."
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
            self._files[shard] = os.open(self._shards[shard], os.O_RDONLY | _BINARY)
        return _read_at(self._files[shard], int(self._sizes[index]), int(self._offsets[index]))

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
            f"shard {shard} cannot be read as an uncompressed tar file ({error}): {_remedy(shard)}."
        ) from error


# The first bytes of compressed files, and the programs that undo them.
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"(\xb5/\xfd": "unzstd",
}


def _remedy(shard: Path) -> str:
    try:
        with shard.open("rb") as file:
            start = file.read(8)
    except OSError:
        return "check that it is there and may be read"
    for magic, program in _COMPRESSED.items():
        if start.startswith(magic):
            return f"it is compressed: unpack it with {program}, since images are read in any order"
    return "copy it again"


def _refuse_gaps(labels: NDArray[np.int64], folder: Path) -> None:
    counts = np.bincount(labels)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        start = " (labels seem to count from 1)" if empty.tolist() == [0] else ""
        raise DataError(
            f"the shards in {folder} have labels up to {len(counts) - 1} and no image of class "
            f"{empty[0]}{start}: number the classes from 0 without gaps, or say with --num-classes "
            "how many there are."
        )


def _read_at(file: int, size: int, offset: int) -> bytes:
    """Bytes at a place of an open file, which one thread at a time reads."""
    if sys.platform == "win32":
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, size)
    else:
        return os.pread(file, size, offset)


def _index(shard: Path) -> NDArray[np.int64]:
    """(n, 3) int64: offset, size and label of the images of a shard, in their order."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    noted: dict[str, int | bytes] = {}
    with shard.open("rb") as raw:
        for key, extension, offset, size in _members(shard):
            if extension in EXTENSIONS:
                images[key] = (offset, size)
            elif extension == ".cls":
                labels[key] = _label(_read_at(raw.fileno(), size, offset), key, shard)
            elif extension == ".json":
                found = _json_label(_read_at(raw.fileno(), size, offset))
                if found is not None:
                    noted[key] = found
    for key, found in noted.items():
        if isinstance(found, bytes):
            # Not a class number: of no matter where a .cls has one.
            labels[key] = labels[key] if key in labels else _label(found, key, shard)
        elif labels.setdefault(key, found) != found:
            raise DataError(
                f"shard {shard} has the labels {labels[key]} (.cls) and {found} (.json) for "
                f"{key.lstrip('/')}: correct one of them."
            )
    lost = [key for key in images if key not in labels]
    if lost:
        raise DataError(
            f"shard {shard} has no label for image {lost[0].lstrip('/')}: each KEY.jpg needs a "
            "KEY.cls with the class number (or a KEY.json with a label)."
        )
    rows = [(*place, labels[key]) for key, place in images.items()]
    return np.array(rows, np.int64).reshape(-1, 3)


def _json_label(content: bytes) -> int | bytes | None:
    """The label in a JSON file, None without one, or the content where it is no class number."""
    try:
        about = json.loads(content)
    except ValueError:
        return content
    if not isinstance(about, dict):
        return content
    label = about.get("label")
    if label is None:
        return None
    return label if type(label) is int and label >= 0 else content


def _label(content: bytes, key: str, shard: Path) -> int:
    try:
        label = json.loads(content)
        if type(label) is not int or label < 0:
            raise ValueError
    except ValueError as error:
        raise DataError(
            f"shard {shard} has the label {content[:20]!r} for {key.lstrip('/')}: a label is a "
            "class number from 0 up."
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
