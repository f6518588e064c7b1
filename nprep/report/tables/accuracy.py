"""Tables of accuracies: along the curves, at their ends, and against published numbers."""

from __future__ import annotations

from typing import Any

from nprep.report.html import HtmlTable
from nprep.report.words import DASH, between, number
from nprep.results.curves import KEY_SAMPLES
from nprep.results.reading import Run
from nprep.runs.protocols import CONFIDENCE, PROTOCOLS, published_of


def accuracy_table(run: Run, metric: str) -> HtmlTable:
    """The mean accuracy of each method after some numbers of samples."""
    methods: dict[str, Any] = run.summary["methods"]
    reached = {row["samples"] for method in methods.values() for row in method["curve"]}
    columns = [samples for samples in KEY_SAMPLES if samples in reached]
    draws = run.summary.get("draws")
    rows = []
    for name, method in methods.items():
        values = {row["samples"]: row[f"{metric}_mean"] for row in method["curve"]}
        between_draws = _spreads(run, name, metric)
        cells = [
            number(values.get(samples)) + between_draws.get(samples, "") for samples in columns
        ]
        final = method["final"][f"{metric}_mean"]
        rows.append((name, *cells, f"{number(final)} at {method['horizon']:,}"))
    return HtmlTable(
        f"Mean {metric} accuracy (%) over {run.run.get('trials')} trials, by trained networks."
        + (" ± is the standard deviation between draws of the model." if draws else ""),
        ("method", *(f"{samples:,}" for samples in columns), "end"),
        tuple(rows),
        wrap=draws is not None,
    )


def _spreads(run: Run, method: str, metric: str) -> dict[int, str]:
    """The standard deviation between draws as text, by number of samples; empty of one draw."""
    draws = run.summary.get("draws")
    if draws is None or method not in draws["methods"]:
        return {}
    return {
        row["samples"]: f" ±\u00a0{number(row[f'{metric}_mean']['std'])}"
        for row in draws["methods"][method]["curve"]
    }


def interval_table(run: Run) -> HtmlTable:
    """What each method ends with, how sure that is, and how many trials would make it surer."""
    rows = []
    widths: list[str] = []
    for method in run.summary["methods"].values():
        for width in method["final"].get("trials_for_test_interval_of_width", {}):
            if width not in widths:
                widths.append(width)
    for name, method in run.summary["methods"].items():
        final = method["final"]
        needed = final.get("trials_for_test_interval_of_width", {})
        rows.append(
            (
                name,
                f"{method['horizon']:,}",
                number(final["test_mean"], 3),
                between(final.get("test_mean_interval_95", (None, None)), 3),
                number(final["test_median"], 3),
                number(final["test_std"], 3),
                *(f"{needed[width]:,}" if width in needed else DASH for width in widths),
            )
        )
    return HtmlTable(
        f"Test accuracy (%) that {run.run.get('trials')} trials end with; 95 % intervals by "
        "bootstrap over trials; the number of trials that an interval of the mean of some width "
        "takes.",
        (
            "method",
            "samples",
            "mean",
            "95 % interval",
            "median",
            "standard deviation",
            *(f"trials for ±{float(width) / 2:g}" for width in widths),
        ),
        tuple(rows),
    )


def regret_table(run: Run) -> HtmlTable | None:
    """Mean regret along the curves; None where it is not known."""
    rows = []
    parts = []
    for key in ("regret", "regret_by_seconds"):
        content = run.summary.get(key)
        if not content or not content["methods"]:
            continue
        unit = "samples" if content["axis"] == "samples" else "s of training"
        span = f"{content['from']:,.0f} to {content['to']:,.0f} {unit}"
        parts.append(span)
        for method, values in content["methods"].items():
            cells = []
            for metric in ("test", "validation"):
                ends = between(values[f"{metric}_interval_95"], 3)
                cells.append(f"{number(values[f'{metric}_mean'], 3)} ({ends})")
            rows.append((method, span, *cells))
    if not rows:
        return None
    best = run.best
    return HtmlTable(
        "Area under the regret curve over its length, percentage points, with 95 % intervals: the "
        "mean distance to the best cell of the view on the way "
        f"(test {number(best.get('test'), 3)} %, mean validation "
        f"{number(best.get('validation'), 3)} %; a single run may lie above the best mean).",
        ("method", "over", "test", "validation"),
        tuple(rows),
    )


def wins_table(run: Run) -> HtmlTable | None:
    """How often a trial of one method ends better than one of another."""
    entries = run.summary.get("wins") or []
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        latest[entry["method"], entry["beats"]] = entry
    if not latest:
        return None
    return HtmlTable(
        "Probability that a trial of the first method has a better test accuracy than one of the "
        "second after as many samples, ties half; 95 % intervals by bootstrap over trials.",
        ("first", "second", "samples", "probability", "95 % interval"),
        tuple(
            (
                entry["method"],
                entry["beats"],
                f"{entry['samples']:,}",
                number(entry["probability"]),
                between(entry["interval_95"], 2),
            )
            for entry in latest.values()
        ),
        (1,),
    )


def published_table(run: Run) -> HtmlTable | None:
    """Published numbers of the run's protocol beside its own; None where there is none.

    A run whose rules differ from the protocol's by one option is not compared.
    """
    named = PROTOCOLS.get(run.rules.name)
    if named is None or run.rules != named.rules:
        return None
    series = {each.method: each for each in run.series}
    rows = []
    for published in published_of(run.rules, run.run.get("view", {})):
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
                f"{published.samples:,}" if published.samples else DASH,
                number(value, 3) if exact else f"{number(value, 3)} at {own.samples[at]:,}",
                number(published.percent, 3),
                f"{value - published.percent:+.3f}",
                CONFIDENCE[published.confidence],
                published.source,
            )
        )
    if not rows:
        return None
    return HtmlTable(
        f"Numbers published under the rules of {named.rules.name} ({named.source}).",
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
