"""The sub-commands of python -m nprep.table."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from nprep import _console
from nprep.table.build import build_table
from nprep.table.sources import SOURCES, source_named, source_names
from nprep.table.sources.kind import source_of

# Name to module and one line of help. A module has ``add_arguments(parser)`` and
# ``command(arguments) -> int``, which returns the exit status; it is imported when it is used.
COMMANDS: dict[str, tuple[str, str]] = {
    "info": ("nprep.table.info", "say what a table holds and where it comes from"),
    "check": ("nprep.table.check", "recompute what can be recomputed; exit 1 on a mismatch"),
    "completion-report": (
        "nprep.quality.completion_report",
        "judge the model of what was not measured",
    ),
    "list": ("nprep.table.named", "show the tables that have names, and which are in the cache"),
    "download": ("nprep.table.download", "fetch a public file and build a table from it"),
    "export": ("nprep.table.export", "write a table as Parquet or NumPy arrays"),
}


def _sources_help() -> str:
    lines = ["sources, each with its own arguments (see build --source NAME --help):"]
    return "\n".join([*lines, *(f"  {name:<12} {what}" for name, (_, what) in SOURCES.items())])


def _chosen_source(arguments: Sequence[str]) -> str | None:
    """The source named in the arguments of ``build``, valid or not; else that of the input.

    Raises:
        TableError: If the input is of no kind that can be told.
    """
    finder = _console.Parser(add_help=False)
    finder.add_argument("--source", nargs="?")
    named: str | None = finder.parse_known_args(arguments)[0].source
    if named is not None or {"-h", "--help"} & {*arguments}:
        return named
    inputs = (Path(text) for text in arguments if not text.startswith("-"))
    found = next((path for path in inputs if path.exists()), None)
    return None if found is None else source_of(found)


def _add_build(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> ModuleType | None:
    """Gives ``build`` the arguments of the source that is chosen; returns its module."""
    names = source_names()
    name = _chosen_source(arguments)
    parser.add_argument(
        "--source",
        required=name is None,
        default=name,
        choices=sorted(names),
        help="kind of input, found out from a file if left out",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    if name not in names:
        return None
    module = source_named(name)
    module.add_arguments(parser)
    _console.add_output(parser, "the table to write")
    return module


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m nprep.table") -> int:
    """Runs one sub-command; returns its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = _console.Parser(prog=prog, description="Builds, describes and checks tables.")
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
    arguments, rest = parser.parse_known_args(given)
    if len(rest) == 1 and source is not None and arguments.output is None:
        # What argparse leaves over where an option stands between input and output.
        arguments.output, rest = Path(rest[0]), []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if getattr(arguments, "out", None) is not None:
        arguments.output = arguments.out
    if source is not None:
        with _console.messages(arguments.quiet):
            build_table(source, arguments)
        return 0
    if module is None:
        parser.error(f"the command {command} is not implemented")
    with _console.messages(getattr(arguments, "quiet", False)):
        status: int = module.command(arguments)
    return status
