"""The sparse Gaussian process against its definition, in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.model.process import FLOOR, TERMS, Process, basis, evaluate, linear_terms


def some(seed: int, cells: int = 40, features: int = 9, points: int = 12) -> tuple[Process, ...]:
    rng = np.random.default_rng(seed)
    process = Process(
        rng.normal(size=features).astype(np.float32),
        rng.uniform(0.5, 2, features).astype(np.float32),
        rng.normal(0, 0.5, (points, features + 3)).astype(np.float32),
    )
    return process, rng.normal(0, 3, (cells, features)).astype(np.float32)  # type: ignore[return-value]


def definition(
    process: Process, features: np.ndarray, level: float, guess: float, weights: np.ndarray
) -> float:
    """One function at one cell, as written down."""
    standard = np.clip((features.astype(float) - process.centre) / process.scale, -8, 8)
    low, promised = max(level, FLOOR), max(guess, FLOOR)
    accuracies = [
        (low - 0.91) / 0.02,
        (promised - 0.91) / 0.02,
        (low - promised) * 0.6 / 0.004,
    ]
    x = np.array([*(standard / np.sqrt(len(standard))), *np.clip(accuracies, -3, 3)])
    bumps = [np.exp(-0.5 * ((x - point) ** 2).sum()) for point in process.inducing]
    terms = linear_terms(np.array([level]), np.array([guess]))[0]
    return float(np.concatenate([bumps, terms, standard]) @ weights)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_functions_are_what_the_definition_says(seed: int) -> None:
    process, features = some(seed)
    rng = np.random.default_rng(seed)
    level, guess = rng.uniform(0.8, 0.95, (2, len(features)))
    weights = rng.normal(size=(process.functions, 3))
    found = evaluate(process, features, level, guess, weights, threads=2)
    for cell in range(0, len(features), 7):
        for q in range(3):
            wanted = definition(process, features[cell], level[cell], guess[cell], weights[:, q])
            assert found[cell, q] == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(
        found, basis(process, features, level, guess) @ weights, rtol=1e-4, atol=1e-4
    )


def test_cells_do_not_affect_each_other() -> None:
    process, features = some(1)
    rng = np.random.default_rng(1)
    level, guess = rng.uniform(0.88, 0.95, (2, len(features)))
    weights = rng.normal(size=(process.functions, 2))
    whole = evaluate(process, features, level, guess, weights)
    order = rng.permutation(len(features))[:17]
    part = evaluate(process, features[order], level[order], guess[order], weights, threads=3)
    np.testing.assert_array_equal(part, whole[order])


def test_terms_are_of_unit_size() -> None:
    rng = np.random.default_rng(0)
    guess = rng.uniform(0.88, 0.94, 1000)
    terms = linear_terms(guess + rng.normal(0, 0.004, 1000), guess)
    assert terms.shape == (1000, TERMS)
    assert np.abs(terms).max() < 30
    assert (terms.std(axis=0)[1:] > 0.1).all()
