"""Inference with the paper's predictor: shared rows, compared with the dense form in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.common import CORES, first, paper_weights, record
from nprep.errors import MissingDependencyError
from nprep.kernels.numeric.gemm_bfloat16 import AVAILABLE
from nprep.predictor.backends.make import make_backend
from nprep.predictor.plan import SharingPlan
from nprep.spaces.nb101.cells import CellBatch

WIDTH, HIDDEN = 144, 128


@pytest.fixture(scope="module")
def plans(shuffled: CellBatch) -> Callable[[int], SharingPlan]:
    """Plans by size, each built once."""
    built: dict[int, SharingPlan] = {}

    def get(size: int) -> SharingPlan:
        if size not in built:
            built[size] = SharingPlan.build(first(shuffled, size))
        return built[size]

    return get


def product_flops(plan: SharingPlan) -> float:
    """Operations of the matrix products that sharing leaves."""
    rows = plan.products
    return 2.0 * rows * WIDTH * 2 * WIDTH + 2.0 * len(plan) * (WIDTH * HIDDEN + HIDDEN)


def path_of(size: int) -> str:
    return f"ask {size:,} cells"


def test_dense_torch(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    torch = pytest.importorskip("torch")
    from bench.dense_torch import DenseGcn, predict_dense, tensors_of

    torch.set_flush_denormal(True)
    weights = paper_weights()
    model, tensors = DenseGcn(weights), tensors_of(first(shuffled, size))
    dense = 2.0 * size * 7 * (5 + 2 * WIDTH) * 2 * WIDTH + 4.0 * size * 49 * 3 * WIDTH
    record(benchmark, path_of(size), baseline=True, flops=dense, items=size, cores=CORES)
    outputs = benchmark.pedantic(predict_dense, (model, tensors), rounds=3, warmup_rounds=1)
    # The same values as the shared form, or the times say nothing.
    some = np.arange(min(size, 1000))
    plan = SharingPlan.build(shuffled.take(some))
    expected = plan.outputs(weights)
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(outputs[some], expected, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("threads", sorted({1, CORES}), ids=lambda n: f"{n} threads")
def test_numba(
    benchmark: Any, plans: Callable[[int], SharingPlan], size: int, threads: int
) -> None:
    plan, weights = plans(size), paper_weights()
    record(benchmark, path_of(size), flops=product_flops(plan), items=size, cores=threads)
    benchmark.name = f"test_numba_on_{threads}_threads"
    benchmark.pedantic(plan.outputs, (weights, threads), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("threads", sorted({1, CORES}), ids=lambda n: f"{n} threads")
def test_numba_bfloat16(
    benchmark: Any, plans: Callable[[int], SharingPlan], size: int, threads: int
) -> None:
    if not AVAILABLE:
        pytest.skip("this processor has no products of bfloat16 numbers")
    plan, weights = plans(size), paper_weights()
    record(benchmark, path_of(size), flops=product_flops(plan), items=size, cores=threads)
    benchmark.name = f"test_numba:bfloat16_on_{threads}_threads"
    benchmark.pedantic(plan.outputs, (weights, threads, "bfloat16"), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize(
    "choice", ["torch", "torch:bfloat16", "cupy", "cupy:tf32", "cupy:bfloat16"]
)
def test_backend(
    benchmark: Any, plans: Callable[[int], SharingPlan], size: int, choice: str
) -> None:
    try:
        backend = make_backend(choice)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    plan, weights = plans(size), paper_weights()
    record(benchmark, path_of(size), flops=product_flops(plan), items=size, cores=CORES)
    benchmark.name = f"test_backend_{choice}"
    benchmark.pedantic(lambda: next(backend.outputs(plan, [weights])), rounds=3, warmup_rounds=1)
