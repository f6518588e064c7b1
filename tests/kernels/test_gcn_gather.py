"""Sums over neighbours against loops in float64, for every width."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nprep.kernels.graphs.gather import gather_half, gather_kept, gather_means, gather_states

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
@given(
    width=st.integers(1, 110), rows=st.integers(1, 9), seed=st.integers(0, 2**31), cut=st.integers()
)
def test_gathers_equal_loops(width: int, rows: int, seed: int, cut: int) -> None:
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
    states = np.full((rows, width), np.nan, np.float32)
    gather_states(products, *along, *against, bias, 0, rows, states)
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-5)
    first = cut % rows
    part = np.full((rows - first, width), np.nan, np.float32)
    gather_states(products, *along, *against, bias, first, rows, part)
    np.testing.assert_array_equal(part, states[first:])

    kept = np.full((rows + 1, 2 * width), np.nan, np.float32)
    again = np.full((rows + 1, width), np.nan, np.float32)
    gather_kept(products, *along, *against, bias, rows, again, kept)
    np.testing.assert_array_equal(again[:rows], states)
    np.testing.assert_allclose(kept[:rows], sums + bias, rtol=1e-4, atol=1e-5)
    assert np.isnan(kept[rows]).all()
    assert np.isnan(again[rows]).all()

    halves = np.full((rows + 1, 2 * width), np.nan, np.float32)
    gather_half(products, 0, *along, rows, halves)
    assert np.isnan(halves[:, width:]).all()
    gather_half(products, width, *against, rows, halves)
    np.testing.assert_allclose(halves[:rows], sums, rtol=1e-4, atol=1e-5)
    assert np.isnan(halves[rows]).all()

    cells = np.unique([0, first, rows]).astype(np.int32)
    means = np.full((len(cells) - 1, width), np.nan, np.float32)
    gather_means(products, *along, *against, bias, cells, 0, len(means), means)
    for cell in range(len(means)):
        mean = expected[cells[cell] : cells[cell + 1]].mean(0)
        np.testing.assert_allclose(means[cell], mean, rtol=1e-4, atol=1e-5)
