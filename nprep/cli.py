"""The command ``nprep``: every command line of the project under one name."""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from collections.abc import Callable, Sequence

from nprep import __version__
from nprep._console import Parser

# Name to the module with the command line, arguments to put before the user's, and a line of help.
# The module has ``main(argv, *, prog) -> int``; it is imported when it is used.
COMMANDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "run": (
        "nprep.replays.cli",
        (),
        "replay search methods on a table: trials, curves, summary and figure",
    ),
    "merge": ("nprep.replays.cli", ("merge",), "join the shards of a replay into one run folder"),
    "plot": ("nprep.plot.cli", (), "draw the curves of runs in one figure"),
    "report": ("nprep.report.cli", (), "write one self-contained page about runs"),
    "table": (
        "nprep.table.cli",
        (),
        "build, describe, check, download and export tables of trained networks",
    ),
    "quality": (
        "nprep.quality.cli",
        (),
        "measure how good predictors are, by what they learn from",
    ),
    "train": ("nprep.imagenet.cli", ("train",), "train one network on images"),
    "search": (
        "nprep.imagenet.cli",
        ("search",),
        "search with real trainings on images",
    ),
    "budget": ("nprep.imagenet.cli", ("budget",), "GPU-hours and cost of a search on images"),
}


def _help() -> str:
    """The commands, one a line."""
    lines = ["commands (each with its own --help):"]
    for name, (_, _, what) in COMMANDS.items():
        lines += textwrap.wrap(what, 88, initial_indent=f"  {name:<9}", subsequent_indent=" " * 11)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: The arguments without the program name, or None for those of the process.

    Returns:
        The exit status.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(
        prog="nprep",
        description="Replays neural architecture search on tables of trained networks, and runs "
        "the same searches on real trainings.",
        epilog=_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="nprep [-h] [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"nprep {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    # What follows the command is the command's.
    options = parser.parse_args(given[:1])
    module, before, _ = COMMANDS[options.command]
    command: Callable[..., int] = importlib.import_module(module).main
    prog = "nprep" if before else f"nprep {options.command}"
    return command([*before, *given[1:]], prog=prog)
