"""Draws the numbers of a figure into matplotlib axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nprep.plot.data import X_AXES, FigureData
from nprep.plot.labels import label_lines
from nprep.plot.styles import FAINT, GRID, INK, ORACLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        style = line.style
        if line.between_draws is not None:
            low, high = line.between_draws
            axes.fill_between(line.x, low, high, color=style.colour, alpha=0.06, linewidth=0)
        axes.fill_between(line.x, line.low, line.high, color=style.colour, alpha=0.13, linewidth=0)
        axes.plot(
            line.x,
            line.middle,
            color=style.colour,
            linestyle=style.dashes,
            marker=style.marker,
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
    label_lines(axes, data, font_size)
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
