"""The files of trainings and studies: tables, settings, results, each whole or not there."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from nprep import _files
from nprep._optional import need
from nprep.errors import RunFolderError

# Numbers with an exponent and no point.
_EXPONENT = re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$")


def write_file(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Writes a file that outlasts a power cut; what was there stays until the new one is whole.

    Raises:
        RunFolderError: If it cannot be written, for example to a full disk.
    """
    _files.write_file(
        path,
        content,
        durable=True,
        error=RunFolderError,
        advice="what was there before is untouched; make room or mend the folder, then resume",
    )


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes a CSV file; its columns are the same for the whole run."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode())


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file."""
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Writes flat values as YAML, in their order."""
    yaml = need("yaml", "write settings", "pyyaml", extra="imagenet")
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    write_file(path, text.encode())


def read_yaml(path: Path, advice: str = "start the run anew") -> dict[str, Any]:
    """Reads flat values from YAML.

    Args:
        path: The file.
        advice: What a user should do if it cannot be read.

    Raises:
        RunFolderError: If the file is missing, damaged, or no mapping of names.
    """
    yaml = need("yaml", "read settings", "pyyaml", extra="imagenet")

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined] # imported when needed
        """Takes 1e-4 for a number, as YAML 1.2 does."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789."))
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunFolderError(
            f"{path} cannot be read ({_files.reason(error)}): {advice}."
        ) from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise RunFolderError(f"{path} holds no settings: {advice}.")
    return values
