from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.kernels.jit import kernel
from nprep.kernels.numeric import rng
from tests import naive


def fresh(seed: int = 0) -> np.ndarray:
    return rng.seed_state(np.random.SeedSequence(seed))


def chi_square(counts: np.ndarray, expected: float) -> float:
    """In standard deviations above what chance gives."""
    freedom = counts.size - 1
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return (statistic - freedom) / (2 * freedom) ** 0.5


@kernel
def draw_bounded(state: np.ndarray, n: int, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = rng.bounded(state, n)


@kernel
def draw_doubles(state: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = rng.random_double(state)


@kernel
def draw_normals(state: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = rng.random_normal(state)


@kernel
def draw_choices(state: np.ndarray, n: int, out: np.ndarray) -> None:
    for i in range(len(out)):
        rng.choose(state, n, out[i])


@given(st.integers(0, 2**64))
def test_stream(seed: int) -> None:
    state = fresh(seed)
    expected = [int(word) for word in state]
    assert [rng.next_u64(state) for _ in range(20)] == [naive.xoshiro(expected) for _ in range(20)]
    assert state.tolist() == expected


def test_published_first_outputs() -> None:
    # xoshiro256** from the state 1, 2, 3, 4: the values that several implementations test against.
    state = np.array([1, 2, 3, 4], np.uint64)
    outputs = [rng.next_u64(state) for _ in range(4)]
    assert outputs == [11520, 0, 1509978240, 1215971899390074240]


def test_spawned_streams_differ() -> None:
    children = np.random.SeedSequence(1).spawn(3)
    states = {tuple(rng.seed_state(child).tolist()) for child in children}
    assert len(states) == 3


@pytest.mark.parametrize("n", [1, 2, 3, 26, 243, 1000])
def test_bounded_is_uniform(n: int) -> None:
    out = np.empty(100_000, np.int64)
    draw_bounded(fresh(n), n, out)
    assert out.min() == 0
    assert out.max() == n - 1
    if n > 1:
        assert abs(chi_square(np.bincount(out, minlength=n), len(out) / n)) < 5


def test_bounded_has_no_bias() -> None:
    # With n = 3 * 2^30 a plain multiply-shift gives every third value twice as often.
    out = np.empty(60_000, np.int64)
    draw_bounded(fresh(), 3 << 30, out)
    assert out.max() < 3 << 30
    assert abs(chi_square(np.bincount(out % 3, minlength=3), 20_000)) < 5


def test_doubles_and_normals() -> None:
    out = np.empty(200_000)
    draw_doubles(fresh(), out)
    assert 0 <= out.min() < 1e-4
    assert 1 - 1e-4 < out.max() < 1
    counts = np.bincount((out * 100).astype(int), minlength=100)
    assert abs(chi_square(counts, len(out) / 100)) < 5
    draw_normals(fresh(), out)
    assert abs(out.mean()) < 5 / len(out) ** 0.5
    assert abs(out.std() - 1) < 0.01
    assert abs((np.abs(out) < 1).mean() - 0.6827) < 0.006


def test_shuffle_is_uniform_over_orders() -> None:
    state = fresh()
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        values = np.arange(3)
        rng.shuffle(state, values)
        order = tuple(values.tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert abs(chi_square(np.array(list(counts.values())), 1000)) < 5


def test_choices_are_distinct_and_uniform() -> None:
    out = np.empty((60_000, 3), np.int32)
    draw_choices(fresh(), 5, out)
    assert (out[:, 0] != out[:, 1]).all()
    assert (out[:, 0] != out[:, 2]).all()
    assert (out[:, 1] != out[:, 2]).all()
    orders = np.bincount(out @ np.array([25, 5, 1]), minlength=125)
    assert (orders > 0).sum() == 60
    assert abs(chi_square(orders[orders > 0], 1000)) < 5
    everything = np.empty((1, 7), np.int32)
    draw_choices(fresh(), 7, everything)
    assert sorted(everything[0]) == list(range(7))
