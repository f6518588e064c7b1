"""The sub-commands of python -m nprep.table."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from nprep.errors import TableError
from nprep.table.sources import SOURCES

# Name to module and one line of help. A module has ``add_arguments(parser)`` and
# ``command(arguments) -> int``, which returns the exit status; it is imported when it is used.
COMMANDS: dict[str, tuple[str, str]] = {
    "info": ("nprep.table.info", "say what a table holds and where it comes from"),
    "check": ("nprep.table.check", "recompute what can be recomputed; exit 1 on a mismatch"),
    "completion-report": (
        "nprep.quality.completion_report",
        "judge the model of what was not measured",
    ),
    "download": ("nprep.table.sources.download", "fetch a public file and build a table from it"),
    "export": ("nprep.table.export", "write a table as Parquet or NumPy arrays"),
}


def _progress(quiet: bool) -> Callable[[str], None]:
    def show(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    return show


def _build(arguments: argparse.Namespace, source: ModuleType) -> int:
    from nprep.table.table import Table
    from nprep.table.writer import write_table

    output: Path | None = arguments.output
    alone: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if output is None and hasattr(source, "default_output"):
        from nprep.table.default import alone_with

        output = source.default_output(arguments)
        alone = alone_with(output) if output else alone
    if output is None:
        raise TableError("no file to write is named: give one after the input, such as table.h5.")
    if output.is_dir() or not output.parent.is_dir():
        raise TableError(f"{output} can't be written: name a file in a folder that exists.")
    given = getattr(arguments, "input", None)
    if given is not None and output.exists() and given.exists() and output.samefile(given):
        raise TableError(f"{output} is the input itself: name another file to write.")
    progress = _progress(arguments.quiet)
    content = source.build(arguments, progress)
    progress(f"writing {output}")
    with alone:
        write_table(output, content)
    table = Table.open(output)
    progress(f"{output}: {len(table):,} cells, {output.stat().st_size:,} bytes")
    for name, meaning in table.views.items():
        progress(f"  view {name}: {meaning}")
    return 0


def _sources_help() -> str:
    lines = ["sources, each with its own arguments (see build --source NAME --help):"]
    return "\n".join([*lines, *(f"  {name:<12} {what}" for name, (_, what) in SOURCES.items())])


def _chosen_source(arguments: Sequence[str]) -> str | None:
    """The source named in the arguments of ``build``, valid or not."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--source")
    return finder.parse_known_args(arguments)[0].source


def _add_build(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> ModuleType | None:
    """Gives ``build`` the arguments of the source that is chosen; returns its module."""
    parser.add_argument("--source", required=True, choices=sorted(SOURCES), help="kind of input")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    name = _chosen_source(arguments)
    if name not in SOURCES:
        return None
    module = importlib.import_module(SOURCES[name][0])
    module.add_arguments(parser)
    parser.add_argument("output", type=Path, nargs="?", help="the table to write")
    return module


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command; returns its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m nprep.table", description="Builds, describes and checks tables."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build",
        help="build a table from a source",
        epilog=_sources_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = given[0] if given else None
    source = _add_build(build, given[1:]) if command == "build" else None
    module: ModuleType | None = None
    for name, (where, what) in COMMANDS.items():
        sub = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        if name == command:
            module = importlib.import_module(where)
            module.add_arguments(sub)
    arguments = parser.parse_args(given)
    if source is not None:
        return _build(arguments, source)
    if module is None:
        parser.error(f"the command {command} is not implemented")
    status: int = module.command(arguments)
    return status
