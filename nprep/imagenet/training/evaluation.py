"""Accuracy of a network on a set of images, each counted once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from nprep.imagenet.data.layout import DataParts
from nprep.imagenet.data.loading import (
    ImageSet,
    Loader,
    derived_seed,
    evaluation_keys,
    refuse_unreadable,
)
from nprep.imagenet.data.sources import DataError, Source
from nprep.imagenet.data.transforms import evaluation_transform
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training.processes import Processes


@dataclass(frozen=True)
class Score:
    """How good a network is.

    Attributes:
        loss: Mean cross-entropy, without smoothing.
        top1: Share of images whose class came first.
        top5: Share of images whose class was among the first five.
        images: How many images were looked at.
    """

    loss: float
    top1: float
    top5: float
    images: int


class NetworkEvaluator:
    """Scores networks on one set of images, with loaders that persist."""

    def __init__(self, source: Source, settings: TrainSettings, processes: Processes) -> None:
        """Prepares the images.

        Args:
            source: The images.
            settings: Size, batch and loaders.
            processes: Who shares the work.
        """
        batch = settings.val_batch_size or settings.batch_size
        keys = evaluation_keys(len(source), batch, processes.rank, processes.count)
        images = ImageSet(source, evaluation_transform(settings), 0, settings.cache)
        pin = processes.device.type == "cuda"
        self._loader = Loader(
            images,
            keys,
            min(settings.workers, 8),
            pin,
            settings.loader_timeout,
            settings.bytes_of(batch),
        )
        self._settings, self._processes = settings, processes

    @torch.no_grad()
    def score(self, model: nn.Module) -> Score:
        """Scores a network.

        Args:
            model: The network, not wrapped for distribution; its mode is kept.

        Returns:
            The score over the images of all processes.

        Raises:
            DataError: If an image cannot be read, and none is to be skipped, or none could be.
        """
        training = model.training
        model.eval()
        device = self._processes.device
        sums = torch.zeros(4, dtype=torch.float64, device=device)
        for batch in self._loader:
            refuse_unreadable(batch, self._settings.on_corrupt)
            if not len(batch.labels):
                continue
            images = batch.images.to(device, non_blocking=True)
            labels = batch.labels.to(device, non_blocking=True)
            with precision(self._settings.amp, device):
                logits = model(images).float()
            best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
            sums += torch.stack(
                [
                    functional.cross_entropy(logits, labels, reduction="sum").double(),
                    best[:, 0].sum(),
                    best.sum(),
                    torch.tensor(len(labels), device=device),
                ]
            )
        model.train(training)
        loss, top1, top5, count = self._processes.total(sums).tolist()
        if not count:
            raise DataError("no validation image could be read: check the data folder.")
        return Score(loss / count, top1 / count, top5 / count, int(count))


class Recalibration:
    """Takes batch norm's averages anew, of training images without augmentation.

    For trainings too short for the averages to follow the weights, and for averaged weights.
    """

    def __init__(self, source: Source, settings: TrainSettings, processes: Processes) -> None:
        """Chooses the images: the same ones every time.

        Args:
            source: The training images.
            settings: How many batches, and their size.
            processes: Who takes part; each has images of its own.
        """
        order = np.random.default_rng(derived_seed(settings.seed, "norms")).permutation(len(source))
        size = settings.batch_size
        mine = order[processes.rank :: processes.count][: size * settings.bn_recalibrate]
        # A batch of one image has no variance.
        starts = range(0, max(1, len(mine) - 1), size)
        keys = [[(0, row) for row in mine[start : start + size].tolist()] for start in starts]
        images = ImageSet(source, evaluation_transform(settings), 0, settings.cache)
        self._loader = Loader(images, keys, 0, processes.device.type == "cuda")
        self._settings, self._processes = settings, processes

    @torch.no_grad()
    def renew(self, model: nn.Module) -> None:
        """Replaces the averages of a network by those of the chosen images, in place."""
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        before = [norm.momentum for norm in norms]
        training = model.training
        # Dropout off, norms on: what they see is what evaluation will show them.
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            # A plain mean over batches.
            norm.momentum = None
            norm.train()
        for batch in self._loader:
            refuse_unreadable(batch, self._settings.on_corrupt, least=2)
            images = batch.images.to(self._processes.device, non_blocking=True)
            with precision(self._settings.amp, self._processes.device):
                model(images)
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        model.train(training)


def precision(amp: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass."""
    kind = torch.float16 if amp == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=kind, enabled=amp != "none")


def test_evaluator(
    parts: DataParts, settings: TrainSettings, processes: Processes
) -> NetworkEvaluator | None:
    """The evaluator of the test images, where there are any."""
    return None if parts.test is None else NetworkEvaluator(parts.test, settings, processes)
