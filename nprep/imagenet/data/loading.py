"""Loads batches whose content depends on seed, epoch and position alone.

Every image draws its augmentation from a generator of its own, seeded by (seed, epoch, image). So
the batches are the same for any number of loader processes, and two processes with half the batch
see what one sees; a run that resumes from a checkpoint needs nothing but its position.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nprep.imagenet.data.sources import DataError, Source
from nprep.imagenet.data.transforms import Transform, decode

_LOG = logging.getLogger("nprep.imagenet")
# So many shards are mixed at a time.
SHARDS_AT_ONCE = 16
# Where Linux keeps the memory that processes share.
SHARED_MEMORY = "/dev/shm"

Key = tuple[int, int]


@dataclass(frozen=True)
class ImageBatch:
    """Images that could be read, and the names of those that could not.

    Attributes:
        images: (N, 3, H, W) float32.
        labels: (N,) int64.
        unreadable: Names of images, each with the reason.
    """

    images: Tensor
    labels: Tensor
    unreadable: list[str]

    def pin_memory(self) -> ImageBatch:
        """The batch in page-locked memory, from where a GPU copies while it computes."""
        return ImageBatch(self.images.pin_memory(), self.labels.pin_memory(), self.unreadable)


@dataclass(frozen=True)
class PlainBatch:
    """A batch that travels from a loader process through a pipe, without shared memory."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    unreadable: list[str]

    def tensors(self) -> ImageBatch:
        """The same batch."""
        return ImageBatch(
            torch.from_numpy(self.images), torch.from_numpy(self.labels), self.unreadable
        )

    def pin_memory(self) -> ImageBatch:
        """See ``ImageBatch.pin_memory``."""
        return self.tensors().pin_memory()


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed out of numbers and words."""
    text = ",".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


class ImageSet(Dataset[Any]):
    """Decodes and transforms the images of a source."""

    def __init__(self, source: Source, transform: Transform, seed: int, cache: bool) -> None:
        """Prepares a set.

        Args:
            source: Encoded images.
            transform: Applied to decoded images.
            seed: Of augmentations.
            cache: Whether decoded images are kept.
        """
        self._source, self._transform, self._seed = source, transform, seed
        self._labels = source.labels
        self._cache: dict[int, Any] | None = {} if cache else None

    def __len__(self) -> int:
        """The number of images."""
        return len(self._labels)

    def __getitem__(self, key: Key) -> tuple[Tensor | None, int, str]:
        """The image of an epoch: tensor or None, label, and why it is None."""
        epoch, index = key
        try:
            picture = self._picture(index)
        except (ValueError, OSError) as error:
            return None, 0, f"{self._source.name(index)} ({error})"
        generator = torch.default_generator
        before = generator.get_state()
        generator.manual_seed(derived_seed(self._seed, epoch, index))
        try:
            image = self._transform(picture)
        finally:
            generator.set_state(before)
        return image, int(self._labels[index]), ""

    def _picture(self, index: int) -> Any:
        if self._cache is None:
            return decode(self._source.read(index))
        if index not in self._cache:
            self._cache[index] = decode(self._source.read(index))
        return self._cache[index]


def collate(samples: Sequence[tuple[Tensor | None, int, str]]) -> ImageBatch:
    """Stacks samples."""
    images = [image for image, _, _ in samples if image is not None]
    labels = [label for image, label, _ in samples if image is not None]
    stacked = torch.stack(images) if images else torch.empty(0)
    names = [why for _, _, why in samples if why]
    return ImageBatch(stacked, torch.tensor(labels, dtype=torch.int64), names)


def collate_plainly(samples: Sequence[tuple[Tensor | None, int, str]]) -> PlainBatch:
    """Stacks samples for a pipe."""
    batch = collate(samples)
    return PlainBatch(batch.images.numpy(), batch.labels.numpy(), batch.unreadable)


def epoch_order(source: Source, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the images.

    Without groups it is a uniform permutation. With groups (shards) their order is permuted, and
    images are permuted among SHARDS_AT_ONCE neighbours of that order.

    Args:
        source: The images.
        seed: Of the run.
        epoch: Which epoch.

    Returns:
        (n,) int64, each image once.
    """
    rng = np.random.default_rng(derived_seed(seed, "order", epoch))
    if source.groups is None:
        return rng.permutation(len(source))
    names = rng.permutation(np.unique(source.groups))
    ranks = np.empty(int(names.max()) + 1, np.int64)
    ranks[names] = np.arange(len(names)) // SHARDS_AT_ONCE
    shuffled = rng.permutation(len(source))
    return shuffled[np.argsort(ranks[source.groups[shuffled]], kind="stable")]


class EpochKeys:
    """The keys of one process's batches; moved from epoch to epoch, so that loaders persist."""

    def __init__(
        self,
        source: Source,
        seed: int,
        batch: int,
        rank: int,
        processes: int,
        same_order: bool = False,
    ) -> None:
        """Prepares the split of every epoch.

        Args:
            source: The images.
            seed: Of the run.
            batch: Images of one process in one batch.
            rank: Which process.
            processes: How many processes.
            same_order: Whether every epoch has the order of the first, so that its first batches
                always hold the same images.
        """
        self._same_order = same_order
        self._source, self._seed = source, seed
        self._batch, self._rank, self._processes = batch, rank, processes
        self.batches = len(source) // (batch * processes)
        self.limit = self.batches
        self._keys: list[list[Key]] = []

    def move_to(self, epoch: int, first: int) -> None:
        """Chooses the epoch, and the batch of it to start from."""
        order = epoch_order(self._source, self._seed, 0 if self._same_order else epoch)
        # The rest that fills no batch of all processes is left out of this epoch.
        whole = order[: self.batches * self._batch * self._processes]
        rows = whole.reshape(self.batches, self._processes, self._batch)[: self.limit, self._rank]
        self._keys = [[(epoch, index) for index in row] for row in rows[first:].tolist()]

    def __len__(self) -> int:
        """The number of batches left in the epoch."""
        return len(self._keys)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yields the keys of each batch."""
        return iter(self._keys)


class Loader:
    """Batches of images, loaded by this process or by others ahead of time."""

    def __init__(
        self,
        images: ImageSet,
        batches: Iterable[list[Key]],
        workers: int,
        pin: bool,
        timeout: float = 0.0,
        batch_bytes: int = 0,
    ) -> None:
        """Prepares a loader; its processes start with the first pass and stay.

        Args:
            images: The images.
            batches: Lists of keys; read anew in every pass.
            workers: Loader processes; 0 loads in this one.
            pin: Whether batches are put in page-locked memory.
            timeout: Seconds without a batch after which loading counts as hung; 0 waits forever.
            batch_bytes: Size of one batch, to see whether shared memory suffices.
        """
        short = workers > 0 and shared_memory_is_short(workers, batch_bytes)
        if short:
            _LOG.warning(
                f"{SHARED_MEMORY} has too little room for {workers} loader processes: batches go "
                "through pipes, which is slower (Docker: --shm-size 8g or --ipc host)"
            )
        self._loader: DataLoader[Any] = DataLoader(
            images,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=collate_plainly if short else collate,
            pin_memory=pin,
            persistent_workers=workers > 0,
            worker_init_fn=_one_thread,
            timeout=timeout if workers else 0.0,
            # The workers' seeds come from this generator; nothing in them uses it.
            generator=torch.Generator().manual_seed(0),
        )

    def __iter__(self) -> Iterator[ImageBatch]:
        """Yields the batches of one pass."""
        for batch in self._loader:
            yield batch.tensors() if isinstance(batch, PlainBatch) else batch


def shared_memory_is_short(workers: int, batch_bytes: int) -> bool:
    """Whether shared memory is too small for the batches that wait there (64 MB in Docker).

    Args:
        workers: Loader processes; each loads two batches ahead.
        batch_bytes: Size of one batch.
    """
    if sys.platform == "win32":
        return False
    else:
        try:
            free = os.statvfs(SHARED_MEMORY)
        except OSError:
            # No such place: the system keeps shared memory elsewhere.
            return False
        # One more for each process, which it is writing.
        return 3 * workers * batch_bytes > free.f_bavail * free.f_frsize


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def evaluation_keys(count: int, batch: int, rank: int, processes: int) -> list[list[Key]]:
    """Keys of validation batches: every image goes to exactly one process, none twice."""
    rows = np.arange(rank, count, processes)
    return [
        [(0, index) for index in rows[start : start + batch].tolist()]
        for start in range(0, len(rows), batch)
    ]


def refuse_unreadable(batch: ImageBatch, on_corrupt: str, least: int = 0) -> None:
    """Stops at an unreadable image, unless they are to be skipped.

    Args:
        batch: What was loaded.
        on_corrupt: "stop" or "skip".
        least: So many images must be left for the batch to be of use.

    Raises:
        DataError: Names the first unreadable image.
    """
    if batch.unreadable and on_corrupt == "stop":
        raise DataError(
            f"image {batch.unreadable[0]} cannot be read: replace or remove it, or leave such "
            "images out with --on-corrupt skip, then resume the run."
        )
    if batch.unreadable and len(batch.labels) < least:
        raise DataError(
            f"{len(batch.unreadable)} images of a batch cannot be read, which leaves "
            f"{len(batch.labels)}, too few to train on; the first is {batch.unreadable[0]}: "
            "replace or remove them, then resume the run."
        )
