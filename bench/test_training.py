"""Training of the paper's predictor (N = 172, 300 epochs): the compiled loop beside eager PyTorch.

Every benchmark trains a part of the epochs and its time is scaled to all 300: the work of an epoch
is always the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.common import CORES, paper_weights, record
from nprep.errors import MissingDependencyError
from nprep.predictor.backends.base import TrainingTask
from nprep.predictor.backends.make import make_backend
from nprep.predictor.settings import GcnSettings
from nprep.spaces.nb101.cells import CellBatch

SAMPLES, EPOCHS, WIDTH, HIDDEN = 172, 300, 144, 128
PAPER = GcnSettings(width=WIDTH, head=(HIDDEN,), epochs=EPOCHS)


def flops_of(cells: CellBatch) -> float:
    """Operations of the matrix products of one predictor: forward, and twice as many backward."""
    nodes = float(cells.num_vertices.sum())
    layers = 3 * 2 * nodes * WIDTH * 2 * WIDTH * (PAPER.layers - 1)
    return EPOCHS * (layers + 3 * 2 * len(cells) * (WIDTH * HIDDEN + HIDDEN))


def sample(shuffled: CellBatch, number: int) -> CellBatch:
    return shuffled.take(np.arange(SAMPLES * number, SAMPLES * (number + 1)))


def labels() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0.92, 0.01, SAMPLES).astype(np.float32)


def path_of(trials: int) -> str:
    return f"train {trials} predictor{'s' if trials > 1 else ''}, each"


def test_eager_torch(benchmark: Any, shuffled: CellBatch, trials: int, smoke: bool) -> None:
    torch = pytest.importorskip("torch")
    from bench.dense_torch import train_eager

    torch.set_flush_denormal(True)
    part = 1 if smoke else 6
    # One trial after another: eager PyTorch has no cheaper way, so one stands for all.
    record(
        benchmark, path_of(trials), baseline=True, flops=flops_of(sample(shuffled, 0)) * part / 300,
        cores=CORES, unit=part / EPOCHS,
    )  # fmt: skip
    targets = labels()
    benchmark.pedantic(
        train_eager,
        (paper_weights(), sample(shuffled, 0), (targets - 0.92) / 0.01, part, EPOCHS),
        rounds=1 if smoke else 3,
    )


@pytest.mark.parametrize("threads", sorted({1, CORES}), ids=lambda n: f"{n} threads")
def test_numba(benchmark: Any, shuffled: CellBatch, trials: int, threads: int, smoke: bool) -> None:
    if trials == 1 and threads > 1:
        pytest.skip("one predictor trains on one core")
    epochs = 1 if smoke else {1: 300, 10: 60, 100: 12}[trials]
    settings = replace(PAPER, epochs=epochs)
    backend = make_backend("numba")
    tasks = [
        TrainingTask(sample(shuffled, n), labels(), settings, np.random.SeedSequence(n))
        for n in range(trials)
    ]
    unit = trials * epochs / EPOCHS
    record(
        benchmark, path_of(trials), flops=flops_of(sample(shuffled, 0)) * unit, cores=threads,
        unit=unit,
    )  # fmt: skip
    benchmark.name = f"test_numba_on_{threads}_threads"

    def block() -> None:
        # As the processes of a replay do: each core takes trials of its own.
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda task: backend.train([task]), tasks))

    benchmark.pedantic(block, rounds=1 if smoke else 3, warmup_rounds=0 if smoke else 1)


@pytest.mark.parametrize("choice", ["cupy", "cupy:tf32"])
def test_backend(
    benchmark: Any, shuffled: CellBatch, trials: int, choice: str, smoke: bool
) -> None:
    try:
        backend = make_backend(choice)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    tasks = [
        TrainingTask(sample(shuffled, n), labels(), PAPER, np.random.SeedSequence(n))
        for n in range(trials)
    ]
    record(
        benchmark, path_of(trials), flops=flops_of(sample(shuffled, 0)) * trials, cores=1,
        unit=trials,
    )  # fmt: skip
    benchmark.name = f"test_backend_{choice}"
    benchmark.pedantic(backend.train, (tasks,), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("flushed", [True, False], ids=["flushed", "as they are"])
def test_denormal_numbers(benchmark: Any, flushed: bool, smoke: bool) -> None:
    """What flushing denormals is for: an optimiser step on parameters that decay has made tiny."""
    from nprep.kernels.numeric.adam import adam_step, adam_update
    from nprep.kernels.numeric.float_mode import flush_denormals, restore_mode

    count = 102_944
    arrays = [np.full(count, value, np.float32) for value in (1e-39, 0.0, 1e-39, 1e-39)]
    record(benchmark, "an Adam step on denormal numbers", baseline=not flushed, items=count)
    benchmark.name = "test_flushed" if flushed else "test_not_flushed"

    def step() -> None:
        mode = flush_denormals() if flushed else None
        parameters, gradients, means, squares = (array.copy() for array in arrays)
        rule = adam_step(10, 1e-4, 1e-3, False)
        adam_update(parameters, gradients, means, squares, rule)
        if mode is not None:
            restore_mode(mode)

    benchmark.pedantic(step, rounds=2 if smoke else 50, warmup_rounds=1)
