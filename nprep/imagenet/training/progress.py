"""Lines of progress: images a second and time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nprep._console import duration

_LOG = logging.getLogger("nprep.imagenet")


class TrainingProgress:
    """Logs lines, with some seconds between them."""

    def __init__(self, steps: int, images_per_step: int, every: float, show: bool) -> None:
        """Starts the clock.

        Args:
            steps: Step at which the run ends.
            images_per_step: Images in one step.
            every: Seconds between lines.
            show: Whether anything is printed.
        """
        self._steps, self._images, self._every, self._show = steps, images_per_step, every, show
        self._mark = time.monotonic()
        self._elapsed = 0.0
        self._done = 0
        self.images_per_second = 0.0

    def start_epoch(self) -> None:
        """Lets the clock run: validation and writing between epochs are not training."""
        self._mark = time.monotonic()

    def step(self, epoch: int, step: int, sums: Tensor) -> None:
        """Counts a step; prints if it is time.

        Args:
            epoch: Epochs done.
            step: Steps done.
            sums: Sum of losses and number of batches, looked at only for a line.
        """
        self._done += 1
        now = time.monotonic()
        self._elapsed += now - self._mark
        self._mark = now
        if self._elapsed < self._every:
            return
        self.images_per_second = self._done * self._images / max(self._elapsed, 1e-9)
        left = (self._steps - step) * self._images / self.images_per_second
        self._elapsed, self._done = 0.0, 0
        if self._show:
            loss, batches = sums.tolist()
            _LOG.info(
                f"epoch {epoch + 1} step {step}/{self._steps} loss {loss / max(1, batches):.4f} "
                f"{self.images_per_second:.0f} images/s {duration(left)} left"
            )

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """Prints the line of an epoch."""
        if self._show:
            validated = ""
            if row["val_loss"] is not None:
                validated = (
                    f" val loss {row['val_loss']:.4f} top-1 {100 * row['val_top1']:.2f} % "
                    f"top-5 {100 * row['val_top5']:.2f} %"
                )
            _LOG.info(
                f"epoch {row['epoch']}/{epochs} train loss {row['train_loss']:.4f}{validated} in "
                f"{row['train_seconds']:.1f} s"
            )
