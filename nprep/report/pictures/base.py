"""A figure of the page: for wide and narrow windows, and as files that stand alone."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nprep.plot.files import own_style, render
from nprep.plot.styles import FAINT
from nprep.report.html import Picture
from nprep.results.reading import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, NARROW = (9.4, 5.0), (3.9, 3.9)
_MIME = {"svg": "image/svg+xml", "png": "image/png"}


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
        caption: Below it, in the files too.
        title: Of the files.
        kind: What the page gets: "svg", or "png" for very many points.
        sizes: Width and height in inches for wide and narrow windows.
        more: What the files say besides, since they stand alone: what is modelled, the rules.
    """
    figures = []
    with own_style():
        from matplotlib.figure import Figure

        for narrow, size in zip((False, True), sizes, strict=True):
            figure = Figure(figsize=size, layout="constrained")
            drawing(figure, narrow)
            figures.append(render(figure, kind))

    def alone() -> dict[str, bytes]:
        with own_style():
            figure = Figure(figsize=(sizes[0][0], sizes[0][1] + 1), layout="constrained")
            drawing(figure, False)
            figure.suptitle(title, fontsize=11, x=0.01, ha="left")
            notes = textwrap.fill(f"{caption} {more}", round(17.5 * sizes[0][0]))
            figure.supxlabel(notes, fontsize=7.5, color=FAINT, x=0.01, ha="left")
            return {form: render(figure, form) for form in ("png", "svg")}

    return Picture(name, (_MIME[kind], figures[0]), (_MIME[kind], figures[1]), alt, caption, alone)


def about_runs(runs: Sequence[Run], timed: bool = True) -> str:
    """What a figure that leaves the page says of its runs: view, what is modelled, rules.

    Args:
        runs: Whose numbers it shows.
        timed: Whether it shows training times.
    """
    sentences = [run.modelled(timed) for run in runs]
    sentences += [caption for run in runs for caption in run.captions(modelled=False)]
    return " ".join(dict.fromkeys(sentence for sentence in sentences if sentence))
