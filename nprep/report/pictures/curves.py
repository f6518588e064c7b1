"""The figure of curves on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nprep.plot.data import BANDS, SMALLEST_REGRET, FigureData, figure_data
from nprep.plot.draw import draw
from nprep.report.html import Picture
from nprep.report.pictures.base import about_runs, picture
from nprep.results.comparable import labels_of
from nprep.results.reading import Run
from nprep.results.text import dips_in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves_picture(
    name: str, runs: Sequence[Run], metric: str, x_axis: str, band: str, title: str
) -> Picture:
    """Curves of comparable runs in one figure.

    Raises:
        SettingsError: If training times are wanted and not known.
    """
    everything = [series for run in runs for series in run.by(x_axis)]
    best = None
    if runs[0].rules.shows == "regret" and all(run.best for run in runs):
        best = max(run.best[metric] for run in runs)
    data = figure_data(
        everything, metric, x_axis=x_axis, band=band, labels=labels_of(runs), best=best
    )
    if best is not None:
        title = title.replace("accuracy", "regret")
    caption = f"{title}. {BANDS[band]} over trials."
    if any(line.between_draws is not None for line in data.lines):
        caption += " The lighter band: mean and standard deviation between draws of the model."
    if best is not None:
        caption += f" Regret is the distance to the best cell's mean, {best:.3f} %"
        caption += (
            "; a single run may be better than that, what is left is then drawn as "
            f"{SMALLEST_REGRET:g}."
            if metric == "validation"
            else "."
        )
    if metric == "test" and band != "quartiles":
        dips = dict.fromkeys(dips_in_words(run.summary) for run in runs if run.summary)
        caption = " ".join([caption, *(each for each in dips if each)])
    more = about_runs(runs, x_axis == "seconds")

    def drawing(figure: Figure, narrow: bool) -> None:
        draw(figure.add_subplot(), data, 7.5 if narrow else 9.0)

    return picture(name, drawing, describe_curves(data), caption, title, more=more)


def describe_curves(data: FigureData) -> str:
    """The figure of curves in words."""
    unit = {"samples": "samples", "seconds": "seconds of training"}[data.x_axis]
    sign = "points" if data.regret else "%"
    parts = [
        f"{line.label} goes from {line.middle[0]:.2f} {sign} after {line.x[0]:,.0f} to "
        f"{line.middle[-1]:.2f} {sign} after {line.x[-1]:,.0f} {unit}"
        for line in data.lines
    ]
    parts += [f"{label} is at {value:.2f} {sign}" for label, value in data.oracles]
    what = "regret" if data.regret else "accuracy"
    return f"Line chart of {data.metric} {what}: {'; '.join(parts)}."
