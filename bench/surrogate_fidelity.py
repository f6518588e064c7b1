"""How faithful the surrogate is: python bench/surrogate_fidelity.py measured.npz --out FOLDER.

Builds the measured and the fitted table, compares their landscapes, and replays the same methods
with the same settings on several draws of both: of the completion model on the one side, of the
surrogate's law on the other (its draw 0 is the table that ships). Prints Markdown; keeps tables and
replays in ``--out``, and continues what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from argparse import Namespace
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nprep.model.surrogate import Surrogate
from nprep.replays.draws import run_on_draws
from nprep.results.curves import KEY_SAMPLES
from nprep.runs.settings import ReplaySettings, TableSource, ViewSource
from nprep.table.sources import measured, surrogate
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table

SIDES = ("completed", "surrogate")
BOUNDS = (91, 92, 93, 93.5, 93.8, 93.9, 94, 94.1, 94.2)
LOW_BOUNDS = (80, 50, 20)
RATIOS = (
    ("samples", "samples"),
    ("paper_ratio", "ratio as the paper counts"),
    ("first_reach_ratio", "ratio to its first reach"),
)


def say(line: str = "") -> None:
    print(line, flush=True)


def table(head: list[str], rows: list[list[Any]]) -> None:
    """Prints a Markdown table; the first column is text."""
    say("| " + " | ".join(head) + " |")
    say("|" + "---|" + "---:|" * (len(head) - 1))
    for row in rows:
        say("| " + " | ".join(str(value) for value in row) + " |")
    say()


def show(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class SurrogateDraw:
    """A draw of the surrogate's law as a source of a view; 0 is the one that ships."""

    folder: Path
    number: int = 0

    @property
    def path(self) -> Path:
        """The table file."""
        return self.folder / f"surrogate-{self.number}.h5"

    def load(self) -> View:
        """The view, built where it is not there yet."""
        if not self.path.exists():
            write_table(self.path, surrogate.build_content(self.number, show))
        return Table.open(self.path).view("surrogate")

    def describe(self) -> dict[str, object]:
        """What tells it from others."""
        return {"table": str(self.path), "view": "surrogate"}

    def draw(self, number: int) -> ViewSource:
        """Another draw."""
        return SurrogateDraw(self.folder, number)


def sources(path: Path, out: Path) -> dict[str, ViewSource]:
    """Both sides, built where they are not there yet."""
    completed = out / "completed.h5"
    if not completed.exists():
        arguments = Namespace(input=path, build_seed=0, condition="none")
        write_table(completed, measured.build(arguments, show))
    return {"completed": TableSource(completed, "completed"), "surrogate": SurrogateDraw(out)}


def noise_facts(view: View, above: float) -> list[str]:
    """Moments of (one repeat's validation - mean test) and of the repeats' spread, in points."""
    good = view.test > above / 100
    validation = 100 * view.validation[good].astype(np.float64)
    gap = validation - 100 * view.test[good, None]
    gap = gap[np.isfinite(gap) & (np.abs(gap) < 10)]
    spread = np.nanmedian(np.nanstd(validation, axis=1, ddof=1))
    return [f"{gap.mean():.3f}", f"{gap.std():.3f}", f"{spread:.3f}"]


def compare_landscapes(views: dict[str, View]) -> None:
    test = {side: 100 * view.test.astype(np.float64) for side, view in views.items()}
    say("### Numbers of cells by mean test accuracy\n")
    rows: list[list[Any]] = [
        [f"above {b} %", *(int((t > b).sum()) for t in test.values())] for b in BOUNDS
    ]
    rows += [[f"below {b} %", *(int((t < b).sum()) for t in test.values())] for b in LOW_BOUNDS]
    table(["", *SIDES], rows)
    best = {side: np.sort(t)[::-1] for side, t in test.items()}
    rows = [
        [name, *(f"{t[k]:.4f}" for t in best.values())]
        for name, k in (("best", 0), ("2nd", 1), ("5th", 4), ("10th", 9), ("100th", 99))
    ]
    for name, of in (("mean", np.mean), ("std", np.std), ("median", np.median)):
        rows.append([name, *(f"{of(t):.3f}" for t in test.values())])
    validation = {side: 100 * np.nanmax(view.validation) for side, view in views.items()}
    rows.append(["best single validation", *(f"{v:.3f}" for v in validation.values())])
    means = {side: 100 * np.nanmean(view.validation, axis=1) for side, view in views.items()}
    rows.append(["best mean validation", *(f"{m.max():.3f}" for m in means.values())])
    for above in (90, 93, 93.8):
        facts = zip(*(noise_facts(view, above) for view in views.values()), strict=True)
        names = ("mean", "sd", "median sd between repeats")
        for name, values in zip(names, facts, strict=True):
            subject = name if name.startswith("median") else f"{name} of validation - test"
            rows.append([f"{subject}, test above {above} %", *values])
    say("### Mean test accuracy, validation noise (points)\n")
    table(["", *SIDES], rows)


def print_statistics(statistics: dict[str, Any]) -> None:
    say("### Fit, on cells left out (from the weights file)\n")
    names = ("left_out_cells_without_failed_runs", "left_out_cells", "landscape")
    keys = ("r2", "tau_all", "tau_above_91", "tau_above_93")
    rows = [
        [name.replace("_", " "), *(f"{statistics[name][k]:.3f}" for k in keys)] for name in names
    ]
    table(["", "R2", "tau, all", "tau, above 91 %", "tau, above 93 %"], rows)
    say(f"Residual correlation by edits: {statistics['correlation_by_edits']}\n")


def over_draws(statistics: dict[str, Any], digits: int = 3) -> str:
    """Mean and standard deviation between draws."""
    if statistics["mean"] is None:
        return "never"
    missed = f" ({statistics['missed']} never)" if statistics["missed"] else ""
    return f"{statistics['mean']:.{digits}f} ± {statistics['std']:.{digits}f}{missed}"


def compare_curves(summaries: dict[str, dict[str, Any]], method: str) -> str:
    """Prints one method's curves; returns what to say of the differences."""
    own = {
        side: {row["samples"]: row["test_mean"] for row in each["methods"][method]["curve"]}
        for side, each in summaries.items()
    }
    drawn = {
        side: {
            row["samples"]: row["test_mean"] for row in each["draws"]["methods"][method]["curve"]
        }
        for side, each in summaries.items()
    }
    rows, gaps = [], []
    for samples in KEY_SAMPLES:
        if not all(samples in one for one in own.values()):
            continue
        real, fitted = (drawn[side][samples] for side in SIDES)
        gap = fitted["mean"] - real["mean"]
        error = np.hypot(*(one["std"] / len(one["values"]) ** 0.5 for one in (real, fitted)))
        shipped = own["surrogate"][samples]
        rows.append(
            [
                samples,
                over_draws(real),
                over_draws(fitted),
                f"{gap:+.3f} ± {error:.3f}",
                f"{shipped:.3f}",
                f"{shipped - real['mean']:+.3f}",
            ]
        )
        gaps.append((abs(shipped - real["mean"]), real["std"], samples))
    counts = [each["draws"]["trials"] for each in summaries.values()]
    say(
        f"#### {method}: trials on each draw of completed {counts[0]}, of the surrogate {counts[1]}"
    )
    say()
    head = ["samples", "completed", "surrogate's law", "difference", "the surrogate that ships"]
    table([*head, "less completed"], rows)
    worst = max(gaps)
    inside = sum(gap <= max(2 * sd, 0.05) for gap, sd, _ in gaps)
    return (
        f"{method}: the surrogate that ships lies within 0.05 points or twice the spread of "
        f"completed's draws at {inside} of {len(gaps)} numbers of samples; largest difference "
        f"{worst[0]:.3f} at {worst[2]}, where draws of completed spread by {worst[1]:.3f}"
    )


def compare_rankings(summaries: dict[str, dict[str, Any]]) -> None:
    """Prints the order of the methods by their means over draws."""
    say("### Ranking of the methods by test accuracy, mean over draws\n")
    rows = []
    for samples in KEY_SAMPLES:
        orders = []
        for summary in summaries.values():
            at = {}
            for name, method in summary["draws"]["methods"].items():
                for row in method["curve"]:
                    if row["samples"] == samples and name != "oracle":
                        at[name] = row["test_mean"]
            order = sorted(at, key=lambda name: -at[name]["mean"])
            text = order[0]
            for better, worse in pairwise(order):
                # Trials of one number share their seed on all draws, so draws are compared in
                # pairs.
                gap = np.subtract(at[better]["values"], at[worse]["values"])
                clear = gap.mean() > 2 * gap.std(ddof=1) / len(gap) ** 0.5
                text += f" {'>' if clear else '~'} {worse}"
            orders.append(text)
        same = len({text.replace("~", ">") for text in orders}) == 1
        rows.append([samples, *orders, "same" if same else "differs"])
    table(["samples", *SIDES, ""], rows)
    say("~: over draws they differ by less than two standard errors.\n")


def compare_ratios(summaries: dict[str, dict[str, Any]]) -> None:
    """Prints how much sooner methods are where the reference is in the end."""
    needed = {side: each["draws"]["needed"] for side, each in summaries.items()}
    if not all(needed.values()):
        return
    reference = needed["completed"]
    say(
        f"### Where {reference['reference']} is after {reference['samples']:,} samples: mean ± "
        "standard deviation over draws\n"
    )
    rows = []
    for name in reference["test"]:
        for key, what in RATIOS:
            sides = [needed[side]["test"].get(name, {}).get(key) for side in SIDES]
            if all(sides):
                rows.append([f"{name}, {what}", *(over_draws(one, 1) for one in sides)])
    table(["", *SIDES], rows)


def report(runs: list[dict[str, dict[str, Any]]]) -> None:
    """Prints what finished replays on both sides say."""
    say("### Replay\n")
    say("Test accuracy in percent, mean ± standard deviation between draws.\n")
    found = []
    seen: set[str] = set()
    for summaries in runs:
        for method in summaries["completed"]["methods"]:
            if method in summaries["surrogate"]["methods"] and method not in seen:
                found.append(compare_curves(summaries, method))
                seen.add(method)
        compare_rankings(summaries)
        compare_ratios(summaries)
    say("### Differences of test accuracy\n")
    for line in found:
        say(f"- {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how faithful the surrogate is.")
    parser.add_argument("measured", type=Path, help="measured.npz")
    parser.add_argument(
        "--trials", type=int, default=200, help="of the sequential methods on each draw"
    )
    parser.add_argument(
        "--predictor-trials", type=int, default=50, help="on each draw; 0: leave predictors out"
    )
    parser.add_argument("--predictors", default="np", help="names, separated by commas")
    parser.add_argument("--draws", type=int, default=5, help="of each side, at least 2")
    parser.add_argument(
        "--predictor-draws", type=int, default=3, help="of each side, for the predictors"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder to keep; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out: Path = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        both = sources(arguments.measured, out)
        print_statistics(Surrogate.load().statistics)
        compare_landscapes({side: source.load() for side, source in both.items()})
        plans = [
            (
                ("random", "evolution", "evolution-ying", "oracle"),
                arguments.trials,
                arguments.draws,
            )
        ]
        if arguments.predictor_trials:
            methods = (*arguments.predictors.split(","), "evolution")
            plans.append((methods, arguments.predictor_trials, arguments.predictor_draws))
        runs = []
        for methods, trials, draws in plans:
            settings = ReplaySettings(methods=methods, trials=trials, seed=arguments.seed)
            runs.append({})
            for side, source in both.items():
                folder = out / f"{side}-{'-'.join(methods)}"
                run_on_draws(
                    settings, source, folder, draws, jobs=arguments.jobs, resume=folder.exists()
                )
                runs[-1][side] = json.loads((folder / "summary.json").read_text())
        report(runs)


if __name__ == "__main__":
    main()
