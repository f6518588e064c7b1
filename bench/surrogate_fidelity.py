"""How faithful the surrogate is: python bench/surrogate_fidelity.py measured.npz.

Builds the measured and the fitted table, compares their landscapes, and replays the same methods
with the same settings on both. Prints Markdown; keeps tables and replays in ``--out``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nprep.replay.curves import KEY_SAMPLES
from nprep.replay.engine import run_replay
from nprep.replay.settings import ReplaySettings, TableSource
from nprep.table.sources import measured, surrogate
from nprep.table.surrogate_model import Surrogate
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table

SIDES = ("completed", "surrogate")
BOUNDS = (91, 92, 93, 93.5, 93.8, 93.9, 94, 94.1, 94.2)
LOW_BOUNDS = (80, 50, 20)
TARGETS = (93.8, 93.9, 94.0, 94.04)


def say(line: str = "") -> None:
    print(line, flush=True)


def table(head: list[str], rows: list[list[Any]]) -> None:
    """Prints a Markdown table; the first column is text."""
    say("| " + " | ".join(head) + " |")
    say("|" + "---|" + "---:|" * (len(head) - 1))
    for row in rows:
        say("| " + " | ".join(str(value) for value in row) + " |")
    say()


def build_tables(path: Path, out: Path) -> dict[str, Path]:
    """The two tables, built where they are not there yet."""
    paths = {side: out / f"{side}.h5" for side in SIDES}
    show = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731 - one line, used twice
    if not paths["completed"].exists():
        write_table(paths["completed"], measured.build(Namespace(input=path, build_seed=0), show))
    # Always anew: it takes seconds, and the weights may have changed.
    write_table(paths["surrogate"], surrogate.build_content(0, show))
    return paths


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


def curve(summary: dict[str, Any], method: str) -> dict[int, dict[str, float]]:
    return {row["samples"]: row for row in summary["methods"][method]["curve"]}


def compare_curves(summaries: dict[str, dict[str, Any]], method: str) -> float:
    """Prints one method's curves; returns the largest difference of the test means."""
    curves = {side: curve(summary, method) for side, summary in summaries.items()}
    rows, worst = [], 0.0
    for samples in KEY_SAMPLES:
        if not all(samples in c for c in curves.values()):
            continue
        real, fitted = (c[samples] for c in curves.values())
        gap = fitted["test_mean"] - real["test_mean"]
        worst = max(worst, abs(gap))
        cells = [f"{side['test_mean']:.3f} ({side['test_std']:.3f})" for side in (real, fitted)]
        checks = [f"{side['validation_mean']:.3f}" for side in (real, fitted)]
        rows.append([samples, *cells, f"{gap:+.3f}", *checks])
    say(f"#### {method}\n")
    head = ["samples", *(f"test, {s} (sd)" for s in SIDES), "difference"]
    table([*head, *(f"validation, {s}" for s in SIDES)], rows)
    return worst


def compare_rankings(summaries: dict[str, dict[str, Any]]) -> None:
    say("### Ranking of the methods by test accuracy\n")
    rows = []
    for samples in KEY_SAMPLES:
        orders = []
        for summary in summaries.values():
            at = {
                name: curve(summary, name)[samples]["test_mean"]
                for name in summary["methods"]
                if name != "oracle" and samples in curve(summary, name)
            }
            orders.append(" > ".join(sorted(at, key=lambda name: -at[name])))
        rows.append([samples, *orders, "same" if len(set(orders)) == 1 else "differs"])
    table(["samples", *SIDES, ""], rows)


def compare_speedups(summaries: dict[str, dict[str, Any]]) -> None:
    """Ratios of samples needed by baseline and predictor."""
    rows = []
    for real, fitted in zip(*(s["speedups"] for s in summaries.values()), strict=True):
        name = f"{real['predictor']} over {real['baseline']}"
        pairs = [
            (f"{a['target_percent']:.2f} %", a, b)
            for a, b in zip(real["test"], fitted["test"], strict=True)
        ]
        for label, a, b in pairs:
            if a["ratio"] is None and b["ratio"] is None:
                continue
            ratios = [a["ratio"], b["ratio"]]
            shown = ["-" if r is None else f"{r:.2f}" for r in ratios]
            change = "" if None in ratios else f"{100 * (ratios[1] / ratios[0] - 1):+.0f} %"
            rows.append([name, label, *shown, change])
    if rows:
        say("### Speed-up of the predictor (samples of the baseline / of the predictor)\n")
        table(["", "test accuracy", *SIDES, "change"], rows)


def replay(
    paths: dict[str, Path], out: Path, settings: ReplaySettings, jobs: int
) -> dict[str, dict[str, Any]]:
    """The summaries of the same replay on both tables."""
    folder = Path(tempfile.mkdtemp(prefix="replay-", dir=out))
    return {
        side: run_replay(
            settings,
            TableSource(path, side),
            folder / side,
            jobs=jobs,
            resume=False,
            quiet=True,
        ).summary
        for side, path in paths.items()
    }


def merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One summary of several replays; comparisons only where both methods ran together."""
    methods = {name: content for part in parts for name, content in part["methods"].items()}
    return {"methods": methods, "speedups": [s for part in parts for s in part["speedups"]]}


def print_statistics(statistics: dict[str, Any]) -> None:
    say("### Fit, on cells left out (from the weights file)\n")
    names = ("left_out_cells_without_failed_runs", "left_out_cells", "landscape")
    keys = ("r2", "tau_all", "tau_above_91", "tau_above_93")
    rows = [
        [name.replace("_", " "), *(f"{statistics[name][k]:.3f}" for k in keys)] for name in names
    ]
    table(["", "R2", "tau, all", "tau, above 91 %", "tau, above 93 %"], rows)
    say(f"Residual correlation by edits: {statistics['correlation_by_edits']}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how faithful the surrogate is.")
    parser.add_argument("measured", type=Path, help="measured.npz")
    parser.add_argument("--trials", type=int, default=500, help="of the sequential methods")
    parser.add_argument("--predictor-trials", type=int, default=50, help="0: leave them out")
    parser.add_argument("--predictors", default="np", help="names, separated by commas")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder to keep; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out: Path = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        paths = build_tables(arguments.measured, out)
        print_statistics(Surrogate.load().statistics)
        compare_landscapes({side: Table.open(path).view(side) for side, path in paths.items()})
        sequential = ReplaySettings(
            methods=("random", "evolution", "evolution-ying", "oracle"),
            trials=arguments.trials,
            seed=arguments.seed,
        )
        runs = [replay(paths, out, sequential, arguments.jobs)]
        if arguments.predictor_trials:
            # Baselines run beside the predictors too, for the speed-ups and their intervals.
            predictors = tuple(arguments.predictors.split(","))
            with_predictors = replace(
                sequential,
                methods=(*predictors, "evolution", "evolution-ying"),
                trials=arguments.predictor_trials,
            )
            runs.append(replay(paths, out, with_predictors, arguments.jobs))
        # The sequential methods' curves are those of the larger number of trials.
        summaries = {side: merge([run[side] for run in reversed(runs)]) for side in SIDES}
        say(f"### Replay: {arguments.trials} trials, predictors {arguments.predictor_trials}\n")
        worst = {m: compare_curves(summaries, m) for m in summaries["completed"]["methods"]}
        compare_rankings(summaries)
        compare_speedups(summaries)
        say(
            "Largest difference of test accuracy, in points: "
            + ", ".join(f"{method} {gap:.3f}" for method, gap in worst.items())
        )


if __name__ == "__main__":
    main()
