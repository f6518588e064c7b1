"""Checkpoints: saved atomically, loaded without executing anything."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from nprep.errors import RunFolderError
from nprep.imagenet.files import write_file

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
        raise RunFolderError(f"checkpoint {path} does not exist: start the run anew") from error
    except Exception as error:  # a damaged archive raises nearly anything
        # An empty file raises an error without a text.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise RunFolderError(
            f"checkpoint {path} is damaged ({reason}): remove it and start the run anew, or "
            "restore it from a copy"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunFolderError(
            f"checkpoint {path} is not one of this program's (format {FORMAT}): use another file"
        )
    return state
