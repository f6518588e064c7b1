"""Adam's step against its formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.kernels.numeric.adam import adam_step, adam_update


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 150),
    seed=st.integers(0, 2**31),
    step=st.integers(1, 3000),
    exponent=st.integers(-12, 12),
    decoupled=st.booleans(),
)
def test_a_step_equals_the_formulas(
    count: int, seed: int, step: int, exponent: int, decoupled: bool
) -> None:
    rng = np.random.default_rng(seed)
    rate, decay = 1e-2, 1e-3
    # Sizes of neighbours differ by many orders: they share a division.
    sizes = 10.0 ** rng.uniform(exponent - 4, exponent + 4, count)
    parameters = rng.standard_normal(count).astype(np.float32)
    gradients, first = ((sizes * rng.standard_normal(count)).astype(np.float32) for _ in range(2))
    second = ((sizes * rng.standard_normal(count)) ** 2).astype(np.float32)
    wide = [array.astype(np.float64) for array in (parameters, gradients, first, second)]

    # An element more must stay as it is.
    held = [np.append(array, np.float32(7)) for array in (parameters, gradients, first, second)]
    adam_update(*(array[:-1] for array in held), adam_step(step, rate, decay, decoupled))

    weight, gradient, mean, square = wide
    gradient = gradient + (0.0 if decoupled else decay) * weight
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    change = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    weight = (1 - rate * decay if decoupled else 1.0) * weight - rate * change
    # Terms of either sign may nearly cancel.
    size = np.abs(np.concatenate([wide[1], wide[2], [decay]])).max()
    tolerances = (
        1e-6 * max(1.0, rate * np.abs(change).max(initial=0)),
        0,
        1e-6 * size,
        1e-6 * size**2,
    )
    expected = (weight, wide[1], mean, square)
    for array, wanted, tolerance in zip(held, expected, tolerances, strict=True):
        np.testing.assert_allclose(array[:-1], wanted, rtol=1e-5, atol=tolerance)
        assert array[-1] == 7


@pytest.mark.parametrize("count", [5, 64])
def test_nothing_is_divided_by_zero(count: int) -> None:
    arrays = [np.zeros(count, np.float32) for _ in range(4)]
    adam_update(*arrays, adam_step(1, 1e-3, 0.0, False))
    for array in arrays:
        np.testing.assert_array_equal(array, 0)
