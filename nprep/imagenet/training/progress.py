"""Lines of progress: images a second and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Progress:
    """Prints lines to stderr, with some seconds between them."""

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
            print(
                f"epoch {epoch + 1} step {step}/{self._steps} loss {loss / max(1, batches):.4f} "
                f"{self.images_per_second:.0f} images/s {format_duration(left)} left",
                file=sys.stderr,
                flush=True,
            )

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """Prints the line of an epoch."""
        if self._show:
            print(
                f"epoch {row['epoch']}/{epochs} train loss {row['train_loss']:.4f} "
                f"val loss {row['val_loss']:.4f} top-1 {100 * row['val_top1']:.2f} % "
                f"top-5 {100 * row['val_top5']:.2f} % in {row['train_seconds']:.1f} s",
                file=sys.stderr,
                flush=True,
            )


def format_duration(seconds: float) -> str:
    """A duration, as people write it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
