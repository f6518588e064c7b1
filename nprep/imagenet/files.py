"""Files that are whole or not there: tables, settings, results."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from nprep.errors import RunFolderError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
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
            f"{path} cannot be written ({reason}): what was there before is untouched; make room "
            "or mend the folder, then resume the run"
        ) from error


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes a CSV file atomically; its columns are the same for the whole run."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Writes flat values as YAML (each value in its JSON form, which YAML contains)."""
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items())
    write_atomically(path, lambda file: file.write(text.encode()))


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
