"""The path encoding and the perceptrons against plain versions; what the search does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import SettingsError
from nprep.kernels.nb101.paths import NUM_PATHS, PATHS_UP_TO, path_encoding
from nprep.kernels.numeric.mlp_ensemble import (
    absolute_loss,
    ensemble_outputs,
    fill_glorot,
    train_ensemble,
)
from nprep.kernels.numeric.rng import seed_state, shuffle
from nprep.search.archive import Breeding
from nprep.search.bananas import Bananas, PerceptronSettings, predict_errors
from nprep.search.baselines import RandomSearch
from nprep.search.rules import ReplayProtocol, trial_seed
from tests import naive
from tests.strategies import cells, specs
from tests.synthetic import synthetic_view

VIEW = synthetic_view(1500)
Layers = list[tuple[np.ndarray, np.ndarray]]


def naive_paths(cell: naive.Cell) -> set[tuple[str, ...]]:
    matrix, operations = cell
    found = naive.paths(matrix, 0, len(operations) - 1)
    return {tuple(operations[v] for v in path[1:-1]) for path in found}


@given(cell=st.one_of(cells(), specs()))
@settings(max_examples=200)
def test_paths_are_those_of_the_cell(cell: naive.Cell) -> None:
    every = [p for length in range(6) for p in itertools.product(naive.INTERIOR, repeat=length)]
    assert len(every) == NUM_PATHS
    # In the order of their numbers: the first operation counts least.
    every.sort(key=lambda p: (len(p), [naive.CODES[name] for name in reversed(p)]))
    bits, operations, sizes = naive.pack_many([cell])
    for length in (1, *PATHS_UP_TO, 20):
        (marks,) = path_encoding(bits, operations, sizes, length)
        expected = naive_paths(cell)
        assert {every[k] for k in np.flatnonzero(marks)} == expected & set(every[:length])
        assert set(np.unique(marks)) <= {0.0, 1.0}


def split(flat: np.ndarray, sizes: list[int], stored: list[int]) -> Layers:
    """The layers of stored parameters, without the padding."""
    layers, offset = [], 0
    for (rows, columns), (wide, high) in zip(
        itertools.pairwise(sizes), itertools.pairwise(stored), strict=True
    ):
        matrix = flat[offset : offset + wide * high].reshape(wide, high)
        offset += wide * high
        layers.append((matrix[:rows, :columns], flat[offset : offset + columns]))
        offset += high
    assert offset == len(flat)
    return layers


def naive_forward(layers: Layers, x: np.ndarray) -> list[np.ndarray]:
    values = [x]
    for number, (matrix, bias) in enumerate(layers):
        x = x @ matrix + bias
        if number + 1 < len(layers):
            x = np.maximum(x, 0)
        values.append(x)
    return values


def naive_training(
    layers: Layers, x: np.ndarray, y: np.ndarray, orders: list[np.ndarray], batch: int, rate: float
) -> Layers:
    """Keras: mean absolute error, Adam with beta 0.9 and 0.99 and epsilon 1e-7, in float64."""
    layers = [(m.astype(np.float64), b.astype(np.float64)) for m, b in layers]
    moments = [[np.zeros_like(a), np.zeros_like(a)] for pair in layers for a in pair]
    step = 0
    for order in orders:
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            values = naive_forward(layers, x[chosen])
            delta = np.sign(values[-1][:, 0] - y[chosen])[:, None] / len(chosen)
            gradients: list[np.ndarray] = []
            for number in range(len(layers) - 1, -1, -1):
                gradients = [values[number].T @ delta, delta.sum(axis=0), *gradients]
                delta = (delta @ layers[number][0].T) * (values[number] > 0)
            step += 1
            size = rate * np.sqrt(1 - 0.99**step) / (1 - 0.9**step)
            flat = [a for pair in layers for a in pair]
            for a, g, moment in zip(flat, gradients, moments, strict=True):
                moment[0] = 0.9 * moment[0] + 0.1 * g
                moment[1] = 0.99 * moment[1] + 0.01 * g * g
                a -= size * moment[0] / (np.sqrt(moment[1]) + 1e-7)
    return layers


@pytest.mark.parametrize("padded", [False, True])
def test_an_ensemble_trains_as_in_plain_numpy(padded: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (21, 12)).astype(np.float32)
    y = (5 + x @ rng.random(12) + rng.random(21)).astype(np.float32)
    sizes = [12, 7, 5, 1]
    stored = [12, 8, 8, 1] if padded else sizes
    state = seed_state(np.random.SeedSequence(1))
    count = sum((a + 1) * b for a, b in itertools.pairwise(stored))
    parameters = np.full((2, count), np.nan, np.float32)
    for member in parameters:
        fill_glorot(state, np.array(sizes), np.array(stored), member)
    first = [split(member, sizes, stored) for member in parameters.copy()]
    for matrix, bias in first[0]:
        bound = np.sqrt(6 / sum(matrix.shape))
        assert 0.5 * bound < np.abs(matrix).max() <= bound
        assert not bias.any()
    drawn = state.copy()
    epochs, batch, rate = 4, 8, 0.01
    orders = []
    order = np.arange(21)
    for number in range(2 * epochs):
        if number == epochs:
            order = order.copy()
        shuffle(drawn, order)
        orders.append(order.copy())
    train_ensemble(x, y, parameters, np.array(stored), epochs, batch, rate, 0.99, np.nan, state)
    np.testing.assert_array_equal(state, drawn)
    outputs = ensemble_outputs(x, parameters, np.array(stored))
    for member in range(2):
        expected = naive_training(
            first[member], x, y, orders[member * epochs : (member + 1) * epochs], batch, rate
        )
        for (matrix, bias), (plain, plain_bias) in zip(
            split(parameters[member], sizes, stored), expected, strict=True
        ):
            np.testing.assert_allclose(matrix, plain, atol=2e-5)
            np.testing.assert_allclose(bias, plain_bias, atol=2e-5)
        np.testing.assert_allclose(
            outputs[member], naive_forward(expected, x)[-1][:, 0], rtol=1e-4, atol=1e-4
        )
        # The padding is still zero: what is not padding holds all that is not zero.
        inside = sum(
            np.count_nonzero(m) + np.count_nonzero(b)
            for m, b in split(parameters[member], sizes, stored)
        )
        assert np.count_nonzero(parameters[member]) == inside


@given(
    outputs=st.lists(st.floats(-5, 15, width=32), min_size=4, max_size=4),
    relative=st.booleans(),
)
@settings(max_examples=50)
def test_losses_are_as_defined(outputs: list[float], relative: bool) -> None:
    targets = np.array([5.5, 9.0, 6.25, 80.0, 5.0], np.float32)
    order = np.array([4, 2, 0, 1, 3])
    predictions = np.array(outputs, np.float32)
    deltas = np.empty(4, np.float32)
    bound = 4.5 if relative else np.nan
    loss = absolute_loss(predictions, targets, order, 1, 4, bound, deltas)
    truth = targets[[2, 0, 1, 3]].astype(np.float64)
    weights = 1 / (truth - 4.5) if relative else np.ones(4)
    errors = np.abs(predictions - truth)
    if relative:
        errors = np.abs((predictions - 4.5) / (truth - 4.5) - 1)
    np.testing.assert_allclose(loss, errors.mean(), rtol=1e-6)
    np.testing.assert_allclose(deltas, np.sign(predictions - truth) * weights / 4, rtol=1e-6)


def encoded(positions: np.ndarray) -> np.ndarray:
    cells = VIEW.cells.take(positions)
    return path_encoding(cells.adjacency_bits, cells.operations, cells.num_vertices, 40)


def test_the_ensemble_learns_what_makes_cells_good() -> None:
    rng = np.random.default_rng(3)
    chosen = rng.permutation(len(VIEW))[:400]
    known, unknown = chosen[:150], chosen[150:]
    # The best repeat: failed trainings have no cause in a cell.
    quality = np.nanmax(VIEW.validation, axis=1)
    state = seed_state(np.random.SeedSequence(2))
    errors = predict_errors(
        encoded(known), quality[known], encoded(unknown), 5,
        PerceptronSettings(), state,
    )  # fmt: skip
    assert errors.shape == (5, 250)
    truth = 100 * (1 - quality[unknown])
    print(
        np.corrcoef(errors.mean(axis=0), truth)[0, 1], [np.corrcoef(e, truth)[0, 1] for e in errors]
    )
    assert np.corrcoef(errors.mean(axis=0), truth)[0, 1] > 0.7
    assert errors.std(axis=0).min() > 0


def test_it_finds_better_cells_than_random_search() -> None:
    seeds = [trial_seed(1, "b", trial) for trial in range(4)]
    protocol = ReplayProtocol(repeats="mean", sampling="specs")
    best = {
        method.name: np.mean(
            [
                np.sort(t.validation)[-20:].mean()
                for t in method.run_block(VIEW, seeds, 80, protocol)
            ]
        )
        for method in (Bananas(), RandomSearch())
    }
    assert best["bananas"] > best["random"] + 0.003


def test_rounds_are_of_the_batch_and_no_cell_is_trained_twice() -> None:
    method = Bananas(initial=7, batch=6, breeding=Breeding(candidates=30, tries=40))
    (trace,) = method.run_block(VIEW, [trial_seed(1, "b", 0)], 40, ReplayProtocol())
    assert trace.rounds is not None
    assert trace.rounds.tolist() == [0, 7, 13, 19, 25, 31, 37]
    assert len(np.unique(trace.positions)) == len(trace) == 40
    (short,) = Bananas(max_samples=25).run_block(
        VIEW, [trial_seed(1, "b", 0)], 40, ReplayProtocol()
    )
    assert len(short) == 25


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bananas(initial=0),
        lambda: Bananas(batch=0),
        lambda: Bananas(members=0),
        lambda: Bananas(max_samples=0),
        lambda: PerceptronSettings(paths=0),
        lambda: PerceptronSettings(paths=365),
        lambda: PerceptronSettings(hidden=()),
        lambda: PerceptronSettings(hidden=(20, 0)),
        lambda: PerceptronSettings(loss="squared"),
        lambda: PerceptronSettings(epochs=0),
        lambda: PerceptronSettings(batch=0),
        lambda: PerceptronSettings(learning_rate=0.0),
        lambda: PerceptronSettings(beta_2=1.0),
    ],
)
def test_wrong_settings_are_named(make: object) -> None:
    with pytest.raises(SettingsError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value).endswith(".")
