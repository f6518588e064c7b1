"""The report's tables: numbers of ``summary.json`` and ``settings.json`` in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nprep.replay.curves import KEY_SAMPLES
from nprep.replay.protocols import CONFIDENCE, PROTOCOLS, in_words, label
from nprep.replay.reading import Run
from nprep.report.html import Table

_DASH = "–"


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands separated, or a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return _DASH
    return f"{value:,.{digits}f}"


def between(ends: Sequence[float | None], digits: int = 1) -> str:
    """An interval, either end of which may be open."""
    low, high = ("open" if end is None else number(end, digits) for end in ends)
    return f"{low} to {high}"


def settings_table(runs: Sequence[Run]) -> Table:
    """What was run, a column for each run."""
    rows: list[tuple[str, ...]] = []

    def add(name: str, values: Sequence[object]) -> None:
        rows.append((name, *(str(value) for value in values)))

    known = [run for run in runs if run.content]
    add("protocol", [label(run.rules) for run in known])
    add("its rules", [in_words(run.rules) for run in known])
    add("view", [f"{run.view.get('name')} ({run.view.get('cells'):,} cells)" for run in known])
    for setting in ("methods", "trials", "samples", "train_samples", "top_k", "seed", "bootstrap"):
        values = [run.run.get(setting, _DASH) for run in known]
        add(
            {"samples": "samples of sequential methods", "train_samples": "N", "top_k": "K"}.get(
                setting, setting
            ),
            [
                ", ".join(value)
                if isinstance(value, list)
                else f"{value:,}"
                if isinstance(value, int)
                else value
                for value in values
            ],
        )
    add("nprep", [run.run.get("nprep") for run in known])
    return Table(
        "What was run.",
        ("setting", *(run.name for run in known)),
        tuple(rows),
        tuple(range(1, len(known) + 1)),
    )


def provenance_table(run: Run) -> Table:
    """Where the values of the view are from."""
    counts: dict[str, dict[str, int]] = run.view.get("provenance", {})
    kinds = list(dict.fromkeys(kind for each in counts.values() for kind in each))
    rows = []
    for metric, each in counts.items():
        total = sum(each.values())
        cells = (
            f"{each[kind]:,} ({each[kind] / total:.1%})" if each.get(kind) else _DASH
            for kind in kinds
        )
        rows.append((metric.replace("_", " "), *cells))
    return Table(
        f"Values of view {run.view.get('name')} by where they are from. "
        + (run.modelled() or "Nothing in it is modelled."),
        ("value", *kinds),
        tuple(rows),
    )


def accuracy_table(run: Run, metric: str) -> Table:
    """The mean accuracy of each method after some numbers of samples."""
    methods: dict[str, Any] = run.summary["methods"]
    reached = {row["samples"] for method in methods.values() for row in method["curve"]}
    columns = [samples for samples in KEY_SAMPLES if samples in reached]
    rows = []
    for name, method in methods.items():
        values = {row["samples"]: row[f"{metric}_mean"] for row in method["curve"]}
        cells = [number(values.get(samples)) for samples in columns]
        final = method["final"][f"{metric}_mean"]
        rows.append((name, *cells, f"{number(final)} at {method['horizon']:,}"))
    return Table(
        f"Mean {metric} accuracy (%) over {run.run.get('trials')} trials, by trained networks. "
        + run.modelled(timed=False),
        ("method", *(f"{samples:,}" for samples in columns), "end"),
        tuple(rows),
    )


def headline_table(run: Run) -> Table | None:
    """How much sooner predictors are where sequential methods end up; None without a pair."""
    rows = []
    for comparison in run.summary["speedups"]:
        for metric in ("test", "validation"):
            at = comparison.get(f"{metric}_at_baseline_samples")
            if at is None:
                continue
            rows.append(
                (
                    f"{comparison['predictor']} against {comparison['baseline']}",
                    metric,
                    number(at["target_percent"]),
                    f"{at['samples']:,}",
                    _reached(at["predictor_samples"]),
                    number(at["ratio"], 1),
                    _interval(at),
                )
            )
    if not rows:
        return None
    return Table(
        "Samples after which the predictor has the mean accuracy that the baseline ends up with. "
        "Intervals: 95 %, bootstrap over trials. " + run.modelled(timed=False),
        (
            "methods",
            "accuracy",
            "target (%)",
            "baseline's samples",
            "predictor's samples",
            "ratio",
            "95 % interval",
        ),
        tuple(rows),
    )


def headlines(run: Run) -> list[str]:
    """The main results in sentences: where predictors are when sequential methods end."""
    sentences = []
    for comparison in run.summary["speedups"]:
        at = comparison.get("test_at_baseline_samples")
        if at is None or at["ratio"] is None:
            continue
        sentences.append(
            f"{comparison['predictor']} reaches {at['target_percent']:.2f} % mean test accuracy, "
            f"where {comparison['baseline']} is after {at['samples']:,} samples, at "
            f"{_reached(at['predictor_samples'])}: {number(at['ratio'], 1)} times sooner (95 % "
            f"interval {_interval(at)})."
        )
    return sentences


def _reached(samples: float | None) -> str:
    return "not reached" if samples is None else f"{samples:,.0f}"


def _interval(speedup: dict[str, Any]) -> str:
    ends = speedup["ratio_interval_95"]
    return _DASH if ends == [None, None] else between(ends)


def target_table(run: Run, comparison: dict[str, Any], metric: str) -> Table:
    """The speed-up of one pair of methods at each target accuracy."""
    rows = tuple(
        (
            number(entry["target_percent"]),
            _reached(entry["predictor_samples"]),
            _reached(entry["baseline_samples"]),
            number(entry["ratio"], 1),
            _interval(entry),
        )
        for entry in comparison[metric]
    )
    return Table(
        f"{comparison['predictor']} against {comparison['baseline']}: samples until the mean "
        f"{metric} accuracy first reaches each target. {run.modelled(timed=False)}",
        (
            "target (%)",
            comparison["predictor"],
            comparison["baseline"],
            "ratio",
            "95 % interval",
        ),
        rows,
    )


def published_table(run: Run) -> Table | None:
    """Published numbers of the run's protocol beside its own; None where there is none.

    A run whose rules differ from the protocol's by one option is not compared.
    """
    named = PROTOCOLS.get(run.rules.name)
    if named is None or run.rules != named.rules:
        return None
    series = {each.method: each for each in run.series}
    rows = []
    for published in named.published:
        own = series.get(published.method)
        if own is None or published.samples > own.horizon:
            continue
        at = own.at(published.samples or own.horizon)
        exact = published.samples in (0, int(own.samples[at]))
        value = own.columns[f"{published.metric}_mean"][at]
        rows.append(
            (
                published.method,
                published.metric,
                f"{published.samples:,}" if published.samples else _DASH,
                number(value, 3) if exact else f"{number(value, 3)} at {own.samples[at]:,}",
                number(published.percent, 3),
                f"{value - published.percent:+.3f}",
                CONFIDENCE[published.confidence],
                published.source,
            )
        )
    if not rows:
        return None
    return Table(
        f"Numbers published under the rules of {named.rules.name} ({named.source}). "
        + run.modelled(timed=False),
        (
            "method",
            "accuracy",
            "samples",
            "here (%)",
            "published (%)",
            "difference",
            "how sure",
            "source",
        ),
        tuple(rows),
        (6, 7),
    )
