"""How faithful the surrogate is: python bench/surrogate_fidelity.py measured.npz --out FOLDER.

Builds the measured and the fitted table, compares their landscapes, and replays the same methods
with the same settings on both. The view ``completed`` is itself one draw of a model of validation;
how far its other draws lie apart stands beside the differences. Prints Markdown; keeps tables and
replays in ``--out``, and continues what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from argparse import Namespace
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nprep.data.fit.choose_landscape import Fixed
from nprep.model.surrogate import Surrogate
from nprep.replays.engine import run_replay
from nprep.results.curves import KEY_SAMPLES
from nprep.runs.settings import ReplaySettings, TableSource
from nprep.table.redraw import redraw
from nprep.table.sources import measured, surrogate
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table

SIDES = ("completed", "surrogate")
BOUNDS = (91, 92, 93, 93.5, 93.8, 93.9, 94, 94.1, 94.2)
LOW_BOUNDS = (80, 50, 20)

# Points of test accuracy by which a curve may be off.
AIM = 0.05


def say(line: str = "", end: str = "\n") -> None:
    print(line, end=end, flush=True)


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
        write_table(
            paths["completed"],
            measured.build(Namespace(input=path, build_seed=0, condition="none"), show),
        )
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


def curves_over_draws(
    path: Path, settings: ReplaySettings, draws: int
) -> dict[str, dict[int, tuple[float, float]]]:
    """Mean and standard deviation, over draws of the completion model, of the mean curves."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in settings.methods}
    for view in redraw(Table.open(path), range(1, draws + 1)):
        with tempfile.TemporaryDirectory() as scratch:
            summary = run_replay(settings, Fixed(view), Path(scratch) / "replay").summary
        for name, rows in found.items():
            for samples, row in curve(summary, name).items():
                rows.setdefault(samples, []).append(row["test_mean"])
    return {
        name: {n: (float(np.mean(v)), float(np.std(v, ddof=1))) for n, v in rows.items()}
        for name, rows in found.items()
    }


def compare_curves(
    summaries: dict[str, dict[str, Any]],
    method: str,
    draws: dict[int, tuple[float, float]],
) -> str:
    """Prints one method's curves; returns what to say of the largest difference."""
    curves = {side: curve(summary, method) for side, summary in summaries.items()}
    rows, gaps = [], []
    for samples in KEY_SAMPLES:
        if not all(samples in c for c in curves.values()):
            continue
        sides = [c[samples] for c in curves.values()]
        errors = [side["test_std"] / np.sqrt(side["trials"]) for side in sides]
        gap, error = sides[1]["test_mean"] - sides[0]["test_mean"], float(np.hypot(*errors))
        gaps.append((abs(gap), error, samples))
        cells = [
            f"{side['test_mean']:.3f} ± {e:.3f}" for side, e in zip(sides, errors, strict=True)
        ]
        over = [f"{draws[samples][0]:.3f} ± {draws[samples][1]:.3f}"] if samples in draws else []
        checks = [f"{side['validation_mean']:.3f}" for side in sides]
        rows.append([samples, *cells, f"{gap:+.3f} ± {error:.3f}", *over, *checks])
    counts = " and ".join(
        f"{side['trials']:,} on {name}" for name, side in zip(SIDES, sides, strict=True)
    )
    say(f"#### {method}: trials {counts}\n")
    head = ["samples", *(f"test, {side}" for side in SIDES), "difference"]
    head += ["test, other draws of completed"] if draws else []
    table([*head, *(f"validation, {side}" for side in SIDES)], rows)
    inside = sum(gap <= AIM for gap, _, _ in gaps)
    worst = max(gaps)
    return (
        f"{method}: within {AIM} points at {inside} of {len(gaps)} numbers of samples; largest "
        f"{worst[0]:.3f} ± {worst[1]:.3f}, at {worst[2]}"
    )


def compare_rankings(summaries: dict[str, dict[str, Any]]) -> None:
    """Prints the order of the methods; what differs by less than two errors is no order."""
    say("### Ranking of the methods by test accuracy\n")
    rows = []
    for samples in KEY_SAMPLES:
        orders, unclear = [], 0
        for summary in summaries.values():
            at = {
                name: curve(summary, name)[samples]
                for name in summary["methods"]
                if name != "oracle" and samples in curve(summary, name)
            }
            order = sorted(at, key=lambda name: -at[name]["test_mean"])
            text = order[0]
            for better, worse in pairwise(order):
                pair = (at[better], at[worse])
                error = np.hypot(*(row["test_std"] / np.sqrt(row["trials"]) for row in pair))
                clear = pair[0]["test_mean"] - pair[1]["test_mean"] > 2 * error
                unclear += not clear
                text += f" {'>' if clear else '~'} {worse}"
            orders.append(text)
        same = len({text.replace("~", ">") for text in orders}) == 1
        rows.append([samples, *orders, "same" if same else "differs"])
    table(["samples", *SIDES, ""], rows)
    say("~: they differ by less than two standard errors.\n")


def _speedup(one: dict[str, Any]) -> str:
    if one["ratio"] is None:
        return one.get("note", "-")
    low, high = ("open" if end is None else f"{end:.2f}" for end in one["ratio_interval_95"])
    return f"{one['ratio']:.2f} ({low} to {high})"


def compare_speedups(summaries: dict[str, dict[str, Any]]) -> None:
    """Ratios of samples needed by baseline and predictor."""
    rows = []
    by_pair = [
        {(one["predictor"], one["baseline"]): one for one in summary["speedups"]}
        for summary in summaries.values()
    ]
    for pair in [pair for pair in by_pair[0] if pair in by_pair[1]]:
        real, fitted = (side[pair] for side in by_pair)
        name = f"{real['predictor']} over {real['baseline']}"
        pairs = [
            (f"{a['target_percent']:.2f} %", a, b)
            for a, b in zip(real["test"], fitted["test"], strict=True)
        ]
        key = "test_at_baseline_samples"
        head = f"where {real['baseline']} is after {real[key]['samples']:,}"
        for label, a, b in [*pairs, (head, real[key], fitted[key])]:
            ratios = [a["ratio"], b["ratio"]]
            if ratios == [None, None]:
                continue
            change = "" if None in ratios else f"{100 * (ratios[1] / ratios[0] - 1):+.0f} %"
            rows.append([name, label, _speedup(a), _speedup(b), change])
    if rows:
        say(
            "### Speed-up of the predictor: samples of the baseline / of the predictor "
            "(95 % interval)\n"
        )
        table(["", "test accuracy", *SIDES, "change"], rows)


def replay(
    paths: dict[str, Path], out: Path, settings: ReplaySettings, jobs: int
) -> dict[str, dict[str, Any]]:
    """The summaries of the same replay on both tables."""
    summaries = {}
    for side, path in paths.items():
        # A replay on other values has another folder.
        values = Table.open(path).digests["metrics/final/validation_accuracy"]
        name = f"{'-'.join(settings.methods)}-{settings.trials}-{settings.seed}-{values[:8]}"
        folder = out / side / name
        folder.parent.mkdir(exist_ok=True)
        summary = run_replay(
            settings,
            TableSource(path, side),
            folder,
            jobs=jobs,
            resume=folder.exists(),
            quiet=False,
        ).summary
        for method in summary["methods"].values():
            for row in method["curve"]:
                row["trials"] = settings.trials
        summaries[side] = summary
    return summaries


def finished(folder: Path) -> dict[str, Any]:
    """The summary of a finished replay."""
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    for method in summary["methods"].values():
        for row in method["curve"]:
            row["trials"] = summary["run"]["trials"]
    return summary


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


def report(
    runs: list[dict[str, dict[str, Any]]], draws: dict[str, dict[int, tuple[float, float]]]
) -> None:
    """Prints what finished replays on both sides say; of two with one method the first counts."""
    summaries = {side: merge([run[side] for run in reversed(runs)]) for side in SIDES}
    say("### Replay\n")
    say("Test accuracy in percent, mean ± standard error over trials.", end=" ")
    if draws:
        say("Other draws of completed: mean ± standard deviation over draws of its model.", end="")
    say("\n")
    found = []
    for method in summaries["completed"]["methods"]:
        if method in summaries["surrogate"]["methods"]:
            found.append(compare_curves(summaries, method, draws.get(method, {})))
    compare_rankings(summaries)
    compare_speedups(summaries)
    say("### Differences of test accuracy\n")
    for line in found:
        say(f"- {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how faithful the surrogate is.")
    parser.add_argument("measured", type=Path, help="measured.npz")
    parser.add_argument("--trials", type=int, default=500, help="of the sequential methods")
    parser.add_argument("--predictor-trials", type=int, default=200, help="0: leave them out")
    parser.add_argument(
        "--predictors", default="np,np-one-stage", help="names, separated by commas"
    )
    parser.add_argument(
        "--draws", type=int, default=12, help="other draws of completed; 0: leave them out"
    )
    parser.add_argument(
        "--finished",
        type=Path,
        nargs=2,
        action="append",
        metavar=("COMPLETED", "SURROGATE"),
        help="run folders to compare instead of running anything; may be repeated",
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder to keep; default: a temporary one")
    arguments = parser.parse_args()
    if arguments.finished:
        pairs = [
            dict(zip(SIDES, map(finished, folders), strict=True)) for folders in arguments.finished
        ]
        report(pairs, {})
        return
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
        draws: dict[str, dict[int, tuple[float, float]]] = {}
        if arguments.draws > 1:
            draws = curves_over_draws(
                paths["completed"], replace(sequential, bootstrap=10), arguments.draws
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
        report(runs, draws)


if __name__ == "__main__":
    main()
