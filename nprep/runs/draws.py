"""Other draws of what a model completes in a table, as views to search."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nprep import __version__, _files
from nprep.errors import SettingsError
from nprep.model.surrogate import file_digest, shipped_weights
from nprep.runs.settings import TableSource, ViewSource, view_digest
from nprep.table.view import View

MAX_DRAWS = 1000


@runtime_checkable
class DrawableSource(Protocol):
    """A source of a view that a model can draw anew."""

    def draw(self, number: int) -> ViewSource:
        """Where draw ``number`` of the view comes from; 0 is the view itself."""


def draws_of(source: ViewSource, count: int) -> list[ViewSource]:
    """The sources of draws 0 to ``count`` - 1; the first is the source itself.

    Raises:
        SettingsError: If the number makes no sense or the source has one draw alone.
    """
    if not 1 <= count <= MAX_DRAWS:
        raise SettingsError(f"draws is {count}: use a whole number from 1 to {MAX_DRAWS}.")
    if count == 1:
        return [source]
    if isinstance(source, TableSource):
        if source.view != "completed":
            raise SettingsError(
                f"view {source.view!r} has one draw alone: use --view completed, or no --draws."
            )
        return [source, *(DrawnSource(source, number) for number in range(1, count))]
    if isinstance(source, DrawableSource):
        return [source, *(source.draw(number) for number in range(1, count))]
    raise SettingsError("this view is in no table file, so it has one draw alone: leave out draws.")


@dataclass(frozen=True)
class DrawnSource:
    """A draw of the view ``completed`` of a table file, made once and kept in the cache folder.

    Attributes:
        table: Where the view itself comes from.
        number: Of the draw, from 1.
    """

    table: TableSource
    number: int

    def load(self) -> View:
        """The view (see ``ViewSource``)."""
        return self.load_with(_draw)

    def load_with(self, draw: Callable[[Path, int], View]) -> View:
        """The view, drawn by ``draw(path, number)`` unless it is in the cache folder."""
        view = self.table.load()
        # Another model draws otherwise from the same table.
        model = file_digest(shipped_weights("completion.npz"))
        key = hashlib.sha256(f"{__version__} {model} {view_digest(view)} {self.number}".encode())
        path = _files.cache_folder() / f"draw-{key.hexdigest()[:24]}.npz"
        drawn = _read(path, view)
        if drawn is None:
            drawn = draw(self.table.path, self.number)
            _write(path, drawn)
        return drawn

    def describe(self) -> dict[str, object]:
        """The table, the view and the number of the draw."""
        return {**self.table.describe(), "draw": self.number}


def _draw(path: Path, number: int) -> View:
    """Draws a view anew, which takes the model some time."""
    from nprep.table.redraw import redraw
    from nprep.table.table import Table

    table = Table.open(path)
    return next(redraw(table, [int(table.attributes.get("build_seed", 0)) + number]))


def _read(path: Path, view: View) -> View | None:
    """A draw that was kept; None if there is none that is sound."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            validation, test_runs = arrays["validation"], arrays.get("test_runs")
    except Exception:  # Damage can raise nearly anything inside zipfile and numpy.
        return None
    same = validation.shape == view.validation.shape and validation.dtype == np.float32
    if not same or (test_runs is None) != (view.test_runs is None):
        return None
    return dataclasses.replace(view, validation=validation, test_runs=test_runs)


def _write(path: Path, view: View) -> None:
    """Keeps what a draw changes."""
    arrays: dict[str, Any] = {"validation": view.validation}
    if view.test_runs is not None:
        arrays["test_runs"] = view.test_runs
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    _files.write_file(path, buffer.getvalue())


def source_of(described: dict[str, Any], table: Path) -> ViewSource:
    """The source that ``settings.json`` describes.

    Args:
        described: What lies under "source" there.
        table: The table file, wherever it lies now.
    """
    found = TableSource(table, str(described.get("view")))
    return DrawnSource(found, int(described["draw"])) if "draw" in described else found
