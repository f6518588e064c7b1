"""The view of a table that a run searches, by the names that a user gives."""

from __future__ import annotations

import importlib
from pathlib import Path

from nprep.errors import TableError
from nprep.runs.settings import TableSource, ViewSource


def default_table() -> Path:
    """The table that is used where none is named.

    Raises:
        TableError: If there is none.
    """
    try:
        default = importlib.import_module("nprep.table.default")
    except ModuleNotFoundError as error:
        raise TableError(
            "no table is named and this version has no default one: build one with "
            "python -m nprep.table build and name it with --table."
        ) from error
    return Path(default.default_table_path())


def open_source(table: Path | None, view: str | None) -> ViewSource:
    """The view of a table, or of the default one; None is the fullest view it has.

    Args:
        table: A file, or a name that ``nprep.table.named.NAMED`` has; None: the default table.
        view: Name of the view.
    """
    path = default_table() if table is None else _found(table)
    if view is None:
        # h5py costs start-up time that a command with a wrong setting need not pay.
        from nprep.table.table import Table

        views = Table.open(path).views
        view = "completed" if "completed" in views else next(iter(views), "completed")
    return TableSource(path, view)


def _found(table: Path) -> Path:
    """The file of a table that is named or is a file."""
    if table.exists() or table.suffix:
        return table
    from nprep.table.named import is_named, named_table

    return named_table(str(table)) if is_named(table) else table
