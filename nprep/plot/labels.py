"""Names beside lines: none may lie on another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nprep.plot.data import FigureData, Line
from nprep.plot.styles import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Labels at the ends of lines keep this share of the axes' height between them.
_LABEL_GAP = 0.047
# No label is wider than this share of the axes' width, or hardly any.
_LABEL_WIDTH = 0.25
# More lines than these have a legend.
_MOST_LABELS = 6


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


def label_lines(axes: Axes, data: FigureData, size: float) -> None:
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
                arrowprops={"arrowstyle": "-", "color": line.style.colour, "linewidth": 0.8}
                if moved
                else None,
                bbox={
                    "boxstyle": "square,pad=0.08",
                    "facecolor": "white",
                    "edgecolor": "none",
                    "alpha": 0.75,
                },
            )
