"""The numbers of a figure: samples, or training time, against accuracy. Draws nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.plot.styles import LineStyle, line_styles
from nprep.results.curves import Curves
from nprep.results.series import METRICS, Series, series_of

# What the middle line and the band around it are, in words for the caption. The error of the mean
# is the default: a band of the trials' own spread, several tenths wide, hides every other method.
BANDS = {
    "error": "Mean and its standard error",
    "deviation": "Mean and standard deviation",
    "quartiles": "Median and quartiles",
    "none": "Mean",
}
X_AXES = {"samples": "trained networks (samples)", "seconds": "total training time (seconds)"}

_FIRST_SAMPLES = 10
_DECADES = 1000
# Regrets are drawn on a logarithmic axis, where zero has no place: in percentage points.
SMALLEST_REGRET = 1e-3


@dataclass(frozen=True)
class Line:
    """One method in a figure.

    Attributes:
        label: What it is called there.
        style: How it is drawn.
        x: (P,) samples or seconds.
        middle: (P,) percent; mean or median over trials.
        low: (P,) percent; lower end of the band.
        high: (P,) percent; upper end.
        between_draws: (2, P) percent; the mean over draws of the model of unmeasured values,
            minus and plus the standard deviation between them; None of a single draw.
    """

    label: str
    style: LineStyle
    x: NDArray[np.float64]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    between_draws: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class FigureData:
    """All numbers in a figure.

    Attributes:
        metric: "test" or "validation".
        x_axis: "samples" or "seconds".
        regret: Whether values are distances to the best cell, in percentage points.
        lines: The methods; a predictor's starts with the first cell after training.
        oracles: Label and value of each oracle.
        training: Label and place of each dotted line: where predictors have trained N cells.
        x_limits: Samples or seconds.
        y_limits: Percent, or percentage points.
        notes: Sentences below the figure.
    """

    metric: str
    x_axis: str
    regret: bool
    lines: tuple[Line, ...]
    oracles: tuple[tuple[str, float], ...]
    training: tuple[tuple[str, float], ...]
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    notes: tuple[str, ...]


def band_of(
    series: Series, metric: str, band: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The middle and the ends of a band, (P,) percent each.

    Args:
        series: A method's curve.
        metric: "test" or "validation".
        band: A key of ``BANDS``.
    """
    columns = series.columns
    mean = columns[f"{metric}_mean"]
    if band == "quartiles":
        return tuple(columns[f"{metric}_{name}"] for name in ("median", "q25", "q75"))  # type: ignore[return-value] # three
    if band == "none":
        return mean, mean, mean
    spread = columns[f"{metric}_std"]
    if band == "error":
        spread = spread / math.sqrt(series.trials)
    return mean, mean - spread, mean + spread


def draws_band_of(series: Series, metric: str) -> NDArray[np.float64] | None:
    """The ends of the band between draws, (2, P) percent; None where there is one draw.

    Args:
        series: A method's curve.
        metric: "test" or "validation".
    """
    middle = series.columns.get(f"{metric}_mean_over_draws")
    spread = series.columns.get(f"{metric}_std_between_draws")
    if middle is None or spread is None:
        return None
    return np.stack([middle - spread, middle + spread])


def figure_data(
    curves: Sequence[Series | Curves],
    metric: str = "test",
    notes: Sequence[str] = (),
    *,
    x_axis: str = "samples",
    band: str = "error",
    labels: Sequence[str] | None = None,
    best: float | None = None,
) -> FigureData:
    """The numbers to draw.

    Args:
        curves: One for each line.
        metric: "test" or "validation".
        notes: Sentences to print below.
        x_axis: "samples" or "seconds"; for the latter give curves by training time, or by samples
            if there are none.
        band: A key of ``BANDS``.
        labels: What the lines are called; by default as their methods are.
        best: Accuracy of the best cell in percent, to draw regrets; None draws accuracies.

    Raises:
        SettingsError: If a name is unknown, or training times are wanted and not known.
    """
    for name, value, choices in (
        ("metric", metric, METRICS),
        ("x", x_axis, X_AXES),
        ("band", band, BANDS),
    ):
        if value not in choices:
            raise SettingsError(f"{name} is {value!r}: use one of {', '.join(choices)}.")
    all_series = [series_of(each) if isinstance(each, Curves) else each for each in curves]
    if not all_series:
        raise SettingsError("there is no curve to draw: name at least one method that was run.")
    names = list(labels) if labels is not None else [series.method for series in all_series]
    # The first few samples, or three decades of time before the last, would flatten all others;
    # a logarithmic axis has room for them.
    first = 0.0
    if x_axis == "seconds" and best is None:
        last = max(_places(each, each.method, x_axis)[0][-1] for each in all_series)
        first = float(last) / _DECADES
    styles = iter(line_styles([each.method for each in all_series if not each.is_bound]))
    lines: list[Line] = []
    oracles: list[tuple[str, float]] = []
    training: dict[int, list[float]] = {}
    for name, series in zip(names, all_series, strict=True):
        middle, low, high = band_of(series, metric, band)
        draws = draws_band_of(series, metric)
        if best is not None:
            # The best mean is not the best run, so a single run may be better than the best cell.
            middle, low, high = (
                np.maximum(best - values, SMALLEST_REGRET) for values in (middle, high, low)
            )
            draws = None if draws is None else np.maximum(best - draws[::-1], SMALLEST_REGRET)
        if series.is_bound:
            # Runs on the same view under the same rules have the same oracle, or nearly.
            if all(abs(value - middle[-1]) > 0.005 for _, value in oracles):
                oracles.append((name, float(middle[-1])))
            continue
        x, trained = _places(series, name, x_axis)
        shown = x > trained if trained else x >= first
        if series.axis == "samples":
            shown &= series.x >= _FIRST_SAMPLES
        if not shown.any():
            shown[-1] = True
        lines.append(
            Line(
                name,
                next(styles),
                x[shown],
                middle[shown],
                low[shown],
                high[shown],
                None if draws is None else draws[:, shown],
            )
        )
        if 0 < trained < x[-1]:
            training.setdefault(series.train_samples, []).append(trained)
    return FigureData(
        metric,
        x_axis,
        best is not None,
        tuple(lines),
        tuple(oracles),
        tuple((f"N = {n:,}", float(np.mean(places))) for n, places in sorted(training.items())),
        _x_limits(lines, all_series),
        _y_limits(lines, oracles, best is not None),
        tuple(notes),
    )


def _places(series: Series, name: str, x_axis: str) -> tuple[NDArray[np.float64], float]:
    """Where the points of a curve lie on an axis, and where its N cells are trained."""
    if series.axis == x_axis:
        return series.x, series.trained
    if x_axis == "samples" or not series.timed:
        raise SettingsError(
            f"the view has no training times for {name!r}: draw it with --x samples."
        )
    seconds = series.columns["seconds_mean"]
    return seconds, float(seconds[series.at(series.trained)]) if series.trained else 0.0


def _x_limits(lines: Sequence[Line], all_series: Sequence[Series]) -> tuple[float, float]:
    """Where the x axis begins and ends."""
    if lines:
        low, high = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    else:
        high = max(float(series.x[-1]) for series in all_series)
        low = min(float(_FIRST_SAMPLES), high)
    return (float(low), float(high)) if high > low else (float(low), 1.1 * float(low) + 1)


def _y_limits(
    lines: Sequence[Line], oracles: Sequence[tuple[str, float]], regret: bool
) -> tuple[float, float]:
    """Where the y axis begins and ends: all middles are inside, bands may be cut."""
    middles = [line.middle for line in lines] + [np.array([value]) for _, value in oracles]
    bottom, top = (float(f([f(each) for each in middles])) for f in (np.min, np.max))
    if regret:
        return bottom / 1.3, top * 1.3
    room = max(0.05, 0.08 * (top - bottom))
    return math.floor(20 * (bottom - room)) / 20, math.ceil(20 * (top + room)) / 20
