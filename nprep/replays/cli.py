"""The command line of the replay."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nprep import _console
from nprep._workers import RayCluster, Workers
from nprep.errors import SettingsError
from nprep.replays.options import add_options, check_draws, settings_of
from nprep.runs.settings import ReplaySettings, ViewSource
from nprep.runs.shard import Shard
from nprep.runs.source import open_source

if TYPE_CHECKING:
    from nprep.replays.engine import Replay

MAX_JOBS = 1024


def _parser(prog: str) -> _console.Parser:
    defaults = ReplaySettings()
    parser = _console.Parser(
        prog=prog,
        description="Replays search methods on a table of trained networks and compares them.",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--table", type=Path, help="table file; the built-in default if left out")
    data.add_argument(
        "--view",
        help="completed, measured or surrogate; default: completed, or the table's only view",
    )
    add_options(parser)
    how = parser.add_argument_group("how to run")
    how.add_argument("--jobs", type=int, default=_console.cores(), help="processes")
    how.add_argument(
        "--block", type=int, default=defaults.block, help="trials that run together in a process"
    )
    how.add_argument(
        "--backend",
        default=defaults.backend,
        help="what trains and asks predictors: auto, numba, torch, cupy or numpy; cupy:tf32, "
        "cupy:bfloat16 or torch:bfloat16 for less precise products",
    )
    how.add_argument(
        "--bootstrap",
        type=int,
        default=defaults.bootstrap,
        help="resamples behind each interval",
    )
    how.add_argument("--out", type=Path, default=Path("replay-out"), help="folder for results")
    how.add_argument("--resume", action="store_true", help="continue the run in that folder")
    how.add_argument(
        "--shard",
        metavar="I/N",
        help="run the I-th of N parts alone; python -m nprep.replay merge joins the parts' folders",
    )
    how.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes of this machine, or a Ray cluster (needs the extra nprep[ray])",
    )
    how.add_argument(
        "--address",
        default="auto",
        help="of the Ray cluster: auto for the one that this machine is a node of, HOST:PORT of "
        "its head, or local to start one here",
    )
    how.add_argument(
        "--cpus-per-task", type=float, default=1.0, metavar="C", help="CPUs of a block, with ray"
    )
    how.add_argument(
        "--gpus-per-task", type=float, default=0.0, metavar="G", help="GPUs of a block, with ray"
    )
    how.add_argument("--quiet", action="store_true", help="no progress, no table of results")
    how.add_argument(
        "--json",
        action="store_true",
        help="progress and results as lines of JSON on standard output, for programs",
    )
    return parser


def main(
    argv: Sequence[str] | None = None,
    source: Callable[[Path | None, str | None], ViewSource] = open_source,
    *,
    prog: str = "python -m nprep.replay",
) -> int:
    """Runs the command.

    Args:
        argv: The arguments without the program name, or None for those of the process.
        source: Finds the view; replaced in tests.
        prog: What the help calls the program.

    Returns:
        The exit status.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == ["merge"]:
        return _merge(given[1:], f"{prog} merge")
    options = _parser(prog).parse_args(given)
    if not 1 <= options.jobs <= MAX_JOBS:
        raise SettingsError(f"jobs is {options.jobs}: use a whole number from 1 to {MAX_JOBS}.")
    settings = settings_of(options)
    shard = None if options.shard is None else Shard.parse(options.shard)
    check_draws(options.draws, options.draw_trials, shard is not None)
    # After the settings are known to be sound, since this compiles or loads kernels.
    from nprep.replays.draws import run_on_draws
    from nprep.replays.engine import run_shard
    from nprep.replays.progress import JsonLines
    from nprep.runs.files import to_json

    try:
        # A program that reads lines of JSON gets everything so.
        with _console.messages(options.quiet or options.json), _workers(options) as workers:
            found = source(options.table, options.view)
            lines = JsonLines() if options.json and not options.quiet else None
            if shard is not None:
                blocks = run_shard(
                    settings,
                    found,
                    options.out,
                    shard,
                    jobs=options.jobs,
                    resume=options.resume,
                    workers=workers,
                    lines=lines,
                )
                if options.json:
                    JsonLines().say(
                        "shard", shard=shard.to_json(), folder=str(options.out), blocks=len(blocks)
                    )
                elif not options.quiet:
                    print(
                        f"shard {shard}: {sum(block.count for block in blocks)} trials are in "
                        f"{options.out}; when all are done: python -m nprep.replay merge FOLDERS "
                        "--out DIR"
                    )
                return 0
            replay = run_on_draws(
                settings,
                found,
                options.out,
                options.draws,
                options.draw_trials,
                jobs=options.jobs,
                resume=options.resume,
                workers=workers,
                lines=lines,
            )
    except KeyboardInterrupt:
        if any(options.out.glob("trials/*/*.npz")):
            again = given if options.resume else [*given, "--resume"]
            print(f"to continue: {prog} {shlex.join(again)}", file=sys.stderr)
        raise
    if options.json:
        files = [str(path) for path in replay.files]
        # As the file has it, which knows what JSON lacks.
        summary = json.loads(to_json(replay.summary))
        JsonLines().say("summary", folder=str(replay.folder), files=files, summary=summary)
    else:
        _show(replay, options.quiet)
    return 0


@contextlib.contextmanager
def _workers(options: argparse.Namespace) -> Iterator[Workers | None]:
    """The cluster that runs the trials; None for processes of this machine."""
    if options.engine == "local":
        yield None
        return
    with RayCluster(
        options.address,
        cpus=options.cpus_per_task,
        gpus=options.gpus_per_task,
        jobs=options.jobs,
    ) as cluster:
        yield cluster


def _show(replay: Replay, quiet: bool) -> None:
    """Prints the main results."""
    from nprep.results.text import to_text

    if not quiet:
        print(to_text(replay.summary))
        view = replay.summary["run"]["view"]
        print(f"view {view['name']}: {view['description']}")
        print(f"wrote {', '.join(str(path) for path in replay.files)}")
        if not any(counts.get("measured") for counts in view["provenance"].values()):
            print(
                "nothing here is measured: nprep run --table nb201-cifar10 fetches measured values "
                "once (2 MB); nprep table list shows more"
            )


def _merge(argv: Sequence[str], prog: str) -> int:
    """Joins shards; returns the exit status."""
    parser = _console.Parser(
        prog=prog, description="Joins the shards of a replay into one run folder."
    )
    parser.add_argument("shards", type=Path, nargs="+", help="folders that --shard wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--table", type=Path, help="the table, if the shards found it elsewhere")
    parser.add_argument("--quiet", action="store_true", help="no table of results")
    options = parser.parse_args(argv)
    from nprep.replays.merge import merge

    with _console.messages(options.quiet):
        replay = merge(options.shards, options.out, table=options.table)
    _show(replay, options.quiet)
    return 0
