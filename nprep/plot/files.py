"""Figures as matplotlib objects and as files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from nprep.errors import MissingDependencyError
from nprep.plot.data import FigureData
from nprep.plot.draw import draw
from nprep.runs.folder import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg", "pdf")


def make_figure(data: FigureData, title: str, size: tuple[float, float] = (7.2, 4.9)) -> Figure:
    """A matplotlib figure of the data, with title and notes.

    Args:
        data: The numbers.
        title: Above the axes; may be empty.
        size: Width and height in inches.

    Raises:
        MissingDependencyError: If matplotlib cannot be imported.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            f"the figure needs matplotlib, which cannot be imported ({error}): "
            "pip install matplotlib."
        ) from error
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.add_subplot(), data, 9.0 if size[0] > 5 else 8.0)
    if title:
        figure.axes[0].set_title(title, fontsize=11, loc="left")
    if data.notes:
        figure.supxlabel("\n".join(data.notes), fontsize=7.5, color="#444444", x=0.01, ha="left")
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """A figure as a file; equal numbers give equal bytes of SVG and PDF.

    Args:
        figure: Of matplotlib.
        kind: One of :data:`KINDS`.
    """
    import matplotlib

    metadata = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    buffer = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "nprep", "svg.fonttype": "none", "pdf.fonttype": 42}
    ):
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()


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
    figure = make_figure(data, title)
    files = []
    for kind in ("png", "svg"):
        path = folder / f"figure.{kind}"
        write_file(path, render(figure, kind))
        files.append(path)
    return files
