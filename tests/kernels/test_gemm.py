"""The matrix products against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.kernels.numeric.gemm import gemm, gemm_nt, gemm_tn, transpose_part

sizes = st.integers(1, 70)


@settings(max_examples=60)
@given(rows=sizes, depth=sizes, columns=sizes, seed=st.integers(0, 2**31))
def test_products_equal_numpy(rows: int, depth: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, depth)).astype(np.float32)
    b = rng.standard_normal((depth, columns)).astype(np.float32)
    expected = a.astype(np.float64) @ b
    # The output must not depend on what it held: NaN shows any read of it.
    for product, left in ((gemm, a), (gemm_tn, np.ascontiguousarray(a.T))):
        out = np.full((rows, columns), np.nan, np.float32)
        product(left, b, out)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    # The scratch is full of NaN too: every element that is read must have been written.
    scratch = np.full(b.size, np.nan, np.float32)
    again = np.full((rows, columns), np.nan, np.float32)
    gemm_nt(a, np.ascontiguousarray(b.T), again, scratch)
    np.testing.assert_array_equal(again, out)


@pytest.mark.parametrize(
    ("rows", "depth", "columns"), [(70, 144, 144), (97, 5, 144), (200, 96, 128), (101, 72, 24)]
)
def test_products_over_several_row_blocks(rows: int, depth: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    a = rng.standard_normal((rows, depth)).astype(np.float32)
    b = rng.standard_normal((depth, columns)).astype(np.float32)
    out = np.full((rows, columns), np.nan, np.float32)
    gemm(a, b, out)
    np.testing.assert_allclose(out, a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)


def test_a_product_has_the_same_bits_in_any_row_position() -> None:
    rng = np.random.default_rng(3)
    a = rng.standard_normal((103, 64)).astype(np.float32)
    b = rng.standard_normal((64, 48)).astype(np.float32)
    whole = np.empty((103, 48), np.float32)
    gemm(a, b, whole)
    for row in (0, 5, 6, 95, 96, 100, 102):
        alone = np.empty((1, 48), np.float32)
        gemm(a[row : row + 1].copy(), b, alone)
        np.testing.assert_array_equal(alone[0], whole[row])


@settings(max_examples=40)
@given(rows=sizes, columns=sizes, top=st.integers(0, 3), left=st.integers(0, 3))
def test_transposing_a_part_equals_numpy(rows: int, columns: int, top: int, left: int) -> None:
    a = np.arange((rows + 3) * (columns + 3), dtype=np.float32).reshape(rows + 3, columns + 3)
    out = np.full(columns * rows + 1, np.nan, np.float32)
    transpose_part(a.reshape(-1), top * (columns + 3) + left, columns + 3, rows, columns, out)
    expected = a[top : top + rows, left : left + columns].T
    np.testing.assert_array_equal(out[:-1].reshape(columns, rows), expected)
    assert np.isnan(out[-1])
