"""The files of a run's folder: each appears under its name only when it is complete."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nprep import _files
from nprep.errors import RunFolderError

SETTINGS = "settings.json"
SUMS = "SHA256SUMS"
# Of the folder's layout.
FORMAT = 2


def write_file(path: Path, content: bytes) -> None:
    """Writes a file of a run's folder, which appears at once and complete.

    Raises:
        RunFolderError: If it cannot be written.
    """
    _files.write_file(
        path,
        content,
        error=RunFolderError,
        advice="free space or choose another --out; --resume continues",
    )


def to_json(content: object) -> bytes:
    """JSON with a fixed layout; null stands for infinities and NaN, which JSON lacks."""
    return (json.dumps(_finite(content), indent=2, allow_nan=False) + "\n").encode()


def _finite(content: object) -> object:
    """The content with None in place of what is not finite."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of a run's ``settings.json``.

    Raises:
        RunFolderError: If it is missing, damaged or of another version.
    """
    path = folder / SETTINGS
    try:
        content = json.loads(path.read_bytes())
        sound = isinstance(content["run"], dict)
        version = content["format"]
    except FileNotFoundError as error:
        raise RunFolderError(f"{folder} holds no {SETTINGS}, so it is no run.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} cannot be read, so the run cannot be resumed: choose another --out."
        ) from error
    if not sound or version != FORMAT:
        raise RunFolderError(
            f"{path} is damaged or of another version, so the run cannot be resumed: choose "
            "another --out."
        )
    return dict(content)


def write_sums(folder: Path, files: Iterable[Path]) -> Path:
    """Writes the checksums of a run's outputs, as ``sha256sum --check SHA256SUMS`` reads them.

    Args:
        folder: The run's folder.
        files: In it.
    """
    lines = []
    for path in files:
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise RunFolderError(
                f"{path} cannot be read ({_files.reason(error)}): --resume continues."
            ) from error
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    write_file(folder / SUMS, "".join(lines).encode())
    return folder / SUMS


def read_output(folder: Path, name: str) -> bytes:
    """The content of an output, such as ``curves.csv``, as the run wrote it.

    Raises:
        RunFolderError: If it is missing, or not what the run wrote.
    """
    again = "run the replay again with --resume, which keeps its trials"
    try:
        content = (folder / name).read_bytes()
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{folder} has no {name} or no {SUMS} that can be read: {again}."
        ) from error
    if f"{hashlib.sha256(content).hexdigest()}  {name}" not in lines:
        raise RunFolderError(
            f"{folder / name} is not what the run wrote: its checksum in {SUMS} differs; {again}."
        )
    return content
