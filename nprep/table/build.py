"""Builds a table file from a source."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from types import ModuleType

from nprep import _files
from nprep._console import Parser, log
from nprep.errors import TableError
from nprep.table.sources import SOURCES, source_named
from nprep.table.sources.kind import check_kind


def build_table(source: ModuleType, arguments: argparse.Namespace) -> Path:
    """Builds a table and writes it.

    Args:
        source: A module of ``nprep.table.sources``.
        arguments: Those of the source, and ``output``: a path, or None for the place of the
            default table where the source builds it.

    Returns:
        The table.

    Raises:
        TableError: If the input is not what the source reads, or the output cannot be written.
    """
    # h5py costs start-up time that --help need not pay.
    from nprep.table.table import Table
    from nprep.table.writer import write_table

    output: Path | None = arguments.output
    alone: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if output is None and hasattr(source, "is_default") and source.is_default(arguments):
        from nprep.table.default import alone_with, cache_file

        output = cache_file()
        alone = alone_with(output)
    if output is None:
        raise TableError("no file to write is named: give one with --out, such as --out table.h5.")
    if not output.parent.is_dir():
        raise TableError(f"{output} cannot be written: name a file in a folder that exists.")
    _files.refuse_special(output, TableError)
    given = getattr(arguments, "input", None)
    if given is not None and output.exists() and given.exists() and output.samefile(given):
        raise TableError(f"{output} is the input itself: name another file to write.")
    name = next((known for known, (where, _) in SOURCES.items() if where == source.__name__), None)
    if name is not None and given is not None and given.exists():
        check_kind(given, name)
    content = source.build(arguments, log.info)
    log.info(f"writing {output}")
    with alone:
        write_table(output, content)
    table = Table.open(output)
    log.info(f"{output}: {len(table):,} cells, {output.stat().st_size:,} bytes")
    for name, meaning in table.views.items():
        log.info(f"  view {name}: {meaning}")
    return output


def build_from_file(name: str, path: Path, output: Path, **settings: object) -> Path:
    """Builds a table from a file, with the default settings of its source.

    Args:
        name: Of the source, a key of ``nprep.table.sources.SOURCES``.
        path: The file.
        output: The table to write.
        settings: Arguments of the source that are not the default ones.

    Returns:
        As ``build_table``, which raises the same errors.
    """
    source = source_named(name)
    parser = Parser(add_help=False)
    source.add_arguments(parser)
    given = {**settings, "input": path, "output": output}
    arguments = argparse.Namespace(**{**parser.defaults(), **given})
    return build_table(source, arguments)
