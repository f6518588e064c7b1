"""Accuracy by the clock of several numbers of machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nprep.plot.styles import GRID, line_styles
from nprep.report.html import Picture
from nprep.report.pictures.base import about_runs, picture
from nprep.results.reading import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def clock_picture(name: str, run: Run, title: str) -> Picture:
    """Mean test accuracy by the clock, a panel for each number of machines."""
    counts = sorted({series.workers for series in run.clock})[:4]
    methods = list(dict.fromkeys(series.method for series in run.clock))
    styles = dict(zip(methods, line_styles(methods), strict=True))
    values = [series.columns["test_mean"] for series in run.clock]
    top = max(float(each.max()) for each in values)
    # The way up from nothing says little; panels show the last stretch.
    low = max(min(float(each.min()) for each in values), top - 1.5)
    first = min(float(series.x[0]) for series in run.clock)
    last = max(float(series.x[-1]) for series in run.clock)

    def drawing(figure: Figure, narrow: bool) -> None:
        columns = 1 if narrow else len(counts)
        rows = len(counts) if narrow else 1
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, workers in zip(grid.ravel(), counts, strict=True):
            for series in run.clock:
                if series.workers != workers:
                    continue
                style = styles[series.method]
                points = max(1, len(series.x) // 8)
                axes.plot(
                    series.x,
                    series.columns["test_mean"],
                    color=style.colour,
                    linestyle=style.dashes,
                    marker=style.marker,
                    markevery=points,
                    markersize=4.5,
                    linewidth=1.5,
                    label=series.method,
                )
            axes.set_xscale("log")
            axes.set_xlim(first, last)
            axes.set_ylim(low, top + 0.05)
            axes.set_title(f"{workers:,} machine{'s' if workers > 1 else ''}", fontsize=9)
            axes.grid(True, which="major", color=GRID, linewidth=0.6)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        figure.supxlabel("time by the clock (seconds)", fontsize=9)
        figure.supylabel("mean test accuracy (%)", fontsize=9)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=2 if narrow else min(6, len(labels)),
            fontsize=8,
            frameon=False,
        )

    ends = [
        f"{series.method} on {series.workers} is at {series.columns['test_mean'][-1]:.2f} % after "
        f"{series.x[-1]:,.0f} s"
        for series in run.clock
        if series.workers in counts
    ]
    pause = run.summary.get("clock", {}).get("predictor_seconds", 0.0)
    caption = (
        f"{title}. Simulated from the training times of the table; a predictor takes {pause:g} s "
        f"between rounds."
    )
    height = 1.0 + 2.3 * len(counts)
    return picture(
        name,
        drawing,
        f"Line charts, one for each number of machines: {'; '.join(ends)}.",
        caption,
        title,
        sizes=((9.4, 4.0), (3.9, height)),
        more=about_runs([run]),
    )
