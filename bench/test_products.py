"""The matrix products of one training step, beside the BLAS that NumPy comes with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.common import CORES, record
from nprep.kernels.numeric.gemm import gemm
from nprep.kernels.numeric.gemm_bfloat16 import AVAILABLE, gemm_bfloat16, pair_columns, pair_rows

ROWS, DEPTH, COLUMNS = 72, 144, 288
PATH = f"product {ROWS} x {DEPTH} by {DEPTH} x {COLUMNS}"
FLOPS = 2.0 * ROWS * DEPTH * COLUMNS


def operands() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((ROWS, DEPTH)), rng.standard_normal((DEPTH, COLUMNS))
    return a.astype(np.float32), b.astype(np.float32), np.empty((ROWS, COLUMNS), np.float32)


def test_blas(benchmark: Any) -> None:
    a, b, out = operands()
    record(benchmark, PATH, baseline=True, flops=FLOPS, cores=CORES)
    benchmark.pedantic(lambda: np.matmul(a, b, out=out), rounds=50, iterations=50, warmup_rounds=1)


def test_float32(benchmark: Any) -> None:
    a, b, out = operands()
    record(benchmark, PATH, flops=FLOPS)
    benchmark.pedantic(gemm, (a, b, out), rounds=50, iterations=50, warmup_rounds=1)


def test_bfloat16(benchmark: Any) -> None:
    if not AVAILABLE:
        pytest.skip("this processor has no products of bfloat16 numbers")
    a, b, out = operands()
    left = np.empty((ROWS, DEPTH // 2), np.uint32)
    pair_columns(a.view(np.uint32), left)
    record(benchmark, PATH, flops=FLOPS)
    arguments = (left, pair_rows(b), out)
    benchmark.pedantic(gemm_bfloat16, arguments, rounds=50, iterations=50, warmup_rounds=1)
