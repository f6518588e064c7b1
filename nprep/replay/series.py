"""A method's curve as statistics over trials: what ``curves.csv`` holds and figures draw."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.errors import RunFolderError
from nprep.replay.curves import Curves, curve_row, sample_grid

METRICS = ("test", "validation")
STATISTICS = ("mean", "std", "q25", "median", "q75")

_NEEDED = (
    "method",
    "samples",
    "trials",
    "seconds_mean",
    *(f"{metric}_{statistic}" for metric in METRICS for statistic in STATISTICS),
)


@dataclass(frozen=True)
class Series:
    """The curve of one method.

    Attributes:
        method: Name of the method.
        train_samples: The number N of a predictor's training cells; 0 for sequential methods and
            where it is not known.
        trials: Number of trials T.
        samples: (P,) int64, ascending.
        columns: "seconds_mean" and, for example, "test_q25": (P,) float64 each, in percent. A file
            may have more columns; those that hold numbers are here as well.
    """

    method: str
    train_samples: int
    trials: int
    samples: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]

    @property
    def horizon(self) -> int:
        """The largest number of samples."""
        return int(self.samples[-1])

    @property
    def timed(self) -> bool:
        """Whether training times are known."""
        return bool(np.isfinite(self.columns["seconds_mean"]).all())

    def at(self, samples: int) -> int:
        """The place of the last point at or before a number of samples, or the first."""
        return max(0, int(np.searchsorted(self.samples, samples, side="right")) - 1)


def series_of(curves: Curves) -> Series:
    """The statistics of curves that are in memory."""
    first = (curves.train_samples, curves.train_samples + 1) if curves.train_samples else ()
    grid = sample_grid(curves.horizon, first)
    rows = [curve_row(curves, samples) for samples in grid]
    names = [name for name in rows[0] if name not in _NEEDED[:3]]
    return Series(
        curves.method,
        curves.train_samples,
        len(curves.test),
        np.array(grid, np.int64),
        {name: np.array([row[name] for row in rows], np.float64) for name in names},
    )


def read_series(path: Path, train_samples: dict[str, int] | None = None) -> tuple[Series, ...]:
    """Reads a ``curves.csv``.

    Args:
        path: The file.
        train_samples: N of the methods that are predictors, where it is known.

    Returns:
        One series for each method, in the order of the file.

    Raises:
        RunFolderError: If the file cannot be read, or a line is not what a replay writes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise RunFolderError(f"{path} cannot be read ({reason}).") from error
    # A file cut short within its last number would still parse.
    if text and not text.endswith("\n"):
        raise RunFolderError(f"{path} ends in the middle of a line: {_MEND}.")
    lines = csv.reader(io.StringIO(text))
    header = next(lines, [])
    missing = [name for name in _NEEDED if name not in header]
    if missing or len(set(header)) != len(header):
        what = f"has no column {missing[0]!r}" if missing else "names a column twice"
        raise RunFolderError(f"{path} {what}, so it holds no curves of a replay: {_MEND}.")
    known = train_samples or {}
    grouped: dict[str, list[list[float]]] = {}
    names = [*_NEEDED[1:], *(name for name in header if name not in _NEEDED)]
    places = [header.index(name) for name in names]
    method_place = header.index("method")
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(header):
            raise RunFolderError(
                f"{path}, line {number}, has {len(cells)} values for {len(header)} columns: "
                f"{_MEND}."
            )
        values = [_number(cells[place], header[place], path, number) for place in places]
        points = grouped.setdefault(cells[method_place], [])
        if points and (values[0] <= points[-1][0] or values[1] != points[-1][1]):
            raise RunFolderError(
                f"{path}, line {number}: samples of {cells[method_place]!r} do not go up, or its "
                f"trials change: {_MEND}."
            )
        points.append(values)
    if not grouped:
        raise RunFolderError(f"{path} holds no curve: {_MEND}.")
    return tuple(
        _assemble(method, known.get(method, 0), names[2:], points)
        for method, points in grouped.items()
    )


_MEND = "python -m nprep.replay with --resume writes a run's outputs again"


def _assemble(
    method: str, train_samples: int, names: Sequence[str], points: Sequence[Sequence[float]]
) -> Series:
    """The series of the lines of one method: samples, trials, then the named columns."""
    array = np.array(points, np.float64)
    columns = {name: array[:, 2 + i] for i, name in enumerate(names)}
    return Series(method, train_samples, int(array[0, 1]), array[:, 0].astype(np.int64), columns)


def _number(text: str, column: str, path: Path, line: int) -> float:
    """A value of a column, checked.

    Raises:
        RunFolderError: If it is no number, or one that the column cannot hold.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan if column not in _NEEDED else math.inf
    if column not in _NEEDED:
        sound = True
    elif column in ("samples", "trials"):
        sound = value >= 1 and value < 2**53 and value.is_integer()
    elif column == "seconds_mean":
        # A view may lack training times.
        sound = math.isnan(value) or 0 <= value < math.inf
    else:
        sound = 0 <= value <= 100
    if not sound:
        raise RunFolderError(f"{path}, line {line}: {column} is {text!r}: {_MEND}.")
    return value
