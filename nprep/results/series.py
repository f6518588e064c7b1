"""A method's curve as statistics over trials: what the CSV files hold and figures draw."""

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
from nprep.results.clock import row_at, time_grid
from nprep.results.curves import Curves, curve_row, curve_rows, sample_grid
from nprep.search.registry import kind_of

METRICS = ("test", "validation")
STATISTICS = ("mean", "std", "q25", "median", "q75")

_NUMBERS = tuple(f"{metric}_{statistic}" for metric in METRICS for statistic in STATISTICS)
# Columns of counts, and those of times; all others that are known are percentages.
_COUNTS = ("samples", "trials", "workers")
_TIMES = ("seconds", "seconds_mean")

_MEND = "python -m nprep.replay with --resume writes a run's outputs again"


@dataclass(frozen=True)
class Series:
    """The curve of one method.

    Attributes:
        method: Name of the method.
        train_samples: The number N of a predictor's training cells; 0 for sequential methods and
            where it is not known.
        trials: Number of trials T.
        x: (P,) float64, ascending: samples or seconds.
        columns: "test_q25" and its like, of curves by samples "seconds_mean" too: (P,) float64
            each, in percent or seconds. A file may have more columns; they are here as well.
        axis: "samples" or "seconds": what ``x`` holds.
        trained: Where on that axis the N cells of a predictor are trained; 0 for sequential
            methods and where it is not known.
        workers: Number of machines, for curves by the clock; else 0.
        kind: As the method declares it; empty: as its name and N say.
    """

    method: str
    train_samples: int
    trials: int
    x: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]
    axis: str = "samples"
    trained: float = 0.0
    workers: int = 0
    kind: str = ""

    @property
    def is_bound(self) -> bool:
        """Whether this is what no method can beat, rather than a search."""
        return (self.kind or kind_of(self.method, self.train_samples)) == "bound"

    @property
    def samples(self) -> NDArray[np.int64]:
        """(P,) int64; of curves by samples."""
        return self.x.astype(np.int64)

    @property
    def horizon(self) -> int:
        """The largest number of samples."""
        return int(self.x[-1])

    @property
    def timed(self) -> bool:
        """Whether training times are known."""
        return self.axis == "seconds" or bool(np.isfinite(self.columns["seconds_mean"]).all())

    def at(self, x: float) -> int:
        """The place of the last point at or before a number of samples, or seconds; or the first.

        A curve's value between two points is that of the first.
        """
        return max(0, int(np.searchsorted(self.x, x, side="right")) - 1)


def series_of(curves: Curves, as_written: bool = False) -> Series:
    """The statistics of curves that are in memory, by samples or by training time.

    Args:
        curves: The curves.
        as_written: Whether curves by samples have the points of ``curves.csv``; otherwise they have
            the first sample after N, where figures begin a predictor's line.
    """
    if curves.axis is not None:
        grid: Sequence[float] = time_grid(curves).tolist()
        rows = [row_at(curves, seconds) for seconds in grid]
        axis, trained = "seconds", 0.0
    else:
        first = (curves.train_samples, curves.train_samples + 1) if curves.train_samples else ()
        grid = sample_grid(curves.horizon, first)
        rows = [curve_row(curves, samples) for samples in grid]
        if as_written:
            rows = curve_rows(curves)
            grid = [float(row["samples"]) for row in rows]
        axis, trained = "samples", float(curves.train_samples)
    names = [name for name in rows[0] if name not in ("method", axis, "trials")]
    return Series(
        curves.method,
        curves.train_samples,
        len(curves.test),
        np.array(grid, np.float64),
        {name: np.array([row[name] for row in rows], np.float64) for name in names},
        axis,
        trained,
        kind=curves.kind,
    )


def read_series(
    path: Path, train_samples: dict[str, int] | None = None, axis: str = "samples"
) -> tuple[Series, ...]:
    """Reads a ``curves.csv``, a ``curves-seconds.csv`` or a ``clock.csv``.

    Args:
        path: The file.
        train_samples: N of the methods that are predictors, where it is known.
        axis: "samples" or "seconds": which of them the curves are by.

    Returns:
        One series for each method and number of machines, in the order of the file.

    Raises:
        RunFolderError: If the file cannot be read, or a line is not what a replay writes.
    """
    header, lines = _read_csv(path)
    needed = ("method", axis, "trials", *_NUMBERS)
    needed += ("seconds_mean",) if axis == "samples" else ()
    missing = [name for name in needed if name not in header]
    if missing or len(set(header)) != len(header):
        what = f"has no column {missing[0]!r}" if missing else "names a column twice"
        raise RunFolderError(f"{path} {what}, so it holds no curves of a replay: {_MEND}.")
    names = [name for name in header if name != "method"]
    grouped: dict[tuple[str, float], list[dict[str, float]]] = {}
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(header):
            raise RunFolderError(
                f"{path}, line {number}, has {len(cells)} values for {len(header)} columns: "
                f"{_MEND}."
            )
        line = dict(zip(header, cells, strict=True))
        values = {name: _number(line[name], name, path, number) for name in names}
        points = grouped.setdefault((line["method"], values.get("workers", 0.0)), [])
        if points and (
            values[axis] <= points[-1][axis] or values["trials"] != points[-1]["trials"]
        ):
            raise RunFolderError(
                f"{path}, line {number}: {axis} of {line['method']!r} do not go up, or its trials "
                f"change: {_MEND}."
            )
        points.append(values)
    if not grouped:
        raise RunFolderError(f"{path} holds no curve: {_MEND}.")
    kept = [name for name in names if name not in (axis, "trials", "workers")]
    known = train_samples or {}
    return tuple(
        Series(
            method,
            known.get(method, 0),
            int(points[0]["trials"]),
            np.array([point[axis] for point in points]),
            {name: np.array([point[name] for point in points]) for name in kept},
            axis,
            float(known.get(method, 0)) if axis == "samples" else 0.0,
            int(workers),
        )
        for (method, workers), points in grouped.items()
    )


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise RunFolderError(f"{path} cannot be read ({reason}).") from error
    # A file cut short within its last number would still parse.
    if text and not text.endswith("\n"):
        raise RunFolderError(f"{path} ends in the middle of a line: {_MEND}.")
    try:
        lines = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise RunFolderError(f"{path} is damaged ({error}): {_MEND}.") from error
    return (lines[0], lines[1:]) if lines else ([], [])


def _number(text: str, column: str, path: Path, line: int) -> float:
    """A value of a column, checked.

    Raises:
        RunFolderError: If it is no number, or one that the column cannot hold.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if column in _COUNTS:
        sound = value >= 1 and value < 2**53 and value.is_integer()
    elif column in _TIMES:
        # A view may lack training times.
        sound = (math.isnan(value) and column == "seconds_mean") or 0 <= value < math.inf
    elif column in _NUMBERS:
        sound = 0 <= value <= 100
    else:
        # A column of a later version.
        sound, value = True, value if math.isfinite(value) else math.nan
    if not sound:
        raise RunFolderError(f"{path}, line {line}: {column} is {text!r}: {_MEND}.")
    return value
