"""Trials of a method whose choices depend on what has ended when a machine becomes free.

Such a method runs anew for each number of machines. What the curves by the clock need of those
trials lies in the run's folder beside the blocks: the trainings that were better than all that had
ended before them.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.runs.files import write_file
from nprep.search.rules import ReplayProtocol
from nprep.search.trace import TimedTrace, within_limits


@dataclass(frozen=True)
class ConcurrentTrials:
    """All trials of a method on a number of machines.

    Attributes:
        counts: (T,) int64; how many of the following each trial has, trial after trial.
        positions: (I,) int32; the cells that were better than all that had ended before.
        repeats: (I,) uint8; the training run that was seen of each.
        validation: (I,) float32 in [0, 1]; as seen.
        times: (I,) float64; when each training ends, in seconds from the trial's beginning.
        ends: (T,) float64; when the last training of each trial ends.
        busy: (T,) float64; share of the machines' time until then that they are in training.
    """

    counts: NDArray[np.int64]
    positions: NDArray[np.int32]
    repeats: NDArray[np.uint8]
    validation: NDArray[np.float32]
    times: NDArray[np.float64]
    ends: NDArray[np.float64]
    busy: NDArray[np.float64]

    @staticmethod
    def of_traces(
        traces: Sequence[TimedTrace], protocol: ReplayProtocol, workers: int
    ) -> ConcurrentTrials:
        """Reduces traces of at least one training each.

        Args:
            traces: One for each trial.
            protocol: The rules; its limit of seconds ends trials here.
            workers: Number of machines.
        """
        kept = []
        ends, busy = [], []
        for timed in traces:
            trace = within_limits(timed.trace, protocol)
            ended = timed.ends[: len(trace)]
            order = np.argsort(ended, kind="stable")
            better = order[improvements(trace.validation[order])]
            kept.append(
                (
                    trace.positions[better],
                    trace.repeats[better],
                    trace.validation[better],
                    ended[better],
                )
            )
            ends.append(float(ended.max()))
            busy.append(float(trace.seconds.sum(dtype=np.float64) / (workers * ended.max())))
        positions, repeats, validation, times = (
            np.concatenate(column) for column in zip(*kept, strict=True)
        )
        counts = np.array([len(each[0]) for each in kept], np.int64)
        return ConcurrentTrials(
            counts, positions, repeats, validation, times, np.array(ends), np.array(busy)
        )


def improvements(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(S,) whether each value is above all before it; the first is."""
    better = np.ones(len(values), bool)
    better[1:] = values[1:] > np.maximum.accumulate(values)[:-1]
    return better


_ARRAYS = {
    "counts": np.int64,
    "positions": np.int32,
    "repeats": np.uint8,
    "validation": np.float32,
    "times": np.float64,
    "ends": np.float64,
    "busy": np.float64,
}


def _path(folder: Path, method: str, workers: int) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", method)
    return folder / "concurrent" / f"{name}-{workers}.npz"


def _identity(run: str, method: str, workers: int) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps([run, method, workers]).encode(), np.uint8)


def write_concurrent(
    folder: Path, method: str, workers: int, trials: ConcurrentTrials, run: str
) -> None:
    """Stores the trials of a method on a number of machines.

    Args:
        folder: The run's folder.
        method: Name of the method.
        workers: Number of machines.
        trials: All of its trials.
        run: ``run_digest`` of the run.
    """
    buffer = io.BytesIO()
    arrays = {name: getattr(trials, name) for name in _ARRAYS}
    np.savez(buffer, **arrays, identity=_identity(run, method, workers))
    write_file(_path(folder, method, workers), buffer.getvalue())


def read_concurrent(
    folder: Path, method: str, workers: int, trials: int, shape: tuple[int, int], run: str
) -> ConcurrentTrials:
    """Reads the trials of a method on a number of machines.

    Args:
        folder: The run's folder.
        method: Name of the method.
        workers: Number of machines.
        trials: How many there must be.
        shape: (M, R): the view's numbers of cells and of repeats.
        run: ``run_digest`` of the run that they must be of.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If it is damaged or not what its name says.
    """
    path = _path(folder, method, workers)
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = ConcurrentTrials(**{name: arrays[name] for name in _ARRAYS})
            identity = arrays["identity"].tobytes()
    except Exception as error:  # Damage can raise nearly anything inside zipfile and numpy.
        raise ValueError(f"{path} cannot be read: {error}") from error
    total = int(found.counts.sum()) if found.counts.ndim == 1 else -1
    sound = (
        identity == _identity(run, method, workers).tobytes()
        and all(getattr(found, name).dtype == kind for name, kind in _ARRAYS.items())
        and all(getattr(found, name).shape == (trials,) for name in ("counts", "ends", "busy"))
        and all(
            getattr(found, name).shape == (total,)
            for name in ("positions", "repeats", "validation", "times")
        )
        and found.counts.min() >= 1
        and found.positions.min() >= 0
        and found.positions.max() < shape[0]
        and found.repeats.max() < shape[1]
    )
    if not sound:
        raise ValueError(f"{path} does not hold what its name says")
    return found
