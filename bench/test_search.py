"""Regularized evolution in the compiled loop, beside a plain Python one; the plan of the space."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.common import CORES, first, record
from nprep.predictor.plan import SharingPlan
from nprep.predictor.plan_store import stored_plan
from nprep.search.baselines import RegularizedEvolution
from nprep.search.method import SearcherMethod
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.spaces.nb101.cells import CellBatch
from nprep.table.view import View
from tests.search.naive_evolution import NaiveEvolution

EVOLUTION = "regularized evolution, 500 trials of 10,000 samples"


def test_plain_evolution(benchmark: Any, view: View, smoke: bool) -> None:
    samples = 200 if smoke else 2000
    method = SearcherMethod(
        "plain", lambda v, rng: NaiveEvolution(v, rng, RegularizedEvolution(), ReplayProtocol())
    )
    unit = samples / 10_000 / 500
    record(benchmark, EVOLUTION, baseline=True, items=samples, unit=unit)
    seeds = [trial_seed(0, "evolution", 0)]
    benchmark.pedantic(
        method.run_block, (view, seeds, samples, ReplayProtocol()), rounds=1 if smoke else 3
    )


@pytest.mark.parametrize("threads", sorted({1, CORES}), ids=lambda n: f"{n} threads")
def test_evolution(benchmark: Any, view: View, threads: int, smoke: bool) -> None:
    trials, samples = (2, 1000) if smoke else (500, 10_000)
    method = RegularizedEvolution()
    record(benchmark, EVOLUTION, items=trials * samples, cores=threads)
    benchmark.name = f"test_compiled_on_{threads}_threads"
    seeds = [trial_seed(0, "evolution", trial) for trial in range(trials)]

    def run() -> None:
        blocks = np.array_split(np.arange(trials), 10 * threads)
        with ThreadPoolExecutor(threads) as pool:
            for future in [
                pool.submit(
                    method.run_block, view, [seeds[t] for t in block], samples, ReplayProtocol()
                )
                for block in blocks
                if len(block)
            ]:
                future.result()

    benchmark.pedantic(run, rounds=1 if smoke else 3, warmup_rounds=1)


def test_build_plan(benchmark: Any, space: CellBatch, size: int) -> None:
    cells = first(space, size)
    record(benchmark, f"plan of {size:,} cells", baseline=True, items=size)
    benchmark.pedantic(SharingPlan.build, (cells,), rounds=3, warmup_rounds=1)


def test_load_plan(benchmark: Any, space: CellBatch, size: int, tmp_path: Path) -> None:
    cells = first(space, size)
    record(benchmark, f"plan of {size:,} cells", items=size)
    stored_plan(cells, "row", 3, tmp_path)
    benchmark.extra_info["file_bytes"] = sum(path.stat().st_size for path in tmp_path.iterdir())
    benchmark.pedantic(stored_plan, (cells, "row", 3, tmp_path), rounds=5, warmup_rounds=1)
