"""The report's tables: numbers of ``summary.json`` and ``settings.json`` in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nprep.report.html import Table
from nprep.results.curves import KEY_SAMPLES
from nprep.results.reading import Run
from nprep.runs.protocols import CONFIDENCE, PROTOCOLS, in_words, label

_DASH = "–"


def share(value: float) -> str:
    """A probability in percent."""
    return f"{100 * value:.0f} %"


def duration(seconds: float | None) -> str:
    """A long time for people; "not reached" for None."""
    if seconds is None:
        return "not reached"
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s"


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


def interval_table(run: Run) -> Table:
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
                *(f"{needed[width]:,}" if width in needed else _DASH for width in widths),
            )
        )
    return Table(
        f"Test accuracy (%) that {run.run.get('trials')} trials end with; 95 % intervals by "
        "bootstrap over trials; the number of trials that an interval of the mean of some width "
        f"takes. {run.modelled(timed=False)}",
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


def regret_table(run: Run) -> Table | None:
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
    return Table(
        "Area under the regret curve over its length, percentage points, with 95 % intervals: the "
        "mean distance to the best cell of the view on the way "
        f"(test {number(best.get('test'), 3)} %, mean validation "
        f"{number(best.get('validation'), 3)} %; a single run may lie above the best mean). "
        + run.modelled(),
        ("method", "over", "test", "validation"),
        tuple(rows),
    )


def wins_table(run: Run) -> Table | None:
    """How often a trial of one method ends better than one of another."""
    entries = run.summary.get("wins") or []
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        latest[entry["method"], entry["beats"]] = entry
    if not latest:
        return None
    return Table(
        "Probability that a trial of the first method has a better test accuracy than one of the "
        "second after as many samples, ties half; 95 % intervals by bootstrap over trials. "
        + run.modelled(timed=False),
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


def clock_table(run: Run, target: float) -> Table:
    """Time by the clock until mean test accuracy reaches a target, by number of machines."""
    clock = run.summary["clock"]
    rows = []
    for method, entries in clock["methods"].items():
        cells = []
        for entry in entries:
            at = next(e for e in entry["test"] if abs(e["target_percent"] - target) < 1e-9)
            ends = at["seconds_interval_95"]
            text_ = duration(at["seconds"])
            if at["seconds"] is not None:
                high = "open" if ends[1] is None else duration(ends[1])
                text_ += f" ({duration(ends[0])} to {high})"
            cells.append(text_)
        rows.append((method, *cells))
    return Table(
        f"Simulated time by the clock until the mean test accuracy reaches {target:.2f} %, with "
        f"95 % intervals, by number of machines. {run.modelled()}",
        ("method", *(f"{workers:,}" for workers in clock["workers"])),
        tuple(rows),
    )


def busy_table(run: Run) -> Table:
    """How well methods use machines, and when they end."""
    clock = run.summary["clock"]
    rows = tuple(
        (
            method,
            *(
                f"{duration(entry['ends_mean_seconds'])}, {share(entry['busy_mean_share'])} busy"
                for entry in entries
            ),
        )
        for method, entries in clock["methods"].items()
    )
    return Table(
        "When a trial ends by the clock, and the share of the machines' time until then that they "
        f"train, by number of machines. {run.modelled()}",
        ("method", *(f"{workers:,}" for workers in clock["workers"])),
        rows,
    )


def part_words(part: str) -> str:
    """A part of the cells by their true accuracy in words: "above_91" is "above 91 %"."""
    return "all cells" if part == "all" else f"above {part.removeprefix('above_')} %"


def quality_table(content: dict[str, Any], where: str, part: str, source: str) -> Table:
    """Agreement of predictions with the truth, by the number of training cells.

    Args:
        content: Of a ``quality.json``.
        where: "test" or "view": on which cells.
        part: Which of them, a key of ``nprep.quality.experiment.PARTS``.
        source: A sentence on what is modelled.
    """
    keys = ["tau", "spearman", "mse", "r2"]
    rows = []
    tops: list[str] = []
    for row in content["mean_over_splits"]:
        for kind in ("one-stage", "two-stage"):
            for key in row[kind][where][part]:
                top = key.startswith("precision_at_") and not key.endswith("_standard_error")
                if top and key not in tops:
                    tops.append(key)
    for row in content["mean_over_splits"]:
        for kind in ("one-stage", "two-stage"):
            entry = row[kind][where][part]
            cells = []
            for key in (*keys, *tops):
                value, error = entry.get(key), entry.get(f"{key}_standard_error")
                text_ = number(value, 3)
                if value is not None and error is not None:
                    text_ += f" ± {number(error, 3)}"
                cells.append(text_)
            rows.append((f"N = {row['train_samples']:,}, {kind}", *cells))
    cells_are = {"test": "test cells", "view": "all cells of the view that were not learned from"}
    only = "" if part == "all" else f", those truly {part_words(part)} alone"
    splits = content["mean_over_splits"][0]["splits"] if content["mean_over_splits"] else 0
    return Table(
        f"Predictions against one training run of each cell: {cells_are[where]}{only}; means over "
        f"{splits} random splits and their standard errors; squared errors in squared percentage "
        f"points. {source}",
        (
            "predictor",
            "Kendall tau",
            "Spearman",
            "mean squared error",
            "R²",
            *(f"precision at {top.removeprefix('precision_at_')}" for top in tops),
        ),
        tuple(rows),
    )


def headline_table(run: Run) -> Table | None:
    """How much sooner predictors are where sequential methods end up; None without a pair."""
    rows = []
    for axis, comparisons in _comparisons(run).items():
        unit = "" if axis == "samples" else " s"
        for comparison in comparisons:
            for metric in ("test", "validation"):
                at = comparison.get(f"{metric}_at_baseline_{axis}")
                if at is None:
                    continue
                rows.append(
                    (
                        f"{comparison['predictor']} against {comparison['baseline']}",
                        metric,
                        number(at["target_percent"]),
                        f"{at[axis]:,.0f}{unit}",
                        _reached(at[f"predictor_{axis}"], unit),
                        _ratio(at),
                        _interval(at),
                    )
                )
    if not rows:
        return None
    return Table(
        "Samples, or seconds of training, after which the predictor has the mean accuracy that the "
        "baseline ends up with. Intervals: 95 %, bootstrap over trials. " + run.modelled(),
        (
            "methods",
            "accuracy",
            "target (%)",
            "baseline after",
            "predictor after",
            "ratio",
            "95 % interval",
        ),
        tuple(rows),
    )


def _comparisons(run: Run) -> dict[str, list[dict[str, Any]]]:
    """The comparisons of predictors and sequential methods, by samples and by seconds."""
    return {
        "samples": run.summary["speedups"],
        "seconds": run.summary.get("speedups_by_seconds", []),
    }


def headlines(run: Run) -> list[str]:
    """The main results in sentences: where predictors are when sequential methods end."""
    axis = "seconds" if run.rules.axis == "seconds" and _comparisons(run)["seconds"] else "samples"
    unit = "" if axis == "samples" else " s of training"
    words = " samples" if axis == "samples" else unit
    sentences = []
    for comparison in _comparisons(run)[axis]:
        at = comparison.get(f"test_at_baseline_{axis}")
        if at is None or at["ratio"] is None:
            continue
        sentences.append(
            f"{comparison['predictor']} reaches {at['target_percent']:.2f} % mean test accuracy, "
            f"where {comparison['baseline']} is after {at[axis]:,.0f}{words}, at "
            f"{_reached(at[f'predictor_{axis}'], unit)}: {number(at['ratio'], 1)} times sooner "
            f"(95 % interval {_interval(at)})."
        )
    return sentences


def _ratio(speedup: dict[str, Any]) -> str:
    """A ratio, or the bound that is known of it."""
    least = speedup.get("ratio_at_least")
    if speedup["ratio"] is None and least is not None:
        return f"over {number(least, 1)}"
    return number(speedup["ratio"], 1)


def _reached(cost: float | None, unit: str = "") -> str:
    return "not reached" if cost is None else f"{cost:,.0f}{unit}"


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
            _ratio(entry),
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
