"""What of a summary a person wants to read in a terminal."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from nprep._console import duration
from nprep.results.clock import KEY_SECONDS
from nprep.results.curves import KEY_SAMPLES
from nprep.search.registry import kind_of

_WIDTH = 100
# Which of the target accuracies are shown by the clock: 93.8 and 94 % of NASBench-101.
_CLOCK_PLACES = (6, 10)


def to_text(summary: dict[str, Any]) -> str:
    """Tables of the main results.

    Args:
        summary: The content of ``summary.json``.
    """
    protocol = summary["protocol"]
    lines = textwrap.wrap(f"protocol {protocol['label']}: {protocol['rules']}", _WIDTH)
    axis = protocol["axis"]
    by_seconds = axis == "seconds" and "speedups_by_seconds" in summary
    metrics = ("validation", "test") if protocol["shows"] == "regret" else ("test",)
    for metric in metrics:
        lines += ["", *_accuracies(summary, metric, by_seconds)]
    lines.append("")
    for comparison in summary["speedups_by_seconds" if by_seconds else "speedups"]:
        lines += _headline(comparison, "seconds" if by_seconds else "samples", summary)
    if not by_seconds:
        lines += _wins(summary)
    lines += ["", *_ends(summary["methods"])]
    if dips_in_words(summary):
        lines += ["", *textwrap.wrap(dips_in_words(summary), _WIDTH)]
    lines += _draws(summary.get("draws"))
    lines += _published(summary["published"])
    if "clock" in summary:
        lines += _clock(summary["clock"])
    # Where a part has nothing to say, the line before it goes too.
    shown = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    return "\n".join(shown).rstrip()


def _accuracies(summary: dict[str, Any], metric: str, by_seconds: bool) -> list[str]:
    """A table of means, or regrets of means, at round costs."""
    methods: dict[str, Any] = summary["methods"]
    axis, keys, rows_name = "samples", tuple(map(float, KEY_SAMPLES)), "curve"
    if by_seconds:
        axis, keys, rows_name = "seconds", KEY_SECONDS, "curve_by_seconds"
    reached = {float(row[axis]) for method in methods.values() for row in method[rows_name]}
    columns = [key for key in keys if key in reached and key not in (150.0, 300.0)]
    if 150.0 in reached and max(reached) <= 150:
        columns.append(150.0)
    regret = summary["protocol"]["shows"] == "regret" and "best_percent" in summary
    what = f"{metric} {'regret' if regret else 'accuracy'} (%) after"
    width = max(len(what), *(len(name) for name in methods))
    shown = [f"{key:.0e} s".replace("e+0", "e") if by_seconds else f"{key:,.0f}" for key in columns]
    lines = [what.ljust(width) + "".join(f"{text:>8}" for text in shown)]
    for name, method in methods.items():
        values = {float(row[axis]): row[f"{metric}_mean"] for row in method[rows_name]}
        cells = []
        for key in columns:
            value = values.get(key)
            if value is None:
                cells.append(f"{'':>8}")
            elif regret:
                cells.append(f"{summary['best_percent'][metric] - value:>8.3f}")
            else:
                cells.append(f"{value:>8.2f}")
        lines.append((name.ljust(width) + "".join(cells)).rstrip())
    return lines


def _cost(value: float, axis: str) -> str:
    return f"{value:,.0f} samples" if axis == "samples" else f"{value:,.0f} s of training"


def _headline(comparison: dict[str, Any], axis: str, summary: dict[str, Any]) -> list[str]:
    """Where a predictor is as good as a baseline at the end."""
    at = comparison[f"test_at_baseline_{axis}"]
    name, share = comparison["predictor"], at["resamples_in_which_predictor_reaches_it"]
    where = (
        f"{at['target_percent']:.2f} % test, where {comparison['baseline']} is after "
        f"{_cost(at[axis], axis)}"
    )
    if at["ratio"] is None:
        return [f"{name} does not reach {where}; {100 * share:.0f} % of its resamples do"]
    unit = "" if axis == "samples" else " s"
    lines = [
        f"{name} reaches {where}, after {_cost(at[f'predictor_{axis}'], axis)}: "
        f"{at[axis]:,.0f}{unit} / {at[f'predictor_{axis}']:,.0f}{unit} = {at['ratio']:.1f}, the "
        f"paper's way of counting ({_between(at)})"
    ]
    first = at["first_reach"]
    if first["ratio"] is not None:
        lines.append(
            f"  by first reach on both sides: {comparison['baseline']} gets there after "
            f"{_cost(first[f'baseline_{axis}'], axis)}, ratio {first['ratio']:.1f} "
            f"({_between(first)})"
        )
    return lines


def _between(at: dict[str, Any]) -> str:
    """The interval of a ratio in words."""
    share = at["resamples_in_which_predictor_reaches_it"]
    low, high = at["ratio_interval_95"]
    if low is not None:
        return f"95 % interval {low:.1f} to {'open' if high is None else f'{high:.1f}'}"
    never = f"{100 * (1 - share):.0f} % of its resamples never get there"
    return never if high is None else f"95 % interval open below, up to {high:.1f}: {never}"


def _wins(summary: dict[str, Any]) -> list[str]:
    """How often a predictor's trial beats a baseline's, after as many samples as both have."""
    methods = summary["methods"]
    lines = []
    for comparison in summary["speedups"]:
        pair = (comparison["predictor"], comparison["baseline"])
        rows = [row for row in summary["wins"] if {row["method"], row["beats"]} == set(pair)]
        # A predictor has nothing to show before its training samples are trained.
        rows = [row for row in rows if row["samples"] > methods[pair[0]]["train_samples"]]
        if not rows:
            continue
        row = max(rows, key=lambda row: int(row["samples"]))
        chance, (low, high) = row["probability"], row["interval_95"]
        if row["method"] != pair[0]:
            chance, low, high = 1 - chance, 1 - high, 1 - low
        lines.append(
            f"a trial of {pair[0]} beats one of {pair[1]} after {row['samples']:,} samples with "
            f"probability {chance:.2f} (95 % interval {low:.2f} to {high:.2f})"
        )
    return lines


def _ends(methods: dict[str, Any]) -> list[str]:
    """Intervals at the end of the curves, and the trials that narrower ones take."""
    title = "mean test accuracy (%) at the end"
    width = max(len(title), *(len(name) for name in methods))
    lines = [title.ljust(width) + f"{'95 % interval':>18}   trials for one 0.05 wide"]
    for name, method in methods.items():
        final = method["final"]
        needed = final.get("trials_for_test_interval_of_width", {}).get("0.05")
        low, high = final["test_mean_interval_95"]
        cells = (f"{final['test_mean']:>7.2f}", f"{f'{low:.2f} to {high:.2f}':>18}")
        trials = "" if needed is None else f"   {needed:,}"
        lines.append(name.ljust(width - 7) + "".join(cells) + trials)
    return lines


def dips_in_words(summary: dict[str, Any]) -> str:
    """Why mean curves dip, where they do; empty where they do not."""
    known = {
        name: method.get("trials_with_failed_best", 0)
        for name, method in summary["methods"].items()
        if method.get("kind", kind_of(name)) != "bound"
    }
    trials = summary.get("run", {}).get("trials")
    counts = [f"{name} in {n} of {trials} trials" for name, n in known.items() if n]
    if not counts:
        return ""
    return (
        "A mean curve gets worse where the best cell of a trial by validation has a failed run "
        f"(mean test below 80 %): {', '.join(counts)}. Medians (--band quartiles) do not."
    )


def _draws(draws: dict[str, Any] | None) -> list[str]:
    """How much the main numbers differ between draws of the modelled values."""
    if draws is None:
        return []
    needed = (draws["needed"] or {}).get("test", {})
    title = f"mean ± standard deviation of {draws['count']} draws"
    width = max(len(title), *(len(name) for name in draws["methods"]))
    head = ("test at the end", "samples needed", "paper's count", "first reach")
    lines = ["", title.ljust(width) + "".join(f"{name:>18}" for name in head)]
    for name, method in draws["methods"].items():
        entry = needed.get(name, {})
        cells = [
            _plus_minus(method["final"]["test_mean"], 2),
            _plus_minus(entry.get("samples"), 0),
            _plus_minus(entry.get("paper_ratio"), 1),
            _plus_minus(entry.get("first_reach_ratio"), 1),
        ]
        lines.append((name.ljust(width) + "".join(f"{cell:>18}" for cell in cells)).rstrip())
    return lines


def _plus_minus(statistics: dict[str, Any] | None, digits: int) -> str:
    """A mean over draws and the standard deviation between them."""
    if statistics is None or statistics["mean"] is None:
        return ""
    if statistics["missed"]:
        reached = len(statistics["values"]) - statistics["missed"]
        return f"on {reached} of {len(statistics['values'])}"
    spread = statistics["std"]
    end = "" if spread is None or math.isnan(spread) else f" ± {spread:,.{digits}f}"
    return f"{statistics['mean']:,.{digits}f}{end}"


def _published(numbers: list[dict[str, Any]]) -> list[str]:
    """What others report, beside what was found here."""
    rows = [number for number in numbers if number["here_percent"] is not None]
    lines = ["", "published under this protocol"] if rows else []
    for number in rows:
        after = f"after {number['samples']:,}" if number["samples"] else ""
        what = f"{number['method']}, {number['metric']} {after}".rstrip()
        lines.append(
            f"  {what:<36}{number['published_percent']:>7.2f}, here "
            f"{number['here_percent']:.2f} ({number['confidence'].split(': ')[1]})"
        )
    return lines


def _clock(clock: dict[str, Any]) -> list[str]:
    """Times to accuracies by number of machines."""
    lines = []
    (first, *_), *_ = clock["methods"].values()
    targets = [row["target_percent"] for row in first["test"]]
    for target in sorted({targets[min(place, len(targets) - 1)] for place in _CLOCK_PLACES}):
        title = f"time to {target:.2f} % test with"
        width = max(len(title), *(len(name) + 2 for name in clock["methods"]))
        head = "".join(f"{f'{workers:,}':>15}" for workers in clock["workers"])
        lines += ["", title.ljust(width) + head + "  machines"]
        for name, entries in clock["methods"].items():
            cells = []
            for entry in entries:
                (at,) = (row for row in entry["test"] if row["target_percent"] == target)
                seconds = at["seconds"]
                cells.append("not reached" if seconds is None else format_days(seconds))
            lines.append(f"  {name}".ljust(width) + "".join(f"{cell:>15}" for cell in cells))
    return lines


def format_days(seconds: float) -> str:
    """A long duration for people: "3.2 d", "5.1 h", else as ``duration``."""
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:,.1f} d"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return duration(seconds)
