"""The share of trials that reach each accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nprep.plot.styles import GRID, ORACLE, line_styles
from nprep.report.html import Picture
from nprep.report.pictures.base import about_runs, picture
from nprep.results.reading import Run
from nprep.search.registry import kind_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def profile_picture(name: str, run: Run, samples: int, title: str) -> Picture:
    """The share of trials that reach each test accuracy."""
    profiles = run.summary["profiles"]
    thresholds = profiles["thresholds_percent"]
    methods = [m for m in profiles["methods"] if kind_of(m) != "bound"]
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
        f"{title}.",
        title,
        sizes=((9.4, 4.0), (3.9, 3.9)),
        more=about_runs([run], timed=False),
    )
