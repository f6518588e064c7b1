"""The folder of one training: what is in it, who may write to it, how it is asked to stop."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import logging
import os
import signal
import socket
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from nprep._files import LockHeldError, locked, reason, remove_leftovers
from nprep.errors import RunFolderError
from nprep.imagenet.files import read_yaml, write_file, write_json, write_table, write_yaml
from nprep.imagenet.settings import TrainSettings, default_identity

_LOG = logging.getLogger("nprep.imagenet")

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "train_loss",
    "val_loss",
    "val_top1",
    "val_top5",
    "train_seconds",
)


class StoppedError(RunFolderError):
    """A run that was asked to stop, and can be resumed."""


_LOCK = ".lock"
START_COLUMNS = ("time", "host", "pid", "processes", "step")


class RunFolder:
    """The files of a run.

    ``args.yaml``, ``starts.csv``, ``summary.csv``, ``last.pt``, ``best.pt`` and, at the end,
    ``result.json``.
    """

    def __init__(self, path: Path) -> None:
        """Makes the folder.

        Raises:
            RunFolderError: If that is not possible.
        """
        self.path = path
        self._made = not path.exists()
        self._holds = False
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"output folder {path} cannot be made ({error.strerror}): choose another --out."
            ) from error
        self._asked = False
        self._handlers: dict[int, Any] = {}
        self._lock = contextlib.ExitStack()

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch so far."""
        return self.path / "best.pt"

    @property
    def previous(self) -> Path:
        """The checkpoint before the last one, for the case that the last one is damaged."""
        return self.path / "previous.pt"

    @property
    def asked(self) -> bool:
        """Whether a signal asked the run to stop."""
        return self._asked

    def lock(self, patience: float = 0.0) -> None:
        """Makes this process the only one that writes here, until it ends.

        Args:
            patience: Seconds to wait for another process to end.

        Raises:
            RunFolderError: If another process holds the folder.
        """
        try:
            self._lock.enter_context(locked(self.path / _LOCK, timeout=patience))
            self._holds = True
        except LockHeldError as error:
            raise RunFolderError(
                f"output folder {self.path} is in use by another training: wait for it or choose "
                "another --out."
            ) from error
        except OSError as error:
            raise RunFolderError(
                f"output folder {self.path} cannot be written ({reason(error)}): choose another."
            ) from error

    def unlock(self) -> None:
        """Lets others write here; a folder in which nothing came to be is removed again."""
        with contextlib.suppress(OSError):
            if self._made and self._holds and not {e.name for e in self.path.iterdir()} - {_LOCK}:
                (self.path / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        self._holds = False
        self._lock.close()

    def begin(self, resume: bool) -> bool:
        """Prepares the folder for a run; what is there stays as it is.

        Args:
            resume: Whether to resume a run that is there.

        Returns:
            Whether there is a checkpoint to resume from.

        Raises:
            RunFolderError: If there is a run and it is not to be resumed.
        """
        there = self.last.exists() or self.previous.exists()
        if there and not resume:
            raise RunFolderError(
                f"output folder {self.path} holds a run: resume it with --resume or choose another."
            )
        remove_leftovers(self.path)
        return there

    def write_settings(self, settings: TrainSettings) -> None:
        """Writes ``args.yaml``, once the run is known to be this one."""
        write_yaml(self.path / "args.yaml", dataclasses.asdict(settings))

    def checkpoint(self) -> tuple[Path, dict[str, Any]]:
        """The checkpoint to resume from: the last one, or the one before if that is damaged.

        Returns:
            Its path and content.

        Raises:
            RunFolderError: If none can be read.
        """
        # Here, not above: the command line reads settings without loading torch.
        from nprep.imagenet.training.checkpoints import load_checkpoint

        try:
            return self.last, load_checkpoint(self.last)
        except RunFolderError as error:
            if not self.previous.exists():
                raise
            _LOG.warning("%s; resuming from %s", str(error).split(": ")[0], self.previous.name)
        return self.previous, load_checkpoint(self.previous)

    def keep_last(self) -> None:
        """Gives the last checkpoint a second name, which it keeps when a newer one is written."""
        if self.last.exists():
            self.previous.unlink(missing_ok=True)
            # File systems without links go without the second checkpoint.
            with contextlib.suppress(OSError):
                os.link(self.last, self.previous)

    def settings(self) -> TrainSettings:
        """The settings of the run that is here."""
        values = read_yaml(self.path / "args.yaml")
        try:
            return TrainSettings(**values)
        except TypeError as error:
            raise RunFolderError(
                f"{self.path / 'args.yaml'} has settings that are unknown here ({error}): resume "
                "with the version that wrote it."
            ) from error

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None.

        Raises:
            RunFolderError: If the file is damaged.
        """
        path = self.path / "result.json"
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{path} is damaged ({error}): remove it and resume.") from error
        return content

    def write_result(self, result: dict[str, Any]) -> None:
        """Marks the run as finished."""
        write_json(self.path / "result.json", result)

    def note_start(self, step: int, processes: int) -> None:
        """Adds a line to ``starts.csv``: which machine resumes the run, from which step.

        Args:
            step: Steps that are done.
            processes: How many take part.
        """
        path = self.path / "starts.csv"
        rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(newline="") as file:
                rows += csv.DictReader(file)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        values = (now, socket.gethostname(), os.getpid(), processes, step)
        rows.append(dict(zip(START_COLUMNS, values, strict=True)))
        write_table(path, rows, START_COLUMNS)

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Writes ``summary.csv`` whole, so a resumed run neither repeats nor loses a line."""
        write_table(self.path / "summary.csv", history, COLUMNS)

    def listen(self) -> None:
        """Turns SIGTERM and Ctrl-C into a stop after the current step."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self._asked:
                raise KeyboardInterrupt
            self._asked = True

        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, ask)

    def stop_listening(self) -> None:
        """Lets signals do again what they did before ``listen``."""
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def keep_epoch(self, epoch: int, count: int) -> None:
        """Keeps the last checkpoint as that of an epoch, and removes the oldest of these.

        Args:
            epoch: Its number, from 1.
            count: How many epochs' checkpoints are kept.
        """
        if not count:
            return
        write_file(self.path / f"epoch-{epoch:04d}.pt", self.last.read_bytes())
        for old in sorted(self.path.glob("epoch-*.pt"))[:-count]:
            old.unlink(missing_ok=True)

    def stop(self, save: Callable[[], None] | None) -> NoReturn:
        """Ends the run, since a signal asked for it.

        Args:
            save: Writes a checkpoint first, where the last one is older.

        Raises:
            StoppedError: Always.
        """
        if save is not None:
            save()
        raise StoppedError(
            f"stopped by a signal; resume the run in {self.path} with the same command and "
            "--resume."
        )

    def refuse_other_result(self, result: dict[str, Any], settings: TrainSettings) -> None:
        """Raises RunFolderError if the result of a finished run is not that of the settings."""
        made_by = result.get("settings")
        if made_by is None:
            # Written before results carried what made them: the settings file says it.
            made_by = self.settings().identity()
        made_by = {**default_identity(), **made_by}
        for name, value in settings.identity().items():
            if made_by.get(name) != value:
                raise RunFolderError(
                    f"{self.path} holds a finished training with {name} {made_by.get(name)!r} and "
                    f"{value!r} was asked for: choose another --out."
                )
