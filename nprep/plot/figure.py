"""The figure: samples, or training time, against accuracy. Numbers first, ink second."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nprep.errors import MissingDependencyError, SettingsError
from nprep.plot.styles import FAINT, GRID, INK, ORACLE, Look, looks_for
from nprep.results.curves import Curves
from nprep.results.series import METRICS, Series, series_of
from nprep.runs.folder import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What the middle line and the band around it are, in words for the caption. The error of the mean
# is the default: a band of the trials' own spread, several tenths wide, hides every other method.
BANDS = {
    "error": "Mean and its standard error",
    "deviation": "Mean and standard deviation",
    "quartiles": "Median and quartiles",
    "none": "Mean",
}
X_AXES = {"samples": "trained networks (samples)", "seconds": "total training time (seconds)"}
KINDS = ("png", "svg", "pdf")

_FIRST_SAMPLES = 10
_DECADES = 1000
# Regrets are drawn on a logarithmic axis, where zero has no place: in percentage points.
SMALLEST_REGRET = 1e-3
# Labels at the ends of lines keep this share of the axes' height between them.
_LABEL_GAP = 0.047
# No label is wider than this share of the axes' width, or hardly any.
_LABEL_WIDTH = 0.25
# More lines than these have a legend.
_MOST_LABELS = 6


@dataclass(frozen=True)
class Line:
    """One method in a figure.

    Attributes:
        label: What it is called there.
        look: Its looks.
        x: (P,) samples or seconds.
        middle: (P,) percent; mean or median over trials.
        low: (P,) percent; lower end of the band.
        high: (P,) percent; upper end.
    """

    label: str
    look: Look
    x: NDArray[np.float64]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


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
        band: A key of :data:`BANDS`.
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
        band: A key of :data:`BANDS`.
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
    looks = iter(looks_for([each.method for each in all_series if each.method != "oracle"]))
    lines: list[Line] = []
    oracles: list[tuple[str, float]] = []
    training: dict[int, list[float]] = {}
    for name, series in zip(names, all_series, strict=True):
        middle, low, high = band_of(series, metric, band)
        if best is not None:
            # The best mean is not the best run, so a single run may be better than the best cell.
            middle, low, high = (
                np.maximum(best - values, SMALLEST_REGRET) for values in (middle, high, low)
            )
        if series.method == "oracle":
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
        lines.append(Line(name, next(looks), x[shown], middle[shown], low[shown], high[shown]))
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


def spread_out(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves numbers apart, as little as it takes, for labels that must not overlap.

    Args:
        values: Wanted places, in any order.
        gap: Smallest distance between two places.
        low: No place is below, if there is room for all.
        high: No place is above.

    Returns:
        The places, in the order of ``values``; two that are equal keep their order.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    gap = min(gap, (high - low) / max(1, len(values) - 1))
    # Neighbours that are too close become a group around the mean of what its members want.
    groups: list[tuple[list[float], float]] = []
    for i in order:
        members = [values[i]]
        start = values[i]
        while True:
            start = sum(members) / len(members) - gap * (len(members) - 1) / 2
            start = min(max(start, low), high - gap * (len(members) - 1))
            if not groups or groups[-1][1] + gap * len(groups[-1][0]) <= start + 1e-12:
                break
            members = groups.pop()[0] + members
        groups.append((members, start))
    sorted_places = [start + gap * k for members, start in groups for k in range(len(members))]
    places = [0.0] * len(values)
    for place, i in zip(sorted_places, order, strict=True):
        places[i] = place
    return places


def draw(axes: Axes, data: FigureData, font_size: float = 9.0) -> None:
    """Draws the data into axes.

    Args:
        axes: Of matplotlib; nothing outside them is touched.
        data: The numbers.
        font_size: Of the labels inside, in points.
    """
    axes.set_xscale("log")
    axes.set_xlim(*data.x_limits)
    if data.regret:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        # Over more than a decade there would be too many of them.
        few = data.y_limits[1] < 15 * data.y_limits[0]
        axes.yaxis.set_minor_formatter("{x:g}" if few else "")
    axes.set_ylim(*data.y_limits)
    for line in data.lines:
        look = line.look
        axes.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.13, linewidth=0)
        axes.plot(
            line.x,
            line.middle,
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            markevery=_marker_places(line.x, data.x_limits),
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=1.7,
            label=line.label,
        )
    for label, value in data.oracles:
        axes.axhline(
            value, color=ORACLE.colour, linestyle=ORACLE.dashes, linewidth=1.1, label=label
        )
        text = f"{label} {value:.{3 if data.regret else 2}f}"
        _write(axes, text, (0.01, value), font_size, across=True)
    for label, place in data.training:
        axes.axvline(place, color=FAINT, linestyle=":", linewidth=1.2, label=label)
        _write(axes, label, (place, 0.015), font_size, along=True)
    _label_lines(axes, data, font_size)
    if data.x_axis == "samples":
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(X_AXES[data.x_axis])
    unit = "regret (percentage points)" if data.regret else "accuracy (%)"
    axes.set_ylabel(f"{data.metric} {unit}")
    axes.grid(True, which="major", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _marker_places(x: NDArray[np.float64], limits: tuple[float, float]) -> list[int]:
    """Points that get a marker: about ten across the axes' width, and the last."""
    step = math.log(limits[1] / limits[0]) / 10
    slots = np.floor(np.log(np.maximum(x, limits[0]) / limits[0]) / step)
    _, first = np.unique(slots, return_index=True)
    return sorted({*first.tolist(), len(x) - 1})


def _write(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    size: float,
    across: bool = False,
    along: bool = False,
) -> None:
    """Writes beside a line across the whole axes, in its own coordinates the other way."""
    transform = axes.transData
    if across:
        transform = axes.get_yaxis_transform()
    elif along:
        transform = axes.get_xaxis_transform()
    axes.annotate(
        text,
        place,
        xycoords=transform,
        xytext=(2.0, 2.0) if across else (3.0, 0.0),
        textcoords="offset points",
        fontsize=size,
        color=INK,
        va="bottom",
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        if along
        else None,
    )


def _label_lines(axes: Axes, data: FigureData, size: float) -> None:
    """Names lines where they end, or, if there are many of them, in a legend outside the axes."""
    if len(data.lines) <= _MOST_LABELS:
        _label_ends(axes, data, size)
        return
    handles = {str(line.get_label()): line for line in axes.get_lines()}
    # From top to bottom as the lines end.
    order = sorted(data.lines, key=lambda line: -line.middle[-1])
    if data.regret:
        order.reverse()
    narrow = axes.figure.get_figwidth() < 5  # type: ignore[union-attr] # drawn on a figure
    axes.legend(
        [handles[line.label] for line in order],
        [_with_end(line, data) for line in order],
        loc="upper center" if narrow else "center left",
        bbox_to_anchor=(0.5, -0.17) if narrow else (1.01, 0.5),
        ncols=2 if narrow else 1,
        fontsize=size - 0.5,
        frameon=False,
        handlelength=3.2,
    )


def _with_end(line: Line, data: FigureData) -> str:
    """The name and the last value of a line."""
    return f"{line.label} {line.middle[-1]:.{3 if data.regret else 2}f}"


def _columns(data: FigureData) -> list[list[Line]]:
    """The lines in groups whose labels, written at their ends, could lie beside each other."""
    width = math.log(data.x_limits[1] / data.x_limits[0])
    ends = [(math.log(line.x[-1] / data.x_limits[0]) / width, line) for line in data.lines]
    ends.sort(key=lambda pair: pair[0])
    columns: list[list[Line]] = []
    last = -math.inf
    for place, line in ends:
        if place - last > _LABEL_WIDTH:
            columns.append([])
        columns[-1].append(line)
        last = place
    return columns


def _label_ends(axes: Axes, data: FigureData, size: float) -> None:
    """Writes each line's name and last value at its end; those that end together keep apart."""
    low, high = data.y_limits
    gap = _LABEL_GAP * size / 9.0
    for together in _columns(data):
        values = [float(np.clip(line.middle[-1], low, high)) for line in together]
        if data.regret:
            wanted = [math.log(value / low) / math.log(high / low) for value in values]
        else:
            wanted = [(value - low) / (high - low) for value in values]
        places = spread_out(wanted, gap, gap / 2, 1 - gap / 2)
        for line, value, want, place in zip(together, values, wanted, places, strict=True):
            moved = abs(place - want) > 0.3 * gap
            axes.annotate(
                _with_end(line, data),
                (line.x[-1], value),
                xytext=(14.0 if moved else 6.0, place),
                textcoords=("offset points", "axes fraction"),
                fontsize=size,
                color=INK,
                va="center",
                ha="left",
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": line.look.colour, "linewidth": 0.8}
                if moved
                else None,
                bbox={
                    "boxstyle": "square,pad=0.08",
                    "facecolor": "white",
                    "edgecolor": "none",
                    "alpha": 0.75,
                },
            )


def make_figure(data: FigureData, title: str, size: tuple[float, float] = (7.2, 4.9)) -> Figure:
    """A matplotlib figure of the data, with title and notes.

    Args:
        data: The numbers.
        title: Above the axes; may be empty.
        size: Width and height in inches.

    Raises:
        MissingDependencyError: If matplotlib cannot be imported.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            f"the figure needs matplotlib, which cannot be imported ({error}): "
            "pip install matplotlib."
        ) from error
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.add_subplot(), data, 9.0 if size[0] > 5 else 8.0)
    if title:
        figure.axes[0].set_title(title, fontsize=11, loc="left")
    if data.notes:
        figure.supxlabel("\n".join(data.notes), fontsize=7.5, color="#444444", x=0.01, ha="left")
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """A figure as a file; equal numbers give equal bytes of SVG and PDF.

    Args:
        figure: Of matplotlib.
        kind: One of :data:`KINDS`.
    """
    import matplotlib

    metadata = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    buffer = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "nprep", "svg.fonttype": "none", "pdf.fonttype": 42}
    ):
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()


def save_figure(folder: Path, data: FigureData, title: str) -> list[Path]:
    """Writes ``figure.png`` and ``figure.svg``; equal numbers give an equal SVG.

    Args:
        folder: Where to.
        data: The numbers.
        title: Above the axes.

    Returns:
        The two files.

    Raises:
        MissingDependencyError: If matplotlib cannot be imported.
    """
    figure = make_figure(data, title)
    files = []
    for kind in ("png", "svg"):
        path = folder / f"figure.{kind}"
        write_file(path, render(figure, kind))
        files.append(path)
    return files
