"""Rank correlations against all pairs, and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.kernels.numeric.ranks import count_inversions
from nprep.predictor.agreement import (
    agreement,
    average_ranks,
    kendall_tau,
    pearson,
    precision_at,
    spearman,
    squared_error,
)

# Few different values, so that many are tied.
values = st.lists(st.integers(-4, 4), min_size=2, max_size=40)
pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=40)


@given(values=st.lists(st.integers(-50, 50), max_size=70))
def test_inversions_are_pairs_in_disorder(values: list[int]) -> None:
    array = np.array(values, np.float64)
    before = array.copy()
    slow = sum(a > b for i, a in enumerate(values) for b in values[i + 1 :])
    assert count_inversions(array) == slow
    np.testing.assert_array_equal(array, before)


def slow_tau(x: list[int], y: list[int]) -> float:
    balance = untied_x = untied_y = 0
    for i in range(len(x)):
        for j in range(i):
            dx, dy = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
            balance += dx * dy
            untied_x += dx != 0
            untied_y += dy != 0
    scale = math.sqrt(untied_x) * math.sqrt(untied_y)
    return balance / scale if scale else math.nan


@given(pairs=pairs)
def test_tau_equals_a_count_of_all_pairs(pairs: list[tuple[int, int]]) -> None:
    x, y = (list(side) for side in zip(*pairs, strict=True))
    assert kendall_tau(np.array(x, float), np.array(y, float)) == pytest.approx(
        slow_tau(x, y), nan_ok=True, abs=1e-12
    )


@given(values=values)
def test_ranks_of_equal_values_are_shared(values: list[int]) -> None:
    ranks = average_ranks(np.array(values, float))
    for value, rank in zip(values, ranks, strict=True):
        below, equal = sum(v < value for v in values), values.count(value)
        assert rank == below + (equal + 1) / 2


@pytest.mark.parametrize("levels", [5, 10**6])
def test_correlations_equal_those_of_scipy(levels: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(levels)
    x = rng.integers(0, levels, 3000).astype(float)
    y = x + rng.integers(0, levels, 3000)
    assert kendall_tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)


def test_constant_values_have_no_correlation() -> None:
    constant, other = np.ones(5), np.arange(5.0)
    for correlation in (kendall_tau, spearman, pearson):
        assert math.isnan(correlation(constant, other))
        assert correlation(other, other) == pytest.approx(1)
        assert correlation(other, -other) == pytest.approx(-1)
    assert kendall_tau(constant, other, constant=0.5) == 0.5


def test_precision_is_the_overlap_of_the_tops() -> None:
    truth = np.array([0.1, 0.5, 0.9, 0.8, 0.3])
    predicted = np.array([0.9, 0.1, 0.8, 0.7, 0.2])
    assert precision_at(predicted, truth, 1) == 0
    assert precision_at(predicted, truth, 2) == 0.5
    assert precision_at(predicted, truth, 3) == pytest.approx(2 / 3)
    assert precision_at(predicted, truth, 99) == 1


def test_errors_are_in_percentage_points() -> None:
    truth = np.array([0.90, 0.92, 0.94], np.float32)
    error, r2 = squared_error(truth + np.float32(0.01), truth)
    assert error == pytest.approx(1.0, rel=1e-4)
    assert r2 == pytest.approx(1 - 1.0 / (8 / 3), rel=1e-4)
    assert all(math.isnan(number) for number in squared_error(truth[:0], truth[:0]))
    assert math.isnan(squared_error(truth[:1], truth[:1])[1])


def test_agreement_of_few_cells() -> None:
    one = np.array([0.9], np.float32)
    found = agreement(one, one, one, (1, 10))
    assert math.isnan(found.tau)
    assert (found.cells, found.mse, found.precision) == (1, 0.0, {1: 1.0})
