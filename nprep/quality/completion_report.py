"""python -m nprep.table completion-report: how far the modelled values can be trusted."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from nprep.errors import TableError
from nprep.model.completion import Completion
from nprep.table.redraw import redraw
from nprep.table.table import Table
from nprep.table.view import View

# Published of the complete data set; the model was fitted to none of them.
PUBLISHED = {
    "best mean validation": "95.055 (nas_benchmarks)",
    "highest single validation": "about 95.11 to 95.15 in single draws (replications)",
    "oracle": "94.18 +- 0.07 (Wen et al., read off a figure)",
    "evolution at 5000": "94.04 (Wen et al.)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument(
        "table", type=Path, nargs="?", help="a table with the view completed, for the aggregates"
    )
    parser.add_argument(
        "--trials", type=int, default=200, help="trials of each search and draws of the oracle"
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=12,
        help="other draws of the model, to see how much hangs on the table's own; 0: none "
        "(default: 12)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the searches")
    parser.add_argument("--json", action="store_true", help="print JSON")


def aggregates(view: View, trials: int, seed: int) -> dict[str, Any]:
    """What is published of the complete data set, computed on a view; accuracies in percent."""
    from nprep.search.baselines import RandomSearch, RegularizedEvolution
    from nprep.search.rules import ReplayProtocol

    mean = view.validation.mean(axis=1)
    best = int(mean.argmax())
    rng = np.random.default_rng(seed)
    oracle = []
    for _ in range(trials):
        repeats = rng.integers(view.validation.shape[1], size=len(view))
        seen = view.validation[np.arange(len(view)), repeats]
        oracle.append((view.test[seen.argmax()], seen.max()))
    tests, seens = np.array(oracle).T * 100
    out: dict[str, Any] = {
        "best mean validation": {"validation": 100 * float(mean[best])}
        | {"its test": 100 * float(view.test[best])},
        "highest single validation": {"validation": 100 * float(view.validation.max())},
        "oracle": {"test": float(tests.mean()), "sd": float(tests.std())}
        | {"validation": float(seens.mean())},
    }
    methods = (
        RegularizedEvolution(),
        RegularizedEvolution(
            name="evolution-ying", population=100, replacement=True, mutation="one"
        ),
        RandomSearch(),
    )
    seeds = np.random.SeedSequence(seed).spawn(trials)
    for method in methods:
        traces = method.run_block(view, seeds, 5000, ReplayProtocol())
        for samples in (1000, 2000, 5000):
            final = [int(trace.validation[:samples].argmax()) for trace in traces]
            pairs = zip(traces, final, strict=True)
            scores = np.array(
                [(view.test[t.positions[k]], t.validation[k]) for t, k in pairs]
            ).T * 100  # fmt: skip
            out[f"{method.name} at {samples}"] = {
                "test": float(scores[0].mean()),
                "sd": float(scores[0].std()),
                "validation": float(scores[1].mean()),
            }
    return out


def aggregates_over_draws(table: Table, draws: int, trials: int, seed: int) -> dict[str, Any]:
    """Mean and standard deviation of :func:`aggregates` over draws of the model.

    Args:
        table: With the view ``completed``.
        draws: At least 2, with the build seeds from 1 on.
        trials: Of each search on each draw.
        seed: Of the searches.
    """
    found = []
    start = time.perf_counter()
    for view in redraw(table, range(1, draws + 1)):
        found.append(aggregates(view, trials, seed))
        spent = time.perf_counter() - start
        left = spent / len(found) * (draws - len(found))
        print(f"draw {len(found)} of {draws}, about {left:.0f} s left", file=sys.stderr, flush=True)
    out: dict[str, Any] = {}
    for name, first in found[0].items():
        out[name] = {}
        for key in first:
            values = np.array([one[name][key] for one in found])
            out[name][key] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1))}
    return out


def _span(entry: dict[str, Any]) -> str:
    return f"{100 * entry['from']:5.1f} to {100 * entry['to']:5.1f}"


def _fit_lines(statistics: dict[str, Any]) -> list[str]:
    """Tables of the cross-validation; all accuracies in points of accuracy (percent)."""
    lines = [
        "Cells with three measured repeats, left out of the fit: one repeat's validation less mean "
        "test accuracy,",
        f"measured / modelled ({statistics['draws']} draws); by mean test accuracy; in points.",
        f"{'test accuracy':>15} {'cells':>6} {'R2':>5} {'bias':>6}  {'mean':>13} {'sd':>13} "
        f"{'within cell':>13} {'99 %':>13} {'Spearman':>13} {'same run':>13}",
    ]
    for entry in statistics["triples"]:
        a, b = entry["measured"], entry["modelled"]
        pairs = [
            f"{scale * a[name]:6.{digits}f}/{scale * b[name]:6.{digits}f}"
            for name, scale, digits in (
                ("mean", 100, 3),
                ("sd", 100, 3),
                ("within_sd", 100, 3),
                ("q99", 100, 2),
                ("spearman", 1, 3),
                ("same_run", 1, 3),
            )
        ]
        fit = entry["fit"]
        lines.append(
            f"{_span(entry):>15} {entry['cells']:>6} {fit['r2']:5.2f} {100 * fit['bias']:6.3f}  "
            + " ".join(pairs)
        )
    lines += [
        "",
        "Random cells of which the best of three repeats is measured, left out of the fit: that "
        "repeat's validation less mean test accuracy.",
        f"{'test accuracy':>15} {'cells':>6} {'R2':>5} {'bias':>6}  {'mean':>13} {'sd':>13} "
        f"{'99 %':>13} {'Spearman':>13}",
    ]
    for entry in statistics["bests"]:
        a, b = entry["measured"], entry["modelled"]
        fit = entry["fit"]
        lines.append(
            f"{_span(entry):>15} {entry['cells']:>6} {fit['r2']:5.2f} {100 * fit['bias']:6.3f}  "
            f"{100 * a['mean']:6.3f}/{100 * b['mean']:6.3f} "
            f"{100 * a['sd']:6.3f}/{100 * b['sd']:6.3f} "
            f"{100 * a['quantiles'][2]:6.2f}/{100 * b['quantiles'][2]:6.2f} "
            f"{a['spearman']:6.3f}/{b['spearman']:6.3f}"
        )
    chosen = statistics["selection"]
    lines += [
        "",
        "Winner's curse: mean test accuracy of the cells with the highest single validation "
        "(measured; modelled +- sd over draws).",
    ]
    for kind, what in (("triples", "three repeats"), ("bests", "best of three")):
        parts = [
            f"top {count}: {100 * a:.3f}; {100 * b:.3f} +- {100 * c:.3f}"
            for count, a, b, c in zip(
                chosen["cells"],
                chosen[f"{kind}_measured"],
                chosen[f"{kind}_modelled"],
                chosen[f"{kind}_modelled_sd"],
                strict=True,
            )
        ]
        lines.append(f"  {what}: " + " | ".join(parts))
    mean, sd = chosen["highest_mean_modelled"]
    lines.append(
        f"  highest mean of three repeats: {100 * chosen['highest_mean_measured']:.3f}; "
        f"{100 * mean:.3f} +- {100 * sd:.3f}"
    )
    highest = zip(chosen["highest_measured"], chosen["highest_modelled"], strict=True)
    shown = ", ".join(f"{100 * a:.3f}; {100 * b:.3f}" for a, b in highest)
    lines.append(f"  highest validation (three repeats, best of three): {shown}")
    seconds, failures = statistics["seconds"], statistics["failures"]
    lines += [
        "",
        f"Training time: R2 {seconds['r2']:.4f}, relative error "
        f"{100 * seconds['relative_sd']:.1f} % (cross-validated).",
        "Failed runs counted from the mean test accuracy: right for "
        f"{failures['counted_rightly']:,} of {failures['cells']:,} cells, "
        f"{failures['with_failures']} of which have any.",
    ]
    return lines


def _aggregate_lines(found: dict[str, Any], spread: dict[str, Any] | None, draws: int) -> list[str]:
    lines = ["", "Aggregates of the view completed (percent); nothing was fitted to the published."]
    if spread:
        lines.append(f"In brackets: mean +- sd over {draws} other draws of the model.")
    for name, values in found.items():
        parts = []
        for key, value in values.items():
            over = spread[name][key] if spread and key != "sd" else None
            other = f" [{over['mean']:.3f} +- {over['sd']:.3f}]" if over else ""
            parts.append(f"{key} {value:.3f}{other}")
        published = f"   published: {PUBLISHED[name]}" if name in PUBLISHED else ""
        lines.append(f"  {name:<26} {', '.join(parts)}{published}")
    return lines


def command(arguments: argparse.Namespace) -> int:
    """Prints the report.

    Raises:
        TableError: If a number is out of range, or the table lacks the view ``completed``.
    """
    for name, least in (("trials", 2), ("draws", 0)):
        if getattr(arguments, name) < least:
            raise TableError(
                f"--{name} is {getattr(arguments, name)}: give a whole number from {least} on."
            )
    if arguments.draws == 1:
        raise TableError("--draws is 1, which has no spread: give 0 or a number from 2 on.")
    table = Table.open(arguments.table) if arguments.table else None
    report: dict[str, Any] = {"fit": Completion.load().statistics}
    lines = _fit_lines(report["fit"])
    if table is not None:
        chosen = (arguments.trials, arguments.seed)
        report["aggregates"] = aggregates(table.view("completed"), *chosen)
        spread = aggregates_over_draws(table, arguments.draws, *chosen) if arguments.draws else None
        report["aggregates_over_draws"] = spread
        report["published"] = PUBLISHED
        lines += _aggregate_lines(report["aggregates"], spread, arguments.draws)
    else:
        lines += ["", "Name a table to see its aggregates beside the published ones."]
    print(json.dumps(report, indent=2) if arguments.json else "\n".join(lines))
    return 0
