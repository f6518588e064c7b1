"""python -m nprep.table completion-report: how far the modelled values can be trusted."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nprep.errors import TableError
from nprep.model.completion import Completion
from nprep.quality.aggregates import PUBLISHED, aggregates, aggregates_over_draws
from nprep.table.redraw import build_seed_of, redraw
from nprep.table.table import Table


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
        help="other draws of the model and its parameters, to see how much depends on the table's "
        "own; 0: none (default: 12)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the searches")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _span(entry: dict[str, Any]) -> str:
    return f"{100 * entry['from']:5.1f} to {100 * entry['to']:5.1f}"


def _fit_lines(statistics: dict[str, Any]) -> list[str]:
    """Tables of the cross-validation; all accuracies in points of accuracy (percent)."""
    seconds, failures = statistics["seconds"], statistics["failures"]
    return [
        *_triples_lines(statistics),
        *_bests_lines(statistics["bests"]),
        *_calibration_lines(statistics["calibration"]),
        *_visited_lines(statistics["visited"]),
        *_selection_lines(statistics["selection"]),
        "",
        f"Training time: R2 {seconds['r2']:.4f}, relative error "
        f"{100 * seconds['relative_sd']:.1f} % (cross-validated).",
        "Failed runs counted from the mean test accuracy: right for "
        f"{failures['counted_rightly']:,} of {failures['cells']:,} cells, "
        f"{failures['with_failures']} of which have any.",
    ]


def _triples_lines(statistics: dict[str, Any]) -> list[str]:
    """Cells with three measured repeats, measured beside modelled."""
    lines = [
        "Cells with three measured repeats, left out of the fit: one repeat's validation less mean "
        "test accuracy,",
        f"measured / modelled ({statistics['draws']} draws); by mean test accuracy; in points.",
        f"{'test accuracy':>15} {'cells':>6} {'R2':>5} {'bias':>6}  {'mean':>13} {'sd':>13} "
        f"{'within cell':>13} {'mean of three':>13} {'99 %':>13} {'Spearman':>13} "
        f"{'same run':>13}",
    ]
    for entry in statistics["triples"]:
        a, b = entry["measured"], entry["modelled"]
        pairs = [
            f"{scale * a[name]:6.{digits}f}/{scale * b[name]:6.{digits}f}"
            for name, scale, digits in (
                ("mean", 100, 3),
                ("sd", 100, 3),
                ("within_sd", 100, 3),
                ("mean_of_repeats_sd", 100, 3),
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
    return lines


def _bests_lines(bests: list[dict[str, Any]]) -> list[str]:
    """Random cells of which the best repeat is measured, measured beside modelled."""
    lines = [
        "",
        "Random cells of which the best of three repeats is measured, left out of the fit: that "
        "repeat's validation less mean test accuracy.",
        f"{'test accuracy':>15} {'cells':>6} {'R2':>5} {'bias':>6}  {'mean':>13} {'sd':>13} "
        f"{'99 %':>13} {'Spearman':>13}",
    ]
    for entry in bests:
        a, b = entry["measured"], entry["modelled"]
        fit = entry["fit"]
        lines.append(
            f"{_span(entry):>15} {entry['cells']:>6} {fit['r2']:5.2f} {100 * fit['bias']:6.3f}  "
            f"{100 * a['mean']:6.3f}/{100 * b['mean']:6.3f} "
            f"{100 * a['sd']:6.3f}/{100 * b['sd']:6.3f} "
            f"{100 * a['quantiles'][2]:6.2f}/{100 * b['quantiles'][2]:6.2f} "
            f"{a['spearman']:6.3f}/{b['spearman']:6.3f}"
        )
    return lines


def _selection_lines(chosen: dict[str, Any]) -> list[str]:
    """What the cells with the highest validation are worth by test, and how high it is."""
    lines = [
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
    mean, sd = chosen["ten_highest_runs_modelled"]
    lines.append(
        "  ten highest single runs (three repeats): "
        f"{100 * chosen['ten_highest_runs_measured']:.3f}; {100 * mean:.3f} +- {100 * sd:.3f}"
    )
    highest = zip(chosen["highest_measured"], chosen["highest_modelled"], strict=True)
    shown = ", ".join(f"{100 * a:.3f}; {100 * b:.3f}" for a, b in highest)
    lines.append(f"  highest validation (three repeats, best of three): {shown}")
    return lines


def _calibration_lines(calibration: dict[str, Any]) -> list[str]:
    """How far predictions are trusted; what is uncertain here is drawn for each draw."""
    lines = [
        "",
        "Calibration on these random cells: slope of the measured on the predicted difference, and "
        "variance of a cell's own effect (points squared).",
    ]
    for level, (slope, error), (variance, uncertain) in zip(
        calibration["levels"], calibration["slope"], calibration["effect"], strict=True
    ):
        if error:
            lines.append(
                f"  test accuracy about {100 * level:.2f}: slope {slope:.2f} +- {error:.2f}, "
                f"effect {1e4 * variance:.4f} +- {1e4 * uncertain:.4f}"
            )
    return lines


def _visited_lines(visited: list[dict[str, Any]]) -> list[str]:
    """Of the cells that no part of the fit saw."""
    lines = [
        "",
        "Cells that searches visited, of which the mean of three is measured and nothing was used "
        "in the fit: mean validation less mean test accuracy.",
        f"{'test accuracy':>15} {'cells':>6} {'R2':>5} {'bias':>6}  {'mean':>13} {'+- draws':>9} "
        f"{'sd':>13} {'left by fit':>13}",
    ]
    for entry in visited:
        a, b, fit = entry["measured"], entry["modelled"], entry["fit"]
        lines.append(
            f"{_span(entry):>15} {entry['cells']:>6} {fit['r2']:5.2f} {100 * fit['bias']:6.3f}  "
            f"{100 * a['mean']:6.3f}/{100 * b['mean']:6.3f} {100 * b['mean_sd_over_draws']:9.3f} "
            f"{100 * a['sd']:6.3f}/{100 * b['sd']:6.3f} "
            f"{100 * fit['sd']:6.3f}/{100 * b['left_sd']:6.3f}"
        )
    return lines


def _aggregate_lines(
    found: dict[str, Any], spread: dict[str, Any] | None, draws: int, condition: str
) -> list[str]:
    lines = ["", "Aggregates of the view completed (percent), beside what is published."]
    if condition == "published":
        lines.append(
            "This table was drawn to agree with the highest published accuracies (--condition "
            "published): those lines show no agreement of the model."
        )
    else:
        lines.append("No part of the model was fitted to a published number.")
    if spread:
        lines.append(
            f"In brackets: mean +- sd over {draws} other draws of the model and its parameters."
        )
    for name, values in found.items():
        parts = []
        for key, value in values.items():
            over = spread[name][key] if spread and name in spread else None
            digits = 0 if key == "cells" else 3
            other = f" [{over['mean']:.{digits}f} +- {over['sd']:.{digits}f}]" if over else ""
            parts.append(f"{key} {value:.{digits}f}{other}")
        lines.append(f"  {name}: {', '.join(parts)}")
        if name in PUBLISHED:
            lines.append(f"      published: {PUBLISHED[name]}")
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
        draws = arguments.draws
        first = build_seed_of(table, 1) if draws else 1
        views = redraw(table, range(first, first + draws))
        spread = aggregates_over_draws(views, draws, *chosen) if draws else None
        report["aggregates_over_draws"] = spread
        report["published"] = PUBLISHED
        condition = str(table.attributes.get("condition", "none"))
        lines += _aggregate_lines(report["aggregates"], spread, draws, condition)
    else:
        lines += ["", "Name a table to see its aggregates beside the published ones."]
    print(json.dumps(report, indent=2) if arguments.json else "\n".join(lines))
    return 0
