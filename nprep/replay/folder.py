"""The folder of a run: settings, one file of results per block of trials, and the outputs.

Every file appears under its name only when it is complete, so a run may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import RunFolderError
from nprep.search.base import Trace

SETTINGS = "settings.json"
_LOCK = ".lock"
_TEMPORARY = re.compile(r"\..*\.tmp")


def write_file(path: Path, content: bytes) -> None:
    """Writes a file that appears at once and complete.

    Raises:
        RunFolderError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RunFolderError(
            f"{path} cannot be written ({error.strerror}): free space or choose another --out; "
            "--resume continues."
        ) from error


@dataclass(frozen=True)
class Block:
    """Trials of one method that run together.

    Attributes:
        method: Name of the method.
        first: The first trial.
        count: Number of trials.
    """

    method: str
    first: int
    count: int

    @property
    def file(self) -> Path:
        """Where its results lie inside the run's folder."""
        folder = re.sub(r"[^A-Za-z0-9_.-]", "_", self.method)
        return Path("trials") / folder / f"{self.first:07d}-{self.first + self.count - 1:07d}.npz"


@dataclass(frozen=True)
class Results:
    """The charged queries of many trials of one method.

    Attributes:
        positions: (T, S) int32; shorter trials repeat their last query.
        repeats: (T, S) uint8.
        lengths: (T,) int32; the number of queries charged.
    """

    positions: NDArray[np.int32]
    repeats: NDArray[np.uint8]
    lengths: NDArray[np.int32]

    @staticmethod
    def of_traces(traces: list[Trace]) -> Results:
        """Stacks traces, each of at least one query."""
        lengths = np.array([len(trace) for trace in traces], np.int32)
        positions = np.empty((len(traces), lengths.max()), np.int32)
        repeats = np.empty(positions.shape, np.uint8)
        for i, trace in enumerate(traces):
            positions[i, : lengths[i]] = trace.positions
            repeats[i, : lengths[i]] = trace.repeats
            positions[i, lengths[i] :] = trace.positions[-1]
            repeats[i, lengths[i] :] = trace.repeats[-1]
        return Results(positions, repeats, lengths)

    @staticmethod
    def stack(parts: list[Results]) -> Results:
        """Joins blocks in order."""
        width = max(part.positions.shape[1] for part in parts)

        def widen(array: NDArray[Any]) -> NDArray[Any]:
            return np.pad(array, ((0, 0), (0, width - array.shape[1])), mode="edge")

        return Results(
            np.concatenate([widen(part.positions) for part in parts]),
            np.concatenate([widen(part.repeats) for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )


def write_block(folder: Path, block: Block, results: Results) -> None:
    """Stores the results of a block."""
    buffer = io.BytesIO()
    np.savez(buffer, positions=results.positions, repeats=results.repeats, lengths=results.lengths)
    write_file(folder / block.file, buffer.getvalue())


def read_block(folder: Path, block: Block, horizon: int, view_shape: tuple[int, int]) -> Results:
    """Reads the results of a block.

    Args:
        folder: The run's folder.
        block: The block.
        horizon: The largest number of samples of a trial.
        view_shape: (M, R); what positions and repeats must fit into.

    Raises:
        ValueError: If the file is missing, damaged or not what the block would give.
    """
    path = folder / block.file
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            results = Results(arrays["positions"], arrays["repeats"], arrays["lengths"])
    except Exception as error:  # Damage can raise nearly anything inside zipfile and numpy.
        raise ValueError(f"{path} cannot be read: {error}") from error
    positions, repeats, lengths = results.positions, results.repeats, results.lengths
    sound = (
        positions.dtype == np.int32
        and repeats.dtype == np.uint8
        and lengths.dtype == np.int32
        and positions.ndim == 2
        and positions.shape == repeats.shape
        and lengths.shape == (block.count,)
        and len(positions) == block.count
        and 1 <= positions.shape[1] <= horizon
        and lengths.min() >= 1
        and lengths.max() == positions.shape[1]
        and positions.min() >= 0
        and positions.max() < view_shape[0]
        and repeats.max() < view_shape[1]
    )
    if not sound:
        raise ValueError(f"{path} does not hold what its name says")
    return results


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second run out of the folder; a killed run keeps nobody out.

    Raises:
        RunFolderError: If another run is using it.
    """
    try:
        import fcntl
    except ImportError:  # No such locks on Windows.
        yield
        return
    try:
        handle = open(folder / _LOCK, "w")  # noqa: SIM115 - closed below, after the run
    except OSError as error:
        raise RunFolderError(
            f"{folder} cannot be written ({error.strerror}): choose another --out."
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunFolderError(
                f"{folder} is in use by another run: wait for it or choose another --out."
            ) from error
        yield


def open_folder(folder: Path, settings: dict[str, Any], resume: bool) -> None:
    """Makes a run's folder ready, or finds it fit for a resume.

    Args:
        folder: The folder.
        settings: The content of ``settings.json``; what lies under "run" must be the same when
            a run is resumed, the rest is for the reader.
        resume: Whether the folder may hold results.

    Raises:
        RunFolderError: If it is no folder, has content without a resume, or has other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file: choose another --out.")
    try:
        content = [p.name for p in folder.iterdir()] if folder.exists() else []
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be read ({error.strerror}).") from error
    content = [name for name in content if name != _LOCK]
    finished = SETTINGS in content
    # A run killed before its settings were written leaves an empty folder or a temporary file.
    occupied = [name for name in content if not _TEMPORARY.fullmatch(name)]
    if occupied and not resume:
        raise RunFolderError(
            f"{folder} is not empty: continue that run with --resume or choose another --out."
        )
    if occupied and not finished:
        raise RunFolderError(
            f"{folder} holds files but no {SETTINGS}, so it is no run to resume: choose another "
            "--out."
        )
    if finished:
        _compare(folder / SETTINGS, settings)
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
    else:
        write_file(folder / SETTINGS, to_json(settings))


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


def _compare(path: Path, settings: dict[str, Any]) -> None:
    """Refuses a folder whose run differs from the one asked for."""
    try:
        stored = json.loads(path.read_bytes())["run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} cannot be read, so the run cannot be resumed: choose another --out."
        ) from error
    wanted = json.loads(to_json(settings["run"]))
    differences = list(_differences(stored, wanted, ""))
    if differences:
        raise RunFolderError(
            f"{path.parent} was run with {'; '.join(differences[:4])}: resume with the same "
            "settings or choose another --out."
        )


def _differences(stored: Any, wanted: Any, name: str) -> Iterator[str]:
    """What differs between two JSON values, in words."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in {**stored, **wanted}:
            inner = f"{name}.{key}" if name else key
            yield from _differences(stored.get(key), wanted.get(key), inner)
    elif stored != wanted:
        yield f"{name} {json.dumps(stored)}, not {json.dumps(wanted)}"
