"""Numbers as words, for tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

DASH = "–"


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
        return DASH
    return f"{value:,.{digits}f}"


def between(ends: Sequence[float | None], digits: int = 1) -> str:
    """An interval, either end of which may be open."""
    low, high = ("open" if end is None else number(end, digits) for end in ends)
    return f"{low} to {high}"


def part_words(part: str) -> str:
    """A part of the cells by their true accuracy in words: "above_91" is "above 91 %"."""
    return "all cells" if part == "all" else f"above {part.removeprefix('above_')} %"


def count(cost: float | None, unit: str = "") -> str:
    """A number of samples or seconds; None is what a curve does not get to."""
    return "not reached" if cost is None else f"{cost:,.0f}{unit}"


def range_of(ends: Sequence[float | None], digits: int = 0) -> str:
    """An interval with thousands separated; a dash where nothing at all is known of it."""
    return DASH if list(ends) == [None, None] else between(ends, digits)


def ratio(entry: dict[str, Any]) -> str:
    """A ratio of ``summary.json``, or the bound that is known of it."""
    least = entry.get("ratio_at_least")
    if entry["ratio"] is None and least is not None:
        return f"over {number(least, 1)}"
    return number(entry["ratio"], 1)


def with_spread(statistics: dict[str, Any] | None, digits: int = 2) -> str:
    """A mean over draws, its standard deviation between them, and the range."""
    if statistics is None or statistics.get("mean") is None:
        return DASH
    known = [value for value in statistics["values"] if value is not None]
    ends = f"{number(min(known), digits)} to {number(max(known), digits)}"
    if statistics["missed"]:
        # A mean of those that get there would flatter.
        return f"on {len(known)} of {len(statistics['values'])} draws alone: {ends}"
    return (
        f"{number(statistics['mean'], digits)} ±\u00a0{number(statistics['std'], digits)} ({ends})"
    )
