"""What benchmarks share beside fixtures: sizes, predictors, notes, the machine's limits."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.numeric.gemm import gemm
from nprep.kernels.numeric.rng import seed_state
from nprep.predictor.gcn import GcnWeights, initial_parameters
from nprep.predictor.labels import LabelScale
from nprep.predictor.settings import GcnSettings
from nprep.spaces.nb101.cells import CellBatch

WHOLE = 423_624
SIZES = (1_000, 10_000, 100_000, WHOLE)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def first(cells: CellBatch, size: int) -> CellBatch:
    """The first cells of a batch."""
    return cells.take(np.arange(min(size, len(cells))))


def paper_weights(seed: int = 0, settings: GcnSettings | None = None) -> GcnWeights:
    """An untrained predictor with the paper's sizes: time does not depend on training."""
    chosen = (settings or GcnSettings()).for_samples(172)
    parameters = initial_parameters(chosen, 5, seed_state(np.random.SeedSequence(seed)))
    return GcnWeights(parameters, 5, chosen, LabelScale("score"), np.zeros(0))


def record(
    benchmark: Any,
    path: str,
    baseline: bool = False,
    flops: float = 0.0,
    bytes_moved: float = 0.0,
    items: float = 0.0,
    cores: int = 1,
    unit: float = 1.0,
) -> None:
    """Notes what a benchmark did.

    Args:
        benchmark: The fixture.
        path: Name of the hot path and size; a baseline and what it is for have the same one.
        baseline: Whether this is the baseline.
        flops: Floating-point operations of one round.
        bytes_moved: Bytes that one round must read and write at least.
        items: Cells, steps or samples of one round.
        cores: Cores that it may use.
        unit: What share of the baseline's work was done, where it is too slow to do all.
    """
    benchmark.group = path
    benchmark.extra_info.update(
        path=path, baseline=baseline, flops=flops, bytes=bytes_moved, items=items, cores=cores,
        unit=unit,
    )  # fmt: skip


def best_of(call: Callable[[], object], repeats: int = 9) -> float:
    """Least seconds of a call."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure_machine() -> dict[str, Any]:
    """The limits of one core: the fastest matrix product and copy that are found here."""
    rng = np.random.default_rng(0)

    def random(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    a, b, c = random(96, 256), random(256, 32), np.empty((96, 32), np.float32)

    def many() -> None:
        for _ in range(100):
            gemm(a, b, c)

    # In the first-level cache: the arithmetic and nothing else.
    peak = 100 * 2 * 96 * 256 * 32 / best_of(many)
    source, target = random(64 << 20), np.empty(64 << 20, np.float32)
    copied = 2 * source.nbytes / best_of(lambda: np.copyto(target, source), 5)
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "cores": CORES,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "peak_gflops": peak / 1e9,
        "copy_gbytes": copied / 1e9,
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
