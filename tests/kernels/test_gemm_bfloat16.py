"""Products of bfloat16 pairs against float64 products of the same rounded numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nprep.kernels.cuda.device import to_bfloat16
from nprep.kernels.numeric.gemm_bfloat16 import AVAILABLE, gemm_bfloat16, pair_columns, pair_rows


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest bfloat16 numbers as float32."""
    return (to_bfloat16(values).astype(np.uint32) << 16).view(np.float32)


def halves(pairs: NDArray[np.uint32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The low and high numbers of pairs as float32."""
    return (pairs << 16).view(np.float32), (pairs & np.uint32(0xFFFF0000)).view(np.float32)


@settings(max_examples=30)
@given(rows=st.integers(1, 30), depth=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_pairs_hold_rounded_neighbours(rows: int, depth: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((rows, depth)).astype(np.float32)
    expected = np.zeros((rows, depth + depth % 2), np.float32)
    expected[:, :depth] = rounded(values)
    out = np.full((rows, (depth + 1) // 2), 0xA5A5A5A5, np.uint32)
    pair_columns(values.view(np.uint32), out)
    for pairs in (out, np.ascontiguousarray(pair_rows(np.ascontiguousarray(values.T)).T)):
        low, high = halves(pairs)
        np.testing.assert_array_equal(low, expected[:, 0::2])
        np.testing.assert_array_equal(high, expected[:, 1::2])


@pytest.mark.skipif(not AVAILABLE, reason="this processor has no products of bfloat16 numbers")
@settings(max_examples=40)
@given(
    rows=st.integers(1, 110),
    depth=st.integers(1, 60),
    columns=st.integers(16, 110),
    seed=st.integers(0, 2**31),
)
def test_products_equal_numpy(rows: int, depth: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, depth)).astype(np.float32)
    b = rng.standard_normal((depth, columns)).astype(np.float32)
    pairs = np.empty((rows, (depth + 1) // 2), np.uint32)
    pair_columns(a.view(np.uint32), pairs)
    out = np.full((rows, columns), np.nan, np.float32)
    gemm_bfloat16(pairs, pair_rows(b), out)
    expected = rounded(a).astype(np.float64) @ rounded(b)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
