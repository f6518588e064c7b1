"""JSON files of a run's folder, read with care."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nprep.errors import RunFolderError


def damaged(path: Path, what: str) -> RunFolderError:
    """The error that a damaged file is reported with."""
    return RunFolderError(
        f"{path} is damaged ({what}): python -m nprep.replay with --resume writes a run's outputs "
        "again."
    )


def read_json(path: Path, needed: Sequence[str], missing_ok: bool) -> dict[str, Any]:
    """An object of a JSON file, with dictionaries or lists under the keys needed."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        if missing_ok:
            return {}
        raise RunFolderError(
            f"{path} is missing, so the run has not finished: continue it with python -m "
            "nprep.replay --resume."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, "it is no JSON") from error
    for key in needed:
        if not isinstance(content, dict) or not isinstance(content.get(key), dict | list):
            raise damaged(path, f"it has no {key!r}")
    return dict(content)
