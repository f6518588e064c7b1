"""What the predictor of a method's first trial predicts, as a file in the run's folder."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.runs.files import write_file
from nprep.search.trace import Predictions


def _path(folder: Path, method: str) -> Path:
    return folder / "predictions" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', method)}.npz"


def _identity(run: str, method: str) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps([run, method, 0]).encode(), np.uint8)


def write_predictions(folder: Path, method: str, predictions: Predictions, run: str) -> None:
    """Stores the predictions of a method's first trial.

    Args:
        folder: The run's folder.
        method: Name of the method.
        predictions: Of its first trial.
        run: ``run_digest`` of the run.
    """
    arrays: dict[str, NDArray[Any]] = {"known": predictions.known, "scores": predictions.scores}
    if predictions.accepted is not None:
        arrays["accepted"] = predictions.accepted
    arrays["unit"] = np.array(predictions.unit)
    arrays["identity"] = _identity(run, method)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_file(_path(folder, method), buffer.getvalue())


def read_predictions(folder: Path, method: str, cells: int, run: str) -> Predictions | None:
    """The stored predictions of a method's first trial; None if none are stored.

    Args:
        folder: The run's folder.
        method: Name of the method.
        cells: Number M of architectures of the view.
        run: ``run_digest`` of the run that they must be of.

    Raises:
        ValueError: If the file is damaged or not what its name says.
    """
    path = _path(folder, method)
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            found = Predictions(
                arrays["known"], arrays["scores"], bool(arrays["unit"]), arrays.get("accepted")
            )
            identity = arrays["identity"].tobytes()
    except Exception as error:  # Damage can raise nearly anything inside zipfile and numpy.
        raise ValueError(f"{path} cannot be read: {error}") from error
    sound = (
        identity == _identity(run, method).tobytes()
        and found.scores.dtype == np.float32
        and found.scores.shape == (cells,)
        and found.known.dtype == np.int32
        and found.known.ndim == 1
        and len(found.known) >= 1
        and found.known.min() >= 0
        and found.known.max() < cells
        and (found.accepted is None or found.accepted.shape == (cells,))
        and (found.accepted is None or found.accepted.dtype == np.bool_)
    )
    if not sound:
        raise ValueError(f"{path} does not hold what its name says")
    return found
