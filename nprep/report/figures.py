"""The report's figures: pure functions make numbers, thin ones draw them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nprep.plot.data import BANDS, SMALLEST_REGRET, FigureData, figure_data
from nprep.plot.draw import draw
from nprep.plot.files import render
from nprep.plot.styles import FAINT, GRID, INK, ORACLE, line_styles
from nprep.report.html import Picture
from nprep.report.tables import part_words
from nprep.results.curves import Curves
from nprep.results.reading import Run, labels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, NARROW = (9.4, 5.0), (3.9, 3.9)
_MIME = {"svg": "image/svg+xml", "png": "image/png"}

# Candidates K of the map; the paper's sum N + K = 219 at N = 172 is K = 47.
MAP_TOP_K = (1, 3, 10, 30, 47, 100, 300, 1000)


def picture(
    name: str,
    drawing: Callable[[Figure, bool], None],
    alt: str,
    caption: str,
    title: str,
    kind: str = "svg",
    sizes: tuple[tuple[float, float], tuple[float, float]] = (WIDE, NARROW),
    more: str = "",
) -> Picture:
    """Draws a figure for wide and for narrow windows, and as files that stand alone.

    Args:
        name: Of the files.
        drawing: Draws into an empty figure; told whether the window is narrow.
        alt: What the figure shows, in words.
        caption: Below it, in the files too; says what is modelled.
        title: Of the files.
        kind: What the page gets: "svg", or "png" for very many points.
        sizes: Width and height in inches for wide and narrow windows.
        more: What the caption of the files says besides, since they stand alone.
    """
    from matplotlib.figure import Figure

    figures = []
    for narrow, size in zip((False, True), sizes, strict=True):
        figure = Figure(figsize=size, layout="constrained")
        drawing(figure, narrow)
        figures.append(render(figure, kind))

    def alone() -> dict[str, bytes]:
        figure = Figure(figsize=(sizes[0][0], sizes[0][1] + 1), layout="constrained")
        drawing(figure, False)
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
        notes = textwrap.fill(f"{caption} {more}", round(17.5 * sizes[0][0]))
        figure.supxlabel(notes, fontsize=7.5, color=FAINT, x=0.01, ha="left")
        return {form: render(figure, form) for form in ("png", "svg")}

    return Picture(name, (_MIME[kind], figures[0]), (_MIME[kind], figures[1]), alt, caption, alone)


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
    modelled = " ".join(dict.fromkeys(run.modelled(x_axis == "seconds") for run in runs))
    if best is not None:
        title = title.replace("accuracy", "regret")
    caption = f"{title}. {BANDS[band]} over trials. {modelled}".strip()
    if best is not None:
        caption += f" Regret is the distance to the best cell's mean, {best:.3f} %"
        caption += (
            "; a single run may be better than that, what is left is then drawn as "
            f"{SMALLEST_REGRET:g}."
            if metric == "validation"
            else "."
        )
    more = " ".join(
        dict.fromkeys(caption for run in runs for caption in run.captions(modelled=False))
    )

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


@dataclass(frozen=True)
class Density:
    """How many cells lie where, predicted against true.

    Attributes:
        counts: (X, Y) int64.
        x_edges: (X + 1,) percent, predicted.
        y_edges: (Y + 1,) percent, true.
        outside: Cells that lie outside the edges.
    """

    counts: NDArray[np.int64]
    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    outside: int


def density(
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    low: float,
    high: float,
    bins: int = 90,
) -> Density:
    """Counts cells on a square grid.

    Args:
        predicted: (M,) percent.
        true: (M,) percent.
        low: Where both axes begin.
        high: Where they end.
        bins: Number of bins of each.
    """
    edges = np.linspace(low, high, bins + 1)
    counts, _, _ = np.histogram2d(predicted, true, bins=(edges, edges))
    whole = counts.astype(np.int64)
    return Density(whole, edges, edges, int(len(predicted) - whole.sum()))


def scatter_picture(
    name: str,
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    known: NDArray[np.int32],
    title: str,
    caption: str,
) -> Picture:
    """Predicted against true accuracy of all cells, and of the best alone.

    Args:
        name: Of the files.
        predicted: (M,) percent.
        true: (M,) percent.
        known: Positions of the training cells.
        title: Of the files.
        caption: Below the figure.
    """
    high = float(np.ceil(true.max() * 2) / 2)
    panels = [density(predicted, true, low, high) for low in (84.0, 92.0)]

    def drawing(figure: Figure, narrow: bool) -> None:
        from matplotlib.colors import LogNorm

        axes = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
        most = max(1, *(int(panel.counts.max()) for panel in panels))
        for each, panel in zip(axes, panels, strict=True):
            low = panel.x_edges[0]
            shown = np.where(panel.counts > 0, panel.counts, np.nan)
            drawn = each.pcolormesh(
                panel.x_edges,
                panel.y_edges,
                shown.T,
                norm=LogNorm(0.3, most),
                cmap="Blues",
                rasterized=True,
            )
            each.plot([low, high], [low, high], color=INK, linestyle="--", linewidth=1)
            inside = known[(predicted[known] >= low) & (true[known] >= low)]
            each.plot(
                predicted[inside],
                true[inside],
                linestyle="",
                marker="o",
                markersize=3.5,
                markerfacecolor="none",
                markeredgecolor="#D55E00",
                markeredgewidth=0.8,
            )
            each.set_xlim(low, high)
            each.set_ylim(low, high)
            each.set_box_aspect(1)
            each.set_xlabel("predicted (%)")
            each.set_ylabel("true (%)")
        below = {"location": "bottom", "shrink": 0.7, "aspect": 40} if narrow else {"shrink": 0.9}
        figure.colorbar(drawn, ax=axes, label="cells (logarithmic)", **below)

    whole, top = panels
    alt = (
        f"Two density plots of predicted against true validation accuracy of {len(true):,} cells, "
        f"from {whole.x_edges[0]:.0f} % and from {top.x_edges[0]:.0f} % up, with the line of "
        f"equality and the {len(known)} training cells as circles. {whole.outside:,} cells lie "
        "outside the first."
    )
    return picture(name, drawing, alt, caption, title, "png", ((9.4, 4.1), (3.9, 7.4)))


@dataclass(frozen=True)
class Map:
    """Mean accuracy by number of training samples and candidates.

    Attributes:
        train_samples: N of each row, ascending.
        top_k: K of each column.
        values: (N, K) percent; NaN where a run does not go that far.
    """

    train_samples: tuple[int, ...]
    top_k: tuple[int, ...]
    values: NDArray[np.float64]


def accuracy_map(curves: Sequence[Curves], metric: str = "test") -> Map:
    """Mean accuracy at N + K of one method run with several N.

    Args:
        curves: Of the method, each with another N.
        metric: "test" or "validation".
    """
    ordered = sorted(curves, key=lambda each: each.train_samples)
    longest = max(each.horizon - each.train_samples for each in ordered)
    top_k = tuple(k for k in MAP_TOP_K if k <= longest)
    values = np.full((len(ordered), len(top_k)), np.nan)
    for row, each in zip(values, ordered, strict=True):
        means = each.metric(metric).mean(axis=0)
        for column, k in enumerate(top_k):
            if each.train_samples + k <= each.horizon:
                row[column] = means[each.column(each.train_samples + k)]
    return Map(tuple(each.train_samples for each in ordered), top_k, values)


def map_picture(name: str, data: Map, title: str, caption: str) -> Picture:
    """The map with its numbers written in, so that it can be read without colours."""

    def drawing(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        values = np.ma.masked_invalid(data.values)
        axes.pcolormesh(values, cmap="cividis", edgecolors="white", linewidth=1)
        middle = (values.min() + values.max()) / 2
        for (row, column), value in np.ndenumerate(data.values):
            if np.isfinite(value):
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=6.0 if narrow else 9.0,
                    color="white" if value < middle else "black",
                )
        axes.set_xticks(np.arange(len(data.top_k)) + 0.5, [f"{k:,}" for k in data.top_k])
        axes.set_yticks(
            np.arange(len(data.train_samples)) + 0.5, [f"{n:,}" for n in data.train_samples]
        )
        axes.tick_params(length=0, labelsize=7 if narrow else 9)
        axes.set_xlabel("candidates K")
        axes.set_ylabel("training samples N")

    row, column = np.unravel_index(np.nanargmax(data.values), data.values.shape)
    alt = (
        f"Heat map of mean test accuracy, training samples N from {data.train_samples[0]} to "
        f"{data.train_samples[-1]} against candidates K from {data.top_k[0]} to {data.top_k[-1]}; "
        f"the highest is {data.values[row, column]:.2f} % at N = {data.train_samples[row]} and "
        f"K = {data.top_k[column]}."
    )
    height = 1.2 + 0.5 * len(data.train_samples)
    sizes = ((9.4, height), (3.9, height))
    return picture(name, drawing, alt, caption, title, "svg", sizes)


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
        f"between rounds. {run.modelled()}"
    ).strip()
    height = 1.0 + 2.3 * len(counts)
    return picture(
        name,
        drawing,
        f"Line charts, one for each number of machines: {'; '.join(ends)}.",
        caption,
        title,
        sizes=((9.4, 4.0), (3.9, height)),
        more=" ".join(run.captions(modelled=False)),
    )


def profile_picture(name: str, run: Run, samples: int, title: str) -> Picture:
    """The share of trials that reach each test accuracy."""
    profiles = run.summary["profiles"]
    thresholds = profiles["thresholds_percent"]
    methods = [m for m in profiles["methods"] if m != "oracle"]
    styles = dict(zip(methods, line_styles(methods), strict=True))
    shown = {m: each.get(str(samples)) for m, each in profiles["methods"].items()}
    shown = {m: each for m, each in shown.items() if each is not None}

    def drawing(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        for method, shares in shown.items():
            style = styles.get(method, ORACLE)
            axes.plot(
                thresholds,
                100.0 * np.array(shares),
                color=style.colour,
                linestyle=style.dashes,
                marker=style.marker,
                markevery=max(1, len(thresholds) // 10),
                markersize=4.5,
                linewidth=1.5,
                label=method,
            )
        axes.set_ylim(-2, 102)
        axes.set_xlim(thresholds[0], thresholds[-1])
        axes.set_xlabel("test accuracy (%)")
        axes.set_ylabel("trials that reach it (%)")
        axes.grid(True, color=GRID, linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.legend(
            loc="outside upper center", ncols=2 if narrow else 6, fontsize=8, frameon=False
        )

    halves = []
    for method, shares in shown.items():
        reached = [t for t, share in zip(thresholds, shares, strict=True) if share >= 0.5]
        halves.append(f"{method} {max(reached):.2f} %" if reached else f"{method} none of them")
    return picture(
        name,
        drawing,
        f"Line chart of the share of trials that reach each test accuracy after {samples:,} "
        f"samples. Half of the trials reach: {'; '.join(halves)}.",
        f"{title}. {run.modelled(timed=False)}".strip(),
        title,
        sizes=((9.4, 4.0), (3.9, 3.9)),
        more=" ".join(run.captions(modelled=False)),
    )


def quality_picture(name: str, content: dict[str, Any], title: str, source: str) -> Picture:
    """Rank correlation and squared error of predictors by the cells that they learn from."""
    rows = content["mean_over_splits"]
    counts = [row["train_samples"] for row in rows]
    panels = (("tau", "Kendall tau"), ("mse", "mean squared error"))
    lines = (
        ("one-stage", "all", line_styles(["np-one-stage"])[0]),
        ("two-stage", "all", line_styles(["np"])[0]),
        ("one-stage", "above_91", line_styles(["mlp"])[0]),
        ("two-stage", "above_91", line_styles(["evolution"])[0]),
    )

    def drawing(figure: Figure, narrow: bool) -> None:
        grid = figure.subplots(*((2, 1) if narrow else (1, 2)))
        for axes, (key, words) in zip(grid, panels, strict=True):
            for kind, part, style in lines:
                entries = [row[kind]["view"][part] for row in rows]
                axes.errorbar(
                    counts,
                    [entry.get(key, np.nan) for entry in entries],
                    [entry.get(f"{key}_standard_error") or 0.0 for entry in entries],
                    color=style.colour,
                    linestyle=style.dashes,
                    marker=style.marker,
                    markersize=5,
                    linewidth=1.5,
                    capsize=2,
                    label=f"{kind}, {part_words(part)}",
                )
            axes.set_xscale("log")
            axes.set_xticks(counts, [f"{n:,}" for n in counts])
            axes.minorticks_off()
            axes.set_xlabel("training samples N")
            axes.set_ylabel(words)
            if key == "mse":
                # A few trainings that failed make all others' errors small.
                axes.set_yscale("log")
            axes.grid(True, color=GRID, linewidth=0.6)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=2, fontsize=8, frameon=False
        )

    taus = [
        f"{kind}, {part_words(part)}, from {rows[0][kind]['view'][part].get('tau', np.nan):.2f} to "
        f"{rows[-1][kind]['view'][part].get('tau', np.nan):.2f}"
        for kind, part, _ in lines
    ]
    return picture(
        name,
        drawing,
        f"Two line charts by training samples N from {counts[0]} to {counts[-1]}. Kendall tau: "
        f"{'; '.join(taus)}.",
        f"{title}. Means over splits and their standard errors, over all cells of the view that "
        f"were not learned from. {source}".strip(),
        title,
        sizes=((9.4, 4.2), (3.9, 6.4)),
    )
