"""What a search costs, before it is begun."""

from __future__ import annotations

from dataclasses import dataclass

from nprep.errors import SettingsError

IMAGENET_TRAIN, IMAGENET_VAL = 1_281_167, 50_000


@dataclass(frozen=True)
class Stage:
    """Trainings of one kind.

    Attributes:
        name: What they are for.
        trainings: How many.
        epochs: Of each.
        images_per_second: Of one GPU in training.
    """

    name: str
    trainings: int
    epochs: int
    images_per_second: float

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of all; validation runs without gradients, counted at three times the speed."""
        if self.images_per_second <= 0:
            raise SettingsError(
                f"images_per_second is {self.images_per_second}: give the measured speed of a GPU."
            )
        images = self.epochs * (IMAGENET_TRAIN + IMAGENET_VAL / 3)
        return self.trainings * images / self.images_per_second / 3600


def format_budget(stages: list[Stage], gpus: int, price: float) -> str:
    """A table of hours and cost.

    Args:
        stages: The stages.
        gpus: GPUs at work at a time.
        price: Of one GPU-hour.
    """
    if gpus < 1:
        raise SettingsError(f"gpus is {gpus}: it must be at least 1.")
    lines = ["stage      trainings  epochs  images/s  GPU-hours  days on all GPUs        cost"]
    total = 0.0
    for stage in stages:
        hours = stage.gpu_hours
        total += hours
        lines.append(
            f"{stage.name:<10} {stage.trainings:>9}  {stage.epochs:>6}  "
            f"{stage.images_per_second:>8.0f}  {hours:>9.0f}  {hours / gpus / 24:>16.1f}  "
            f"{hours * price:>10.0f}"
        )
    lines.append(f"{'all':<38}{total:>9.0f}  {total / gpus / 24:>16.1f}  {total * price:>10.0f}")
    return "\n".join(lines)
