"""Tables from the JSON of a benchmark run.

python -m pytest bench --benchmark-json=run.json
python -m bench.results run.json            # prints a dated section for bench/RESULTS.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One benchmark.

    Attributes:
        path: What is done, and to how much.
        name: Name of the benchmark.
        seconds: Median of a round; of the whole work where a baseline did a share of it.
        baseline: Whether it is the baseline of its path.
        ratio: How many times faster than the baseline; None without one.
        items: Items a second; None if not counted.
        compute: Share of the measured peak of the cores that it may use; None if not counted.
        memory: Share of the measured copy bandwidth; None if not counted.
    """

    path: str
    name: str
    seconds: float
    baseline: bool
    ratio: float | None
    items: float | None
    compute: float | None
    memory: float | None


def rows_of(benchmarks: Sequence[dict[str, Any]], limits: dict[str, Any]) -> list[Row]:
    """Rows in order of their paths' first appearance, baselines first.

    Args:
        benchmarks: As in pytest-benchmark's JSON.
        limits: What ``bench/conftest.py`` measured.
    """
    seconds = [b["stats"]["median"] / b["extra_info"]["unit"] for b in benchmarks]
    baselines = {
        b["extra_info"]["path"]: s
        for b, s in zip(benchmarks, seconds, strict=True)
        if b["extra_info"]["baseline"]
    }
    rows = []
    for bench, took in zip(benchmarks, seconds, strict=True):
        info = bench["extra_info"]
        base = baselines.get(info["path"])
        cores, unit = info["cores"], info["unit"]
        peak, copied = 1e9 * limits["peak_gflops"] * cores, 1e9 * limits["copy_gbytes"]
        rows.append(
            Row(
                path=info["path"],
                name=bench["name"].removeprefix("test_").split("[")[0].replace("_", " "),
                seconds=took,
                baseline=info["baseline"],
                ratio=None if base is None or info["baseline"] else base / took,
                items=info["items"] / unit / took if info["items"] else None,
                compute=info["flops"] / unit / took / peak if info["flops"] else None,
                memory=info["bytes"] / unit / took / copied if info["bytes"] else None,
            )
        )
    order = list(dict.fromkeys(row.path for row in rows))
    return sorted(rows, key=lambda row: (order.index(row.path), not row.baseline))


def format_time(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _cells(row: Row) -> list[str]:
    return [
        row.path,
        f"{row.name} (baseline)" if row.baseline else row.name,
        format_time(row.seconds),
        "" if row.ratio is None else f"{row.ratio:.3g}x",
        "" if row.items is None else f"{row.items:,.0f}",
        "" if row.compute is None else f"{row.compute:.0%}",
        "" if row.memory is None else f"{row.memory:.0%}",
    ]


_HEAD = ["path", "how", "median", "faster", "items / s", "of peak", "of copy bandwidth"]


def to_markdown(rows: Sequence[Row]) -> str:
    """A table."""
    lines = [_HEAD, ["---"] * len(_HEAD), *(_cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def to_text(rows: Sequence[Row], limits: dict[str, Any]) -> str:
    """Aligned columns for a terminal."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(_HEAD))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([limits_line([limits]), "", *text])


def limits_line(measured: Sequence[dict[str, Any]]) -> str:
    """The machine and what was measured of it, in one run or in several."""

    def span(name: str) -> str:
        values = sorted({f"{limits[name]:.0f}" for limits in measured})
        return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"

    limits = measured[0]
    return (
        f"{limits['processor']}, {limits['cores']} cores, {limits['system']}, Python "
        f"{limits['python']}; measured in the same run, one core: matrix products "
        f"{span('peak_gflops')} GFLOP/s in float32, copies {span('copy_gbytes')} GB/s (read and "
        "write)."
    )


def main(argv: Sequence[str]) -> int:
    """Prints one section for a run, which may have been cut into several files."""
    if not argv:
        print(__doc__, file=sys.stderr)
        return 2
    runs = [json.loads(Path(name).read_text()) for name in argv]
    rows = [
        row
        for run in runs
        for row in rows_of([b for b in run["benchmarks"] if b["extra_info"]], run["limits"])
    ]
    print(f"## {runs[0]['datetime'][:10]}\n")
    print(f"{limits_line([run['limits'] for run in runs])}\n")
    print(to_markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
