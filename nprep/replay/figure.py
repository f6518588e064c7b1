"""The figure: samples against accuracy. Numbers first, ink second."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nprep.errors import MissingDependencyError
from nprep.replay.curves import Curves, sample_grid
from nprep.replay.folder import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, told apart by the colour-blind; dashes and markers tell the lines apart
# in grey. A method keeps its look whatever else is drawn.
_LOOKS = {
    "random": ("#56B4E9", (0, (1, 1.2)), "s"),
    "evolution": ("#D55E00", (0, (5, 1.5)), "^"),
    "evolution-ying": ("#CC79A7", (0, (5, 1.5, 1, 1.5)), "v"),
    "np": ("#0072B2", "solid", "o"),
    "np-one-stage": ("#009E73", (0, (8, 2)), "D"),
    "mlp": ("#E69F00", (0, (3, 1, 1, 1, 1, 1)), "P"),
    "oracle": ("#000000", (0, (2, 2)), ""),
}
_OTHER_LOOKS = (
    ("#7F3C8D", (0, (6, 1, 1, 1)), "X"),
    ("#5F7A00", (0, (4, 2, 2, 2)), "*"),
    ("#8C564B", (0, (2, 1)), "<"),
    ("#4D4D4D", "solid", ">"),
)

_FIRST_SAMPLES = 10


@dataclass(frozen=True)
class Line:
    """One method in a figure.

    Attributes:
        method: Name of the method.
        samples: (P,) int64.
        mean: (P,) percent; over trials.
        low: (P,) percent; mean - standard deviation.
        high: (P,) percent; mean + standard deviation.
    """

    method: str
    samples: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class FigureData:
    """All numbers in a figure.

    Attributes:
        metric: "test" or "validation".
        lines: The methods; a predictor's starts with the first cell after training.
        oracle: Mean accuracy of the oracle in percent, or None.
        train_samples: Where the dotted lines are, ascending.
        x_limits: Samples.
        y_limits: Percent.
        notes: Sentences below the figure.
    """

    metric: str
    lines: tuple[Line, ...]
    oracle: float | None
    train_samples: tuple[int, ...]
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    notes: tuple[str, ...]


def figure_data(
    all_curves: Sequence[Curves], metric: str = "test", notes: Sequence[str] = ()
) -> FigureData:
    """The numbers to draw.

    Args:
        all_curves: One for each method.
        metric: "test" or "validation".
        notes: Sentences to print below.
    """
    lines = []
    oracle = None
    longest = max(curves.horizon for curves in all_curves)
    for curves in all_curves:
        values = curves.metric(metric)
        if curves.method == "oracle":
            oracle = float(values[:, -1].mean())
            continue
        start = curves.train_samples + 1 if curves.train_samples else min(_FIRST_SAMPLES, longest)
        grid = [s for s in sample_grid(curves.horizon, (start,)) if s >= start]
        columns = [curves.column(samples) for samples in grid]
        mean = values[:, columns].mean(axis=0)
        spread = np.zeros(len(grid))
        if len(values) > 1:
            spread = values[:, columns].std(axis=0, ddof=1)
        lines.append(
            Line(curves.method, np.array(grid, np.int64), mean, mean - spread, mean + spread)
        )
    tops = [line.mean.max() for line in lines] + ([oracle] if oracle is not None else [])
    bottoms = [line.mean.min() for line in lines] or tops
    room = max(0.05, 0.12 * (max(tops) - min(bottoms)))
    return FigureData(
        metric,
        tuple(lines),
        oracle,
        tuple(sorted({curves.train_samples for curves in all_curves if curves.train_samples})),
        (min(_FIRST_SAMPLES, longest), max(longest, _FIRST_SAMPLES + 1)),
        (math.floor(20 * (min(bottoms) - room)) / 20, math.ceil(20 * (max(tops) + room)) / 20),
        tuple(notes),
    )


def draw(axes: Axes, data: FigureData) -> None:
    """Draws the data into axes.

    Args:
        axes: Of matplotlib; nothing outside them is touched.
        data: The numbers.
    """
    others = 0
    for line in data.lines:
        if line.method in _LOOKS:
            colour, dashes, marker = _LOOKS[line.method]
        else:
            colour, dashes, marker = _OTHER_LOOKS[others % len(_OTHER_LOOKS)]
            others += 1
        axes.fill_between(line.samples, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            line.samples,
            line.mean,
            color=colour,
            linestyle=dashes,
            marker=marker,
            markevery=max(1, len(line.samples) // 8),
            markersize=5,
            linewidth=1.8,
            label=line.method,
        )
    if data.oracle is not None:
        colour, dashes, _ = _LOOKS["oracle"]
        axes.axhline(
            data.oracle,
            color=colour,
            linestyle=dashes,
            linewidth=1.2,
            label=f"oracle ({data.oracle:.2f} %)",
        )
    for number, samples in enumerate(data.train_samples):
        axes.axvline(
            samples,
            color="#555555",
            linestyle=":",
            linewidth=1.2,
            label="training samples N" if number == 0 else None,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(*data.x_limits)
    axes.set_ylim(*data.y_limits)
    axes.set_xlabel("trained networks (samples)")
    axes.set_ylabel(f"{data.metric} accuracy (%)")
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=9, framealpha=0.9)


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
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            f"the figure needs matplotlib, which cannot be imported ({error}): "
            "pip install matplotlib."
        ) from error
    files = []
    with matplotlib.rc_context(
        {"svg.hashsalt": "nprep", "svg.fonttype": "none", "font.size": 10.0}
    ):
        figure = Figure(figsize=(7.2, 4.9), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, data)
        axes.set_title(title, fontsize=11, loc="left")
        figure.supxlabel("\n".join(data.notes), fontsize=7.5, color="#444444", x=0.01, ha="left")
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
            path = folder / f"figure.{kind}"
            write_file(path, buffer.getvalue())
            files.append(path)
    return files
