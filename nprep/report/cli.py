"""The command line of the report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nprep import _console, _files
from nprep._console import log
from nprep.errors import RunFolderError, SettingsError
from nprep.plot.data import BANDS
from nprep.report.context import Context
from nprep.report.study import is_study, write_study_page
from nprep.report.writing import write_report
from nprep.results.reading import QUALITY, read_quality, read_run


def _parser(prog: str) -> _console.Parser:
    parser = _console.Parser(
        prog=prog,
        description="Writes one self-contained page about runs, and its figures as files.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        help="folders of finished runs, and of python -m nprep.quality; or one of nprep search",
    )
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page")
    parser.add_argument(
        "--table", type=Path, help="the table that was searched, if it is not where it was"
    )
    parser.add_argument(
        "--band", choices=list(BANDS), default="error", help="what is drawn around lines"
    )
    parser.add_argument("--no-files", action="store_true", help="write the page alone, no figures")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def _check_writable(out: Path) -> None:
    """Finds out before the work what would be found out after it.

    Raises:
        RunFolderError: If the page has no place that can be written.
    """
    parent = out.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    _files.refuse_special(out)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RunFolderError(f"{out} cannot be written: choose another --out.")


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m nprep.report") -> int:
    """Runs the command.

    Args:
        argv: The arguments without the program name, or None for those of the process.
        prog: What the help calls the program.

    Returns:
        The exit status.
    """
    options = _parser(prog).parse_args(argv)
    if options.out.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"{options.out} is to be a page: give --out a name that ends in .html.")
    _check_writable(options.out)
    if any(is_study(path) for path in options.runs):
        if len(options.runs) > 1:
            raise SettingsError("a study of real trainings has a page of its own: name it alone.")
        write_study_page(options.runs[0], options.out)
        print(f"wrote {options.out}")
        return 0
    folders = [path for path in options.runs if not (path / QUALITY).is_file()]
    qualities = [read_quality(path) for path in options.runs if (path / QUALITY).is_file()]
    runs = [read_run(path) for path in folders]
    if not runs:
        raise RunFolderError(
            f"{options.runs[0]} holds the quality of predictors alone: name a run as well."
        )
    for run, path in zip(runs, folders, strict=True):
        if not run.content or not run.summary:
            raise RunFolderError(
                f"{path} is no folder of a run, which the report needs for settings and summary."
            )

    def say(text: str) -> None:
        log.info(f"report: {text}")

    context = Context(runs, options.table, options.band, qualities, say)
    with _console.messages(options.quiet):
        written = write_report(runs, options.out, context, not options.no_files)
    print(f"wrote {written[0]}" + (f" and {len(written) - 1} figures" if written[1:] else ""))
    return 0
