"""``python -m nprep.quality``: how good predictors are, by the cells they learn from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nprep import _console
from nprep.errors import SettingsError
from nprep.quality.experiment import (
    PUBLISHED,
    TOPS,
    QualitySettings,
    SplitPredictions,
    run_quality,
    train_and_predict,
)
from nprep.quality.splits import KINDS, PARTS
from nprep.runs.settings import ViewSource
from nprep.runs.source import open_source


def to_text(summary: dict[str, Any]) -> str:
    """Tables for a terminal."""
    lines = []
    titles = {"all": "", "above_80": " above 80 %", "above_91": " above 91 %"}
    for where, part in ((where, part) for where in ("test", "view") for part in PARTS):
        title = f"{'test cells' if where == 'test' else 'whole view'}{titles[part]}"
        head = ("N", "kind", "MSE", "R2", "tau", "Spearman", *(f"top {top}" for top in TOPS))
        lines += [title, "".join(f"{name:>11}" for name in head)]
        for row in summary["mean_over_splits"]:
            for kind in KINDS:
                entry = row[kind][where][part]
                keys = ("mse", "r2", "tau", "spearman", *(f"precision_at_{top}" for top in TOPS))
                cells = [f"{entry[k]:.3f}" if k in entry else "" for k in keys]
                shown = (str(row["train_samples"]), kind, *cells)
                lines.append("".join(f"{cell:>11}" for cell in shown).rstrip())
        lines.append("")
    for row in summary["mean_over_splits"]:
        right = row["classifier"]
        lines.append(
            f"classifier, N = {row['train_samples']}: {100 * right['accuracy']:.1f} % right, "
            f"{100 * right['false_positives']:.1f} % wrongly passed, "
            f"{100 * right['false_negatives']:.1f} % wrongly refused"
        )
    quoted = [row for row in summary["mean_over_splits"] if row["train_samples"] == 172]
    for row in quoted:
        here = row["two-stage"]["test"]["above_91"]["mse"]
        lines.append(
            "the paper's MSE, two-stage above 91 %, test cells (quoted by others): "
            f"{PUBLISHED['two-stage', 'above_91']}, here {here:.2f}"
        )
        share = share_of_failures(row["one-stage"]["view"])
        if share is not None:
            lines.append(
                f"the paper's MSE, one-stage on all: {PUBLISHED['one-stage', 'all']}. Not "
                f"compared: {100 * share:.0f} % of the error here is of runs below 80 %, mostly "
                "failed ones, which such a mean cannot have held"
            )
    return "\n".join(lines)


def share_of_failures(parts: dict[str, dict[str, float]]) -> float | None:
    """The share that cells below 80 % have in a sum of squared errors; None where there are none.

    Args:
        parts: The agreement on the parts of the cells.
    """
    whole, above = parts["all"], parts["above_80"]
    total = whole["cells"] * whole["mse"]
    rest = total - above["cells"] * above["mse"]
    return rest / total if whole["cells"] > above["cells"] and total > 0 else None


def main(
    argv: Sequence[str] | None = None,
    source: Callable[[Path | None, str | None], ViewSource] = open_source,
    predictor: Callable[..., SplitPredictions] = train_and_predict,
    *,
    prog: str = "python -m nprep.quality",
) -> int:
    """Runs the command; arguments and result as of ``nprep.replays.cli.main``."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == ["choose"]:
        return _choose(given[1:], f"{prog} choose")
    defaults = QualitySettings()
    parser = _console.Parser(
        prog=prog,
        description="Measures how good predictors are, by the number of cells they learn from.",
        epilog="choose: choose settings on some tables and judge them on others (choose --help).",
    )
    parser.add_argument("--table", type=Path, help="table file; the built-in default if left out")
    parser.add_argument("--view", help="completed, measured or surrogate")
    parser.add_argument(
        "--train-samples",
        metavar="N,...",
        default=",".join(map(str, defaults.train_samples)),
        help="numbers of cells to learn from",
    )
    parser.add_argument("--splits", type=int, default=defaults.splits, help="splits of each")
    parser.add_argument(
        "--test-samples", type=int, default=defaults.test_samples, help="cells to test on"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="decides every random draw")
    parser.add_argument("--out", type=Path, default=Path("quality-out"), help="folder for results")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--quiet", action="store_true", help="no progress, no tables")
    options = parser.parse_args(given)
    try:
        counts = tuple(int(part) for part in options.train_samples.split(",") if part.strip())
    except ValueError:
        raise SettingsError(
            f"train-samples is {options.train_samples!r}: use whole numbers separated by commas."
        ) from None
    settings = QualitySettings(counts, options.splits, options.test_samples, options.seed)
    with _console.messages(options.quiet):
        summary = run_quality(
            settings,
            source(options.table, options.view),
            options.out,
            resume=options.resume,
            predictor=predictor,
        )
    if not options.quiet:
        print(to_text(summary))
        print(f"view {summary['run']['view']['name']}: {summary['run']['view']['description']}")
        print(f"wrote {options.out / 'quality.json'}")
    return 0


def _choose(given: list[str], prog: str) -> int:
    """Runs the sub-command ``choose``."""
    from nprep.quality.choices import FAMILIES
    from nprep.quality.choose import Case, ChooseSettings, Side, run_choose
    from nprep.quality.choose import to_text as choices_to_text

    parser = _console.Parser(
        prog=prog, description="Chooses settings on some tables and judges them on others."
    )
    parser.add_argument(
        "--side",
        action="append",
        required=True,
        metavar="NAME=TABLE@VIEW@PROTOCOL,...",
        help="give it twice: what is chosen on one side is judged on the other; @50+100+150 after "
        "a protocol says after how many samples",
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="TABLE@VIEW@PROTOCOL",
        help="a further case to judge on, where nothing is chosen",
    )
    parser.add_argument(
        "--family", default=",".join(FAMILIES), help=f"methods: {', '.join(FAMILIES)}"
    )
    parser.add_argument("--trials", type=int, default=12, help="trials of each setting, to choose")
    parser.add_argument("--judged", type=int, default=40, help="trials of each choice, to judge")
    parser.add_argument("--seed", type=int, default=0, help="decides every random draw")
    parser.add_argument("--out", type=Path, default=Path("choose-out"), help="folder for results")
    parser.add_argument("--quiet", action="store_true", help="no progress, no tables")
    options = parser.parse_args(given)
    if len(options.side) != 2:
        raise SettingsError(f"{len(options.side)} sides are named: give --side twice.")
    first, second = map(Side.parse, options.side)
    settings = ChooseSettings(
        tuple(family.strip() for family in options.family.split(",")),
        (first, second),
        tuple(map(Case.parse, options.also)),
        options.trials,
        options.judged,
        options.seed,
    )
    with _console.messages(options.quiet):
        content = run_choose(settings, options.out)
    if not options.quiet:
        print(choices_to_text(content))
        print(f"wrote {options.out / 'choose.json'}")
    return 0
