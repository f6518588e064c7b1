"""Checkpoints: saved atomically, loaded without executing anything."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import torch

from nprep.errors import RunFolderError
from nprep.imagenet.files import write_file
from nprep.imagenet.settings import TrainSettings

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: Where.
        state: Tensors and plain values in plain containers.
    """
    # Into memory first: torch.save turns a full disk into an error without its reason.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_file(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, tensors on the CPU; nothing in it is executed.

    Raises:
        RunFolderError: If it is missing, damaged or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunFolderError(f"checkpoint {path} does not exist: start the run anew.") from error
    except Exception as error:  # a damaged archive raises nearly anything
        # An empty file raises an error without a text.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise RunFolderError(
            f"checkpoint {path} is damaged ({reason}): remove it and start the run anew, or "
            "restore it from a copy."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunFolderError(
            f"checkpoint {path} is not one of this program's (format {FORMAT}): use another file."
        )
    return state


def refuse_other_training(
    path: Path, state: dict[str, Any], settings: TrainSettings, here: tuple[int, int, int]
) -> None:
    """Refuses to resume from the checkpoint of another training.

    Args:
        path: Of the checkpoint.
        state: Its content.
        settings: Of the run that would resume.
        here: Its numbers of processes, training images and classes.

    Raises:
        RunFolderError: If settings that decide the weights differ, or one of the numbers.
    """
    known = {f.name for f in dataclasses.fields(TrainSettings)}
    before = TrainSettings(**{k: v for k, v in state["settings"].items() if k in known})
    changed = settings.differences(before)
    if changed:
        name = changed[0]
        raise RunFolderError(
            f"{path} was trained with {name} {getattr(before, name)!r} and the resumed run has "
            f"{getattr(settings, name)!r}: resume with the same settings or choose another --out."
        )
    there = (state["processes"], state["train_images"], state["num_classes"])
    if here != there:
        raise RunFolderError(
            f"{path} was trained by {there[0]} processes on {there[1]} images of {there[2]} "
            f"classes and now there are {here[0]}, {here[1]} and {here[2]}: restore them or choose "
            "another --out."
        )
