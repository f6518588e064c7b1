"""Where the numbers of a training go besides its folder: TensorBoard, wandb, your own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from nprep._optional import need
from nprep.errors import SettingsError


class Tracker(Protocol):
    """Takes numbers as they come; made as ``Tracker(folder, settings)``, once a start of a run."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of an epoch, counted from 1."""

    def close(self) -> None:
        """Ends the record of this process."""


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Opens them."""
        module = need(
            "torch.utils.tensorboard", "write TensorBoard events", "tensorboard", extra="imagenet"
        )
        self._writer: Any = module.SummaryWriter(str(folder))

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See ``Tracker``."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """See ``Tracker``."""
        self._writer.close()


class WeightsAndBiases:
    """A run at Weights & Biases, named by the folder; a resumed training resumes it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Joins it."""
        module = need("wandb", "report to Weights & Biases")
        name = folder.resolve().name
        self._run: Any = module.init(
            id=name, name=name, dir=str(folder), config=dict(settings), resume="allow"
        )

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See ``Tracker``."""
        self._run.log(dict(values), step=epoch)

    def close(self) -> None:
        """See ``Tracker``."""
        self._run.finish()


_NAMED = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def make_trackers(names: str, folder: Path, settings: Mapping[str, Any]) -> list[Tracker]:
    """The trackers of some names.

    Args:
        names: Joined by commas: tensorboard, wandb, or module:Class of one's own.
        folder: Of the run.
        settings: Of the training.

    Raises:
        SettingsError: If a name is unknown or cannot be imported.
        MissingDependencyError: If its package is not installed.
    """
    made: list[Tracker] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        kind: Any = _NAMED.get(name)
        module, colon, attribute = name.partition(":")
        if kind is None and colon:
            try:
                kind = getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise SettingsError(
                    f"tracker {name!r} cannot be imported ({error}): check its module and class."
                ) from error
        if kind is None:
            raise SettingsError(
                f"tracker {name!r} is unknown: use {', '.join(_NAMED)} or module:Class."
            )
        made.append(kind(folder, settings))
    return made
