"""Searches on many machines by the simulated clock, beside a plain Python event loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.common import record
from nprep.kernels.numeric.ranks import count_inversions
from nprep.search.baselines import RegularizedEvolution
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.table.view import View
from tests.search.naive_evolution import evolve_by_events

EVOLUTION = "asynchronous evolution, 500 trials of 10,000 samples, 100 machines"
INVERSIONS = "pairs in disorder of 423,624 values"


def test_plain_event_loop(benchmark: Any, view: View, smoke: bool) -> None:
    samples = 200 if smoke else 2000
    record(benchmark, EVOLUTION, baseline=True, items=samples, unit=samples / 10_000 / 500)
    benchmark.pedantic(
        evolve_by_events,
        (
            view,
            RegularizedEvolution(),
            trial_seed(0, "evolution", 0),
            samples,
            ReplayProtocol(),
            100,
        ),
        rounds=1 if smoke else 3,
    )


@pytest.mark.parametrize("workers", [1, 100, 1000])
def test_concurrent_evolution(benchmark: Any, view: View, workers: int, smoke: bool) -> None:
    trials, samples = (2, 1000) if smoke else (500, 10_000)
    path = EVOLUTION if workers == 100 else EVOLUTION.replace("100 machines", f"{workers}")
    record(benchmark, path, items=trials * samples)
    seeds = [trial_seed(0, "evolution", trial) for trial in range(trials)]
    benchmark.pedantic(
        RegularizedEvolution().run_concurrently,
        (view, seeds, samples, ReplayProtocol(), workers),
        rounds=1 if smoke else 3,
        warmup_rounds=1,
    )


def test_plain_inversions(benchmark: Any) -> None:
    values = np.random.default_rng(0).permutation(3000).astype(np.float64)
    record(benchmark, INVERSIONS, baseline=True, items=3000, unit=(3000 / 423_624) ** 2)
    benchmark.pedantic(
        lambda: sum(int((values[i] > values[i + 1 :]).sum()) for i in range(len(values))), rounds=3
    )


def test_inversions(benchmark: Any) -> None:
    values = np.random.default_rng(0).permutation(423_624).astype(np.float64)
    record(benchmark, INVERSIONS, items=423_624)
    benchmark.pedantic(count_inversions, (values,), rounds=3, warmup_rounds=1)
