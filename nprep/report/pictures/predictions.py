"""Predicted against true accuracy, as densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nprep.plot.styles import INK
from nprep.report.html import Picture
from nprep.report.pictures.base import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    more: str,
) -> Picture:
    """Predicted against true accuracy of all cells, and of the best alone.

    Args:
        name: Of the files.
        predicted: (M,) percent.
        true: (M,) percent.
        known: Positions of the training cells.
        title: Of the files.
        caption: Below the figure.
        more: What the files say besides.
    """
    high = float(np.ceil(true.max() * 2) / 2)
    # Nearly all, and the better half: where accuracies lie depends on the space and its data set.
    lows = [float(np.floor(np.quantile(true, share))) for share in (0.05, 0.5)]
    panels = [density(predicted, true, min(low, high - 0.5), high) for low in lows]

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
    sizes = ((9.4, 4.1), (3.9, 7.4))
    return picture(name, drawing, alt, caption, title, "png", sizes, more)
