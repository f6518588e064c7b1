"""How time and memory grow, measured and drawn: trials, cells, training samples, width.

    python -m bench.growth FIGURE.svg [--smoke]

Processor seconds of one thread, medians of three; training is timed for a few epochs and scaled to
100. Prints the numbers as a table and draws them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from bench.common import first, paper_weights
from nprep.predictor.gcn import train
from nprep.predictor.plan import SharingPlan
from nprep.predictor.schedule import Schedule
from nprep.predictor.settings import WIDTHS, GcnSettings
from nprep.spaces.nb101.cells import CellBatch, enumerate_space

_EPOCHS = 5


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """Median processor seconds after one call to warm up."""
    call()
    used = []
    for _ in range(repeats):
        begin = time.thread_time()
        call()
        used.append(time.thread_time() - begin)
    return float(np.median(used))


def training(cells: CellBatch, samples: int, width: int, repeats: int) -> float:
    """Seconds of 100 epochs."""
    labels = np.random.default_rng(0).normal(0.92, 0.01, samples).astype(np.float32)
    settings = replace(GcnSettings(width=width), epochs=_EPOCHS)
    some, seed = first(cells, samples), np.random.SeedSequence(0)
    took = seconds_of(lambda: train(some, labels, settings, seed), repeats)
    return took * 100 / _EPOCHS


def megabytes(plan: SharingPlan, width: int) -> tuple[float, float]:
    """Of a plan, which all processes share, and of the buffers of one that uses it."""
    shared = sum(getattr(part, f.name).nbytes for part in plan.parts for f in fields(Schedule))
    slots = max(int(part.slots.sum()) for part in plan.parts)
    return shared / 1e6, slots * 2 * width * 4 / 1e6


def main(arguments: list[str]) -> int:
    """Measures, prints and draws."""
    paths = [Path(argument) for argument in arguments if argument != "--smoke"]
    if len(paths) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    smoke = "--smoke" in arguments
    repeats = 1 if smoke else 3
    space = enumerate_space()[0]
    cells = space.take(np.random.default_rng(0).permutation(len(space)))
    sizes = (1_000, 10_000) if smoke else (1_000, 10_000, 100_000, len(cells))
    widths = (48, 144) if smoke else tuple(WIDTHS.values())
    counts = (43, 172) if smoke else tuple(WIDTHS)
    print("| grows | value | seconds | MB shared | MB of a process |\n|---|---|---|---|---|")
    lines: dict[str, list[tuple[float, float]]] = {}
    memory_of: dict[str, list[tuple[float, float, float]]] = {}

    def note(grows: str, value: float, took: float, memory: tuple[float, float] | None) -> None:
        lines.setdefault(grows, []).append((value, took))
        if memory is not None:
            memory_of.setdefault(grows, []).append((value, *memory))
        shown = "| |" if memory is None else f"{memory[0]:.1f} | {memory[1]:.1f} |"
        print(f"| {grows} | {value:,} | {took:.3g} | {shown}", flush=True)

    weights = paper_weights()
    plan = SharingPlan.build(first(cells, sizes[0]))
    for size in sizes:
        plan = SharingPlan.build(first(cells, size))
        took = seconds_of(lambda plan=plan: plan.outputs(weights), repeats)  # type: ignore[misc] # bound now
        note("cells predicted, width 144", size, took, megabytes(plan, 144))
    whole, one = lines["cells predicted, width 144"][-1][1], training(cells, 172, 144, repeats)
    for width in widths:
        other = paper_weights(settings=GcnSettings(width=width))
        took = seconds_of(lambda other=other: plan.outputs(other), repeats)  # type: ignore[misc] # likewise
        note(f"width, {len(plan):,} cells predicted", width, took, megabytes(plan, width))
    for width in widths:
        note("width, trained on 172 cells", width, training(cells, 172, width, repeats), None)
    for count in counts:
        note("cells trained on, width 144", count, training(cells, count, 144, repeats), None)
    for trials in (1, 2, 4):
        seeds = np.random.SeedSequence(0).spawn(2 * trials)
        labels = np.random.default_rng(0).normal(0.92, 0.01, 172).astype(np.float32)
        settings = replace(GcnSettings(width=144), epochs=_EPOCHS)
        begin = time.thread_time()
        for seed in seeds:
            train(first(cells, 172), labels, settings, seed)
        trained = (time.thread_time() - begin) * 100 / _EPOCHS
        note("trials, two trainings and a space each", trials, trained + trials * whole, None)
    print(f"one training of N = 172: {one:.2f} s; the space once: {whole:.2f} s")
    draw(lines, memory_of, paths[0])
    return 0


def draw(
    lines: dict[str, list[tuple[float, float]]],
    memory_of: dict[str, list[tuple[float, float, float]]],
    path: Path,
) -> None:
    """One panel for the time of each thing that grows, then for memory; all axes logarithmic.

    Args:
        lines: Values and seconds of each.
        memory_of: Values, megabytes that processes share, and megabytes of each process.
        path: Of the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    columns = -(-(len(lines) + len(memory_of)) // 2)
    panels = list(figure.subplots(2, columns).flat)
    for panel, (grows, points) in zip(panels, lines.items(), strict=False):
        values, seconds = zip(*points, strict=True)
        panel.loglog(values, seconds, "o-", markersize=4)
        panel.set_xlabel(grows.replace(", ", ",\n"), fontsize=8)
        panel.set_ylabel("processor seconds", fontsize=8)
    for panel, (grows, rows) in zip(panels[len(lines) :], memory_of.items(), strict=False):
        values, shared, own = zip(*rows, strict=True)
        panel.loglog(values, shared, "o-", markersize=4, label="plan, shared")
        panel.loglog(values, own, "s--", markersize=4, label="buffers of a process")
        panel.set_xlabel(grows.replace(", ", ",\n"), fontsize=8)
        panel.set_ylabel("MB", fontsize=8)
        panel.legend(fontsize=6)
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    for panel in panels:
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if axis is panel.yaxis else (1, 3)))
            axis.set_major_formatter(plain)
            axis.set_minor_formatter(NullFormatter())
        panel.tick_params(labelsize=6)
        panel.grid(True, which="major", linewidth=0.4)
    # Few trials: their numbers fit.
    trials = [value for value, _ in next(reversed(lines.values()))]
    panels[len(lines) - 1].set_xticks(trials, [f"{value:g}" for value in trials])
    for panel in panels[len(lines) + len(memory_of) :]:
        panel.set_axis_off()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
