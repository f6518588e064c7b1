"""Tables of time by the clock, by number of machines."""

from __future__ import annotations

from nprep.report.html import HtmlTable
from nprep.report.words import duration, share
from nprep.results.reading import Run


def clock_table(run: Run, target: float) -> HtmlTable:
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
    return HtmlTable(
        f"Simulated time by the clock until the mean test accuracy reaches {target:.2f} %, with "
        f"95 % intervals, by number of machines.",
        ("method", *(f"{workers:,}" for workers in clock["workers"])),
        tuple(rows),
    )


def busy_table(run: Run) -> HtmlTable:
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
    return HtmlTable(
        "When a trial ends by the clock, and the share of the machines' time until then that they "
        "train, by number of machines.",
        ("method", *(f"{workers:,}" for workers in clock["workers"])),
        rows,
    )
