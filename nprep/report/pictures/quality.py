"""How good predictors are, by the number of architectures that they learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nprep.plot.styles import GRID, line_styles
from nprep.report.html import Picture
from nprep.report.pictures.base import picture
from nprep.report.words import part_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def quality_picture(name: str, content: dict[str, Any], title: str, more: str) -> Picture:
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
        f"were not learned from.",
        title,
        sizes=((9.4, 4.2), (3.9, 6.4)),
        more=more,
    )
