"""Sums over neighbours against loops in float64, for every width."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nprep.kernels.graphs.gather import gather_half, gather_kept
from nprep.kernels.graphs.infer import gather_means, gather_sums

Lists = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def random_lists(rng: np.random.Generator, rows: int, sources: int) -> Lists:
    """Lists of one to six entries a row."""
    counts = rng.integers(1, 7, rows)
    starts = np.append(0, np.cumsum(counts)).astype(np.int32)
    return (
        starts,
        rng.integers(0, sources, starts[-1]).astype(np.int32),
        rng.standard_normal(starts[-1]).astype(np.float32),
    )


def plain_sum(products: NDArray[np.float32], lists: Lists, row: int) -> NDArray[np.float64]:
    """The weighted sum of one row, entry by entry."""
    starts, sources, weights = lists
    total = np.zeros(products.shape[1])
    for entry in range(starts[row], starts[row + 1]):
        total += float(weights[entry]) * products[sources[entry]].astype(np.float64)
    return total


@settings(max_examples=60)
@given(width=st.integers(1, 110), rows=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_gathers_equal_loops(width: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    products = rng.standard_normal((8, 2 * width)).astype(np.float32)
    along, against = random_lists(rng, rows, 8), random_lists(rng, rows, 8)
    bias = rng.standard_normal(2 * width).astype(np.float32)
    sums = np.stack(
        [
            np.append(
                plain_sum(products[:, :width], along, row),
                plain_sum(products[:, width:], against, row),
            )
            for row in range(rows)
        ]
    )
    rectified = np.maximum(sums + bias, 0)
    expected = (rectified[:, :width] + rectified[:, width:]) / 2

    # Outputs are full of NaN, so that a forgotten element shows; a row more must stay as it is.
    kept = np.full((rows + 1, 2 * width), np.nan, np.float32)
    states = np.full((rows + 1, width), np.nan, np.float32)
    order = rng.permutation(rows).astype(np.int32)
    gather_kept(products, *along, *against, bias, order, states, kept)
    np.testing.assert_allclose(states[:rows], expected[order], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kept[:rows], (sums + bias)[order], rtol=1e-4, atol=1e-5)
    assert np.isnan(kept[rows]).all()
    assert np.isnan(states[rows]).all()

    halves = np.full((rows + 1, 2 * width), np.nan, np.float32)
    gather_half(products, 0, *along, order, halves)
    assert np.isnan(halves[:, width:]).all()
    gather_half(products, width, *against, order, halves)
    np.testing.assert_allclose(halves[:rows], sums[order], rtol=1e-4, atol=1e-5)
    assert np.isnan(halves[rows]).all()


def packed(along: Lists, against: Lists) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Both directions' lists in turn, as the kernels of inference take them."""
    starts, entries, palette = [0], [], []
    for row in range(len(along[0]) - 1):
        for row_starts, sources, weights in (along, against):
            for entry in range(row_starts[row], row_starts[row + 1]):
                entries.append(int(sources[entry]) | len(palette) << 16)
                palette.append(weights[entry])
            starts.append(len(entries))
    return np.array(starts, np.int32), np.array(entries, np.uint32), np.array(palette, np.float32)


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 110), rows=st.integers(1, 9), seed=st.integers(0, 2**31), cut=st.integers()
)
def test_sums_and_means_equal_loops(width: int, rows: int, seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    products = rng.standard_normal((8, 2 * width)).astype(np.float32)
    along, against = random_lists(rng, rows, 8), random_lists(rng, rows, 8)
    bias = rng.standard_normal(2 * width).astype(np.float32)
    lists = packed(along, against)
    sides = (
        (along, slice(0, width), 0),
        (against, slice(width, None), width),
    )
    expected = np.zeros((2, rows, width))
    for row in range(rows):
        for side, (one, columns, place) in enumerate(sides):
            total = plain_sum(products[:, columns], one, row) + bias[columns]
            expected[side, row] = np.maximum(total, 0) / 2
            number = 2 * row + side
            found = np.full((2, width), np.nan, np.float32)
            gather_sums(products.reshape(-1), place, *lists, bias, number, number + 1, found[:1])
            np.testing.assert_allclose(found[0], expected[side, row], rtol=1e-4, atol=1e-5)
            assert np.isnan(found[1]).all()

    cells = np.unique([0, cut % rows, rows]).astype(np.int32)
    means = np.full((len(cells), width), np.nan, np.float32)
    gather_means(products.reshape(-1), *lists, bias, 2 * cells, 0, len(cells) - 1, means)
    for cell in range(len(cells) - 1):
        mean = expected[:, cells[cell] : cells[cell + 1]].sum(0).mean(0)
        np.testing.assert_allclose(means[cell], mean, rtol=1e-4, atol=1e-5)
    assert np.isnan(means[-1]).all()
