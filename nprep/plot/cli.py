"""The command line of single figures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from nprep import _console, _files
from nprep._console import log
from nprep.errors import SettingsError
from nprep.plot.data import BANDS, X_AXES, figure_data
from nprep.plot.files import KINDS, make_figure, render
from nprep.results.comparable import check_comparable, labels_of
from nprep.results.reading import Run, read_run
from nprep.results.series import METRICS, Series

_TITLES = {
    "samples": "Samples needed to find a good cell",
    "seconds": "Training time needed to find a good cell",
}


def _parser(prog: str) -> _console.Parser:
    parser = _console.Parser(
        prog=prog,
        description="Draws the curves of runs in one figure.",
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or their curves.csv")
    parser.add_argument("--x", choices=list(X_AXES), default="samples", help="the x axis")
    parser.add_argument("--metric", choices=METRICS, default="test", help="the y axis")
    parser.add_argument(
        "--y",
        choices=("accuracy", "regret"),
        help="accuracy, or the distance to the best cell (default: what the protocol shows)",
    )
    parser.add_argument(
        "--band",
        choices=list(BANDS),
        default="error",
        help="around the line: "
        + "; ".join(f"{name}: {text.lower()}" for name, text in BANDS.items()),
    )
    parser.add_argument(
        "--methods", help="names of those to draw, separated by commas; default: all"
    )
    parser.add_argument(
        "--labels", help="what to call the lines, separated by commas, in their order"
    )
    parser.add_argument("--title", help="above the axes")
    parser.add_argument("--size", default="7.2x4.9", help="width x height in inches")
    parser.add_argument(
        "--mixed", action="store_true", help="draw runs under different protocols in one figure"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("curves.png"), help=f"file: .{', .'.join(KINDS)}"
    )
    return parser


def chosen(
    runs: Sequence[Run], methods: str | None, labels: str | None, axis: str = "samples"
) -> tuple[list[Series], list[str]]:
    """The curves to draw and what to call them.

    Args:
        runs: The runs.
        methods: Names separated by commas, or None for all.
        labels: Labels separated by commas, or None.
        axis: "samples" or "seconds".

    Raises:
        SettingsError: If a method is in no run, or the number of labels is wrong.
    """
    everything = [series for run in runs for series in run.by(axis)]
    names = labels_of(runs)
    if methods is not None:
        wanted = [name.strip() for name in methods.split(",") if name.strip()]
        known = {series.method for series in everything}
        for name in wanted:
            if name not in known:
                raise SettingsError(
                    f"method {name!r} was not run: use some of {', '.join(sorted(known))}."
                )
        pairs = [
            (series, name)
            for series, name in zip(everything, names, strict=True)
            if series.method in wanted
        ]
        everything, names = [series for series, _ in pairs], [name for _, name in pairs]
    if labels is not None:
        given = [label.strip() for label in labels.split(",")]
        if len(given) != len(names):
            raise SettingsError(
                f"there are {len(given)} labels for {len(names)} lines ({', '.join(names)}): give "
                "one for each."
            )
        names = given
    return everything, names


def best_for_regret(runs: Sequence[Run], metric: str, shows: str | None) -> float | None:
    """What regret is the distance to, in percent; None to show accuracies.

    Args:
        runs: The runs.
        metric: "test" or "validation".
        shows: "accuracy", "regret", or None for what the runs' protocol shows.

    Raises:
        SettingsError: If regret is asked for and the best cell is not known.
    """
    known = [run for run in runs if run.best]
    if shows is None:
        shows = "regret" if known and known[0].rules.shows == "regret" else "accuracy"
    if shows == "accuracy":
        return None
    if len(known) < len(runs):
        raise SettingsError(
            "regret needs the accuracy of the best cell, which summary.json has: name folders of "
            "runs, or draw --y accuracy."
        )
    return max(run.best[metric] for run in known)


def _size(text: str) -> tuple[float, float]:
    """Width and height in inches of "7.2x4.9"."""
    try:
        width, height = (float(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0.0
    if not (2 <= width <= 50 and 2 <= height <= 50):
        raise SettingsError(f"size is {text!r}: use width x height, 2 to 50 inches, as 7.2x4.9.")
    return width, height


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m nprep.plot") -> int:
    """Runs the command.

    Args:
        argv: The arguments without the program name, or None for those of the process.
        prog: What the help calls the program.

    Returns:
        The exit status.
    """
    options = _parser(prog).parse_args(argv)
    kind = options.out.suffix.lower().lstrip(".")
    if kind not in KINDS:
        raise SettingsError(
            f"{options.out} has no ending that says what to write: use .{', .'.join(KINDS)}."
        )
    size = _size(options.size)
    _files.refuse_special(options.out)
    runs = [read_run(path) for path in options.runs]
    warnings = check_comparable(runs, options.mixed)
    with _console.messages():
        for warning in warnings:
            log.warning(warning)
    curves, labels = chosen(runs, options.methods, options.labels, options.x)
    best = best_for_regret(runs, options.metric, options.y)
    captions = dict.fromkeys(caption for run in runs for caption in run.captions())
    notes = [
        line
        for text in (*warnings, f"{BANDS[options.band]} over trials.", *captions)
        for line in textwrap.wrap(text, round(18 * size[0]))
    ]
    data = figure_data(
        curves,
        options.metric,
        notes,
        x_axis=options.x,
        band=options.band,
        labels=labels,
        best=best,
    )
    title = _TITLES[options.x] if options.title is None else options.title
    _files.write_file(options.out, render(make_figure(data, title, size), kind))
    print(f"wrote {options.out}")
    return 0
