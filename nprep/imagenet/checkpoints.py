"""Files that are whole or not there: checkpoints, tables, settings."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from nprep.errors import RunFolderError

FORMAT = 1


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file beside its place, makes it durable, and moves it there.

    Args:
        path: The place; what was there stays until the new file is whole.
        write: Writes the content.

    Raises:
        RunFolderError: If it cannot be written, for example to a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as RuntimeError and names no reason; the disk's is the cause.
        temporary.unlink(missing_ok=True)
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        reason = "the disk is full" if full else str(error).splitlines()[0]
        raise RunFolderError(
            f"{path} cannot be written ({reason}): the one before is untouched; make room or mend "
            "the folder, then resume the run"
        ) from error


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: Where.
        state: Tensors and plain values in plain containers.
    """
    # Into memory first: torch.save turns a full disk into an error without its reason.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomically(path, lambda file: _ignore(file.write(buffer.getbuffer())))


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
        raise RunFolderError(
            f"checkpoint {path} is damaged ({str(error).splitlines()[0][:80]}): remove it and "
            "start the run anew, or restore it from a copy"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunFolderError(
            f"checkpoint {path} is not one of this program's (format {FORMAT}): use another file"
        )
    return state


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes a CSV file atomically; its columns are the same for the whole run."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: _ignore(file.write(text.getvalue().encode())))


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda file: _ignore(file.write(text.encode())))


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Writes flat values as YAML (each value in its JSON form, which YAML contains)."""
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items())
    write_atomically(path, lambda file: _ignore(file.write(text.encode())))


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads what :func:`write_yaml` wrote.

    Raises:
        RunFolderError: If the file is missing or damaged.
    """
    try:
        pairs = (line.split(": ", 1) for line in path.read_text().splitlines() if line)
        return {name: json.loads(value) for name, value in pairs}
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}): start the run anew") from error


def _ignore(written: int) -> None:
    """Lets a write be used where nothing is returned."""
