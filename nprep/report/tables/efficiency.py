"""Tables of sample efficiency: who needs how much for which accuracy."""

from __future__ import annotations

from typing import Any

from nprep.report.html import HtmlTable
from nprep.report.words import DASH, between, count, number, range_of, ratio, with_spread
from nprep.results.reading import Run


def axis_of(run: Run) -> str:
    """What the answer is given in: "samples", or "seconds" where the protocol counts those."""
    known = run.rules.axis == "seconds" and run.summary.get("needed_by_seconds")
    return "seconds" if known else "samples"


def needed_by(run: Run) -> dict[str, Any] | None:
    """What each method needs for the reference's accuracy; None where there is no reference."""
    key = {"samples": "needed", "seconds": "needed_by_seconds"}[axis_of(run)]
    found: dict[str, Any] | None = run.summary.get(key)
    return found


def answer_table(run: Run) -> HtmlTable | None:
    """What each method needs for the accuracy of the reference; None without a reference."""
    needed, axis = needed_by(run), axis_of(run)
    if needed is None:
        return None
    unit = "" if axis == "samples" else " s"
    reference, cost = needed["reference"], f"{needed[axis]:,.0f}{unit}"
    entries: dict[str, Any] = needed["test"]["methods"]
    order = sorted(entries, key=lambda m: (entries[m][axis] is None, entries[m][axis] or 0.0))
    rows = []
    for method in order:
        entry = entries[method]
        final = run.summary["methods"][method]["final"]
        ends = between(final["test_mean_interval_95"], 2)
        is_reference = method == reference
        rows.append(
            (
                method,
                _with_range(count(entry[axis], unit), entry["interval_95"]),
                DASH if is_reference else _ratio(entry, "paper_ratio"),
                DASH if is_reference else _ratio(entry, "first_reach_ratio"),
                f"{number(final['test_mean'])} ({ends})",
                f"{final['samples']:,}",
            )
        )
    target = number(needed["test"]["target_percent"])
    return HtmlTable(
        f"{axis.capitalize()} until the mean test accuracy first reaches {target} %, where "
        f"{reference} is after {cost}. The paper divides {cost} by them; by first reach, what "
        f"{reference} itself needs is divided by them. In brackets: 95 % intervals, bootstrap over "
        "the trials of both methods.",
        (
            "method",
            f"{axis} for {target} %",
            f"{cost} / {axis} (the paper's count)",
            "ratio by first reach",
            "test accuracy at the end (%)",
            "samples then",
        ),
        tuple(rows),
    )


def _with_range(text: str, ends: list[float | None], digits: int = 0) -> str:
    return text if text == "not reached" else f"{text} ({range_of(ends, digits)})"


def _ratio(entry: dict[str, Any], key: str) -> str:
    """A ratio and its interval."""
    if entry[key] is None:
        return DASH
    return f"{number(entry[key], 1)} ({range_of(entry[f'{key}_interval_95'], 1)})"


def answer_sentences(run: Run) -> list[str]:
    """The main results in sentences: where predictors are when the reference ends."""
    needed, axis = needed_by(run), axis_of(run)
    if needed is None:
        return []
    words = " samples" if axis == "samples" else " s of training"
    reference, cost = needed["reference"], needed[axis]
    entries, target = needed["test"]["methods"], number(needed["test"]["target_percent"])
    first = entries[reference][axis]
    sentences = []
    for method, entry in entries.items():
        if not run.summary["methods"][method]["train_samples"]:
            continue
        where = f"{target} % mean test accuracy, where {reference} is after {cost:,.0f}{words}"
        if entry[axis] is None:
            share = 100 * entry["resamples_that_reach_it"]
            sentences.append(f"{method} does not reach {where}; {share:.0f} % of its resamples do.")
            continue
        sentence = (
            f"{method} reaches {where}, after {entry[axis]:,.0f} (95 % interval "
            f"{range_of(entry['interval_95'])}). The paper's way of counting: {cost:,.0f} / "
            f"{entry[axis]:,.0f} = {number(entry['paper_ratio'], 1)} "
            f"({range_of(entry['paper_ratio_interval_95'], 1)})."
        )
        if entry["first_reach_ratio"] is not None:
            sentence += (
                f" {reference} itself first gets there after {first:,.0f}: ratio "
                f"{number(entry['first_reach_ratio'], 1)} "
                f"({range_of(entry['first_reach_ratio_interval_95'], 1)})."
            )
        sentences.append(sentence)
    return sentences


def draws_table(run: Run) -> HtmlTable | None:
    """The answer on several draws of the model; None where there is one draw."""
    draws: dict[str, Any] | None = run.summary.get("draws")
    if draws is None or not draws.get("needed"):
        return None
    rows = []
    for method, entry in draws["needed"]["test"].items():
        rows.append(
            (
                method,
                with_spread(entry["samples"], 0),
                with_spread(entry["paper_ratio"], 1),
                with_spread(entry["first_reach_ratio"], 1),
                with_spread(draws["methods"][method]["final"]["test_mean"], 2),
            )
        )
    trials = ", ".join(f"{n:,}" for n in draws["trials"])
    return HtmlTable(
        f"The same on {draws['count']} draws of what the model completes (trials on each: "
        f"{trials}): mean over draws ± standard deviation between them, then the least and the "
        "most.",
        (
            "method",
            "samples",
            "paper's count",
            "ratio by first reach",
            "test accuracy at the end (%)",
        ),
        tuple(rows),
        wrap=True,
    )


def headline_table(run: Run) -> HtmlTable | None:
    """What predictors need for what sequential methods end up with; None without a pair."""
    rows = []
    for axis, comparisons in _comparisons(run).items():
        unit = "" if axis == "samples" else " s"
        for comparison in comparisons:
            for metric in ("test", "validation"):
                at = comparison.get(f"{metric}_at_baseline_{axis}")
                if at is None:
                    continue
                first = at.get("first_reach")
                rows.append(
                    (
                        f"{comparison['predictor']} against {comparison['baseline']}",
                        metric,
                        number(at["target_percent"]),
                        f"{at[axis]:,.0f}{unit}",
                        count(at[f"predictor_{axis}"], unit),
                        f"{ratio(at)} ({range_of(at['ratio_interval_95'], 1)})",
                        DASH if first is None else count(first[f"baseline_{axis}"], unit),
                        DASH
                        if first is None
                        else f"{ratio(first)} ({range_of(first['ratio_interval_95'], 1)})",
                    )
                )
    if not rows:
        return None
    return HtmlTable(
        "Samples, or seconds of training, after which the predictor has the mean accuracy that the "
        "baseline ends up with. The paper's count divides the baseline's budget; by first reach, "
        "what the baseline itself needs is divided. In brackets: 95 % intervals, bootstrap over "
        "trials.",
        (
            "methods",
            "accuracy",
            "target (%)",
            "baseline's budget",
            "predictor after",
            "paper's count",
            "baseline first there",
            "by first reach",
        ),
        tuple(rows),
    )


def _comparisons(run: Run) -> dict[str, list[dict[str, Any]]]:
    """The comparisons of predictors and sequential methods, by samples and by seconds."""
    return {
        "samples": run.summary["speedups"],
        "seconds": run.summary.get("speedups_by_seconds", []),
    }


def target_table(comparison: dict[str, Any], metric: str) -> HtmlTable:
    """The speed-up of one pair of methods at each target accuracy."""
    rows = tuple(
        (
            number(entry["target_percent"]),
            count(entry["predictor_samples"]),
            count(entry["baseline_samples"]),
            ratio(entry),
            range_of(entry["ratio_interval_95"], 1),
        )
        for entry in comparison[metric]
    )
    return HtmlTable(
        f"{comparison['predictor']} against {comparison['baseline']}: samples until the mean "
        f"{metric} accuracy first reaches each target.",
        (
            "target (%)",
            comparison["predictor"],
            comparison["baseline"],
            "ratio",
            "95 % interval",
        ),
        rows,
    )
