"""Figures as matplotlib objects and as files."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nprep._optional import need
from nprep.plot.data import FigureData
from nprep.plot.draw import draw
from nprep.runs.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg", "pdf")


def _import_matplotlib() -> Any:
    """The package, also where a user's setting for it cannot be used.

    Raises:
        MissingDependencyError: If it cannot be imported.
    """
    try:
        return need("matplotlib", "draw figures")
    except ValueError:
        # A backend of another program, such as a notebook's, that is not installed here. What the
        # failed import left is of no use.
        for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
            del sys.modules[name]
        backend = os.environ.pop("MPLBACKEND", None)
        try:
            return need("matplotlib", "draw figures")
        finally:
            if backend is not None:
                os.environ["MPLBACKEND"] = backend


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """Draws what is drawn inside as this package does, whatever a user's matplotlibrc says.

    Raises:
        MissingDependencyError: If matplotlib cannot be imported.
    """
    matplotlib = _import_matplotlib()
    with matplotlib.rc_context():
        # All but the backend, which is not used: figures are made without pyplot.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {"svg.hashsalt": "nprep", "svg.fonttype": "none", "pdf.fonttype": 42}
        )
        yield


def make_figure(data: FigureData, title: str, size: tuple[float, float] = (7.2, 4.9)) -> Figure:
    """A matplotlib figure of the data, with title and notes.

    Args:
        data: The numbers.
        title: Above the axes; may be empty.
        size: Width and height in inches.

    Raises:
        MissingDependencyError: If matplotlib cannot be imported.
    """
    with own_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot(), data, 9.0 if size[0] > 5 else 8.0)
        if title:
            figure.axes[0].set_title(title, fontsize=11, loc="left")
        if data.notes:
            notes = "\n".join(data.notes)
            figure.supxlabel(notes, fontsize=7.5, color="#444444", x=0.01, ha="left")
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """A figure as a file; equal numbers give equal bytes of SVG and PDF.

    Args:
        figure: Of matplotlib.
        kind: One of ``KINDS``.
    """
    metadata = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    buffer = io.BytesIO()
    with own_style():
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()


def render_figure(data: FigureData, title: str, kind: str) -> bytes:
    """A figure of the data as a file (see ``make_figure`` and ``render``)."""
    return render(make_figure(data, title), kind)


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
