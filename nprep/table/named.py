"""Tables by name: fetched and built on first use, kept in the cache folder.

A name stands wherever a table file does: ``--table nb201-cifar10``, ``nprep.load("freerea")``. The
public file is fetched once, whatever version of this package asks, and its SHA-256 is checked
(``nprep.table.download``); the table is built anew for each version.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nprep
from nprep import _files
from nprep._console import log
from nprep.errors import TableError
from nprep.table._progress import ByteProgress
from nprep.table.build import build_from_file
from nprep.table.default import alone_with, default_table_path
from nprep.table.default import file_name as default_file_name
from nprep.table.download import PUBLIC_FILES, DownloadError, fetch
from nprep.table.schema import SCHEMA_VERSION
from nprep.table.table import Table

SURROGATE = "surrogate"


@dataclass(frozen=True)
class Named:
    """A table that has a name.

    Attributes:
        space: The space, as people call it.
        measured: What of it is measured, in a few words.
    """

    space: str
    measured: str


_MEANS = "mean accuracies of all 15,625 architectures after 200 epochs; no times"
NAMED: Mapping[str, Named] = {
    SURROGATE: Named("NASBench-101", "nothing: a fitted model, which comes with this package"),
    "freerea": Named("NASBench-101", "mean test accuracies of all cells; the rest is modelled"),
    "nasbench-only108": Named("NASBench-101", "everything, three runs of 108 epochs"),
    "nasbench-full": Named("NASBench-101", "everything, three runs of 4, 12, 36 and 108 epochs"),
    "nb201-cifar10": Named("NAS-Bench-201, CIFAR-10", _MEANS),
    "nb201-cifar100": Named("NAS-Bench-201, CIFAR-100", _MEANS),
    "nb201-imagenet16": Named("NAS-Bench-201, ImageNet16-120", _MEANS),
}


def is_named(table: str | os.PathLike[str]) -> bool:
    """Whether this is a name and not a file that exists."""
    return os.fspath(table) in NAMED and not Path(table).exists()


def file_name(name: str) -> str:
    """The name of a table in the cache: another file, version or schema has another one."""
    if name == SURROGATE:
        return default_file_name()
    key = f"{PUBLIC_FILES[name].sha256} {nprep.__version__} {SCHEMA_VERSION}"
    return f"{name}-{nprep.__version__}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.h5"


def cached(name: str) -> Path | None:
    """A named table that is in the cache and can be opened, or None."""
    found = _files.find_cached(file_name(name))
    if found is None:
        return None
    try:
        Table.open(found)
    except TableError:
        return None
    return found


def named_table(name: str) -> Path:
    """A named table, fetched and built if it is not in the cache.

    Processes that ask at once wait for the first one.

    Args:
        name: A key of ``NAMED``.

    Raises:
        TableError: If there is no such name, or the table cannot be built.
        DownloadError: If the public file cannot be had.
        OutputError: If there is no cache folder that can be written.
    """
    if name not in NAMED:
        raise TableError(f"no table is named {name!r}: use a file or one of {', '.join(NAMED)}.")
    if name == SURROGATE:
        return default_table_path()
    found = cached(name)
    if found is not None:
        return found
    folder = _files.cache_folder()
    path = folder / file_name(name)
    with alone_with(path):
        found = cached(name)
        if found is None:
            _build(name, folder / "downloads", path)
    return found or path


def _build(name: str, downloads: Path, path: Path) -> None:
    """Fetches the public file of a table and builds it."""
    dataset = PUBLIC_FILES[name]
    log.info(
        f"{name} is not in the cache: fetching {dataset.url} ({dataset.size / 1e6:,.0f} MB) once"
    )
    bar = ByteProgress(f"fetching {dataset.file_name}")
    try:
        with contextlib.closing(bar):
            file = fetch(dataset, downloads, bar)
    except DownloadError as error:
        raise DownloadError(f"the table {name} is not in the cache: {error}") from error
    build_from_file(dataset.source, file, path, **dataset.settings)


def open_table(table: str | os.PathLike[str], in_memory: bool = False) -> Table:
    """Opens a table by its name or its file.

    Args:
        table: A key of ``NAMED``, or a file; a file of that name comes first.
        in_memory: See ``Table.open``.

    Raises:
        NprepError: If it cannot be had or is no table.
    """
    path = named_table(os.fspath(table)) if is_named(table) else table
    return Table.open(path, in_memory)


def _lines() -> list[str]:
    """A line for each table."""
    rows = [("name", "download", "in cache", "space", "measured")]
    for name, named in NAMED.items():
        size = f"{PUBLIC_FILES[name].size / 1e6:,.0f} MB" if name in PUBLIC_FILES else "-"
        rows.append((name, size, "yes" if cached(name) else "no", named.space, named.measured))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command: none."""


def command(arguments: argparse.Namespace) -> int:
    """Prints the tables that have names."""
    print("\n".join(_lines()))
    return 0
