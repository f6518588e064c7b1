"""Hyperband against plain Python, the densities of BOHB, and what they ask of a view."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import SettingsError
from nprep.kernels.nb101.sample import random_spec_batch
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.search.tpe import LEVELS, PARAMETERS, density, from_codes, propose, to_codes
from nprep.search.compiled import view_arrays
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.successive_halving import Bohb, Hyperband, Model, widths_of
from nprep.search.trace import Trace
from nprep.table.view import Fidelity, View
from tests.synthetic import synthetic_view


def short_trainings(view: View, noise: float = 0.002) -> View:
    """The view with made-up values for 4, 12 and 36 epochs that tell much about 108."""
    rng = np.random.default_rng(2)
    lower = {}
    for budget in (4, 12, 36):
        values = view.validation - np.float32(0.5 / budget)
        values = values + rng.normal(0, noise, values.shape).astype(np.float32)
        seconds = view.training_seconds * np.float32(budget / 108)
        lower[budget] = Fidelity(np.full(len(view), budget, np.uint8), values, seconds)
    return dataclasses.replace(view, lower=lower)


VIEW = short_trainings(synthetic_view(1500, missing=0.0))


def run(method: Hyperband, samples: int, trials: int = 1) -> list[Trace]:
    seeds = [trial_seed(6, "h", trial) for trial in range(trials)]
    return method.run_block(VIEW, seeds, samples, ReplayProtocol())


def stages_of(trace: Trace) -> list[tuple[int, np.ndarray]]:
    """(epochs, places) of every round."""
    assert trace.rounds is not None
    assert trace.epochs is not None
    places = np.split(np.arange(len(trace)), trace.rounds[1:])
    return [(int(trace.epochs[stage[0]]), stage) for stage in places]


@pytest.mark.parametrize("method", [Hyperband(), Bohb()], ids=lambda m: m.name)
def test_brackets_are_those_of_the_paper(method: Hyperband) -> None:
    (trace,) = run(method, 40)
    stages = stages_of(trace)
    # Li et al., table 1, for four budgets and eta 3.
    bracket = [(4, 27), (12, 9), (36, 3), (108, 1), (12, 12), (36, 4), (108, 1)]
    bracket += [(36, 6), (108, 2), (108, 4)]
    sizes = [(epochs, len(places)) for epochs, places in stages]
    assert sizes[:20] == bracket * 2
    for (_, before), (epochs, after) in itertools.pairwise(stages):
        if len(after) >= len(before):
            continue
        if epochs == 108 and len(after) < len(before) // 3:
            # The budget ended.
            continue
        kept = set(trace.positions[after].tolist())
        ranked = trace.positions[before][np.argsort(-trace.validation[before], kind="stable")]
        assert kept == set(ranked[: len(before) // 3].tolist())


def test_two_budgets_and_another_eta() -> None:
    (trace,) = run(Hyperband(budgets=(12, 108), eta=2), 12)
    sizes = [(epochs, len(places)) for epochs, places in stages_of(trace)]
    # Brackets of ceil(2 / 2 * 2) = 2 cells on 12 epochs, and of 2 on 108.
    assert sizes[:3] == [(12, 2), (108, 1), (108, 2)]
    assert set(trace.epochs.tolist()) == {12, 108}


def test_cells_of_a_bracket_differ() -> None:
    for method in (Hyperband(), Bohb(random_share=0.0)):
        (trace,) = run(method, 100)
        for _, places in stages_of(trace):
            assert len(np.unique(trace.positions[places])) == len(places)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_codes_are_the_spec(seed: int) -> None:
    bits, operations = random_spec_batch(seed_state(np.random.SeedSequence(seed)), 5)
    codes = to_codes(bits, operations)
    assert codes.shape == (5, PARAMETERS)
    for i in range(5):
        back = np.empty(7, np.uint8)
        assert from_codes(codes[i], back) == bits[i]
        np.testing.assert_array_equal(back, operations[i])


def test_density_is_the_mean_of_the_kernels() -> None:
    state = seed_state(np.random.SeedSequence(1))
    data = to_codes(*random_spec_batch(state, 30))
    asked = to_codes(*random_spec_batch(state, 10))
    widths = np.random.default_rng(0).uniform(0.01, 0.5, PARAMETERS)
    for codes in asked:
        same = data == codes
        factors = np.where(same, 1 - widths, widths / (LEVELS - 1))
        np.testing.assert_allclose(density(codes, data, widths), factors.prod(axis=1).mean())


def test_density_sums_to_one() -> None:
    """Over all settings of the five operations, the pairs being as the data has them."""
    data = to_codes(*random_spec_batch(seed_state(np.random.SeedSequence(1)), 6))
    data[:, :21] = data[0, :21]
    widths = np.concatenate([np.full(21, 1e-12), [0.3, 0.1, 0.6, 0.2, 0.5]])
    total = 0.0
    for labels in np.ndindex(3, 3, 3, 3, 3):
        total += density(np.array([*data[0, :21], *labels], np.uint8), data, widths)
    assert total == pytest.approx(1.0, rel=1e-9)


def test_widths_follow_the_normal_reference_rule_within_bounds() -> None:
    codes = to_codes(*random_spec_batch(seed_state(np.random.SeedSequence(5)), 200))
    codes[:, 3] = 1
    widths = widths_of(codes)
    assert widths[3] == 1e-3
    free = 1.06 * codes.std(axis=0) * 200 ** (-1 / 30)
    np.testing.assert_allclose(widths, np.clip(free, 1e-3, 1 - 1 / LEVELS))
    assert (widths[21:] > 0.5).any()


def test_a_model_needs_enough_trainings_of_both_kinds() -> None:
    state = seed_state(np.random.SeedSequence(5))
    codes = to_codes(*random_spec_batch(state, 400))
    values = np.random.default_rng(0).random(400).astype(np.float32)
    assert Model.fit(codes[:53], values[:53], 0.15) is None
    few = Model.fit(codes[:54], values[:54], 0.15)
    assert few is not None
    assert (len(few.good), len(few.bad)) == (27, 27)
    many = Model.fit(codes, values, 0.15)
    assert many is not None
    assert (len(many.good), len(many.bad)) == (60, 340)
    best = np.argsort(-values, kind="stable")[:60]
    np.testing.assert_array_equal(many.good, codes[best])


def test_proposals_are_like_the_good_and_unlike_the_bad() -> None:
    space = view_arrays(VIEW)
    state = seed_state(np.random.SeedSequence(9))
    codes = to_codes(*random_spec_batch(state, 3000))
    convolutions = (codes[:, 21:] == 0).sum(axis=1)
    good, bad = codes[convolutions >= 4], codes[convolutions <= 1]
    taken = np.zeros(len(VIEW), np.bool_)
    operations = np.empty(7, np.uint8)
    found = []
    for _ in range(40):
        _, position = propose(
            state, space, good, widths_of(good), bad, widths_of(bad), 64, taken, operations
        )
        assert position >= 0
        assert not taken[position]
        taken[position] = True
        found.append((operations[1:6] == 0).sum())
    assert np.mean(found) > 3
    taken[:] = True
    _, position = propose(
        state, space, good, widths_of(good), bad, widths_of(bad), 64, taken, operations
    )
    assert position == -1


def test_densities_find_better_cells_than_random_ones() -> None:
    def late(method: Hyperband) -> float:
        values = []
        for trace in run(method, 150, trials=4):
            first_stage = [p for epochs, p in stages_of(trace) if epochs == 4][3:]
            values += [np.median(trace.validation[places]) for places in first_stage]
        return float(np.mean(values))

    assert late(Bohb(random_share=0.0)) > late(Hyperband()) + 0.002


def test_a_view_without_short_trainings_is_refused() -> None:
    plain = synthetic_view(100)
    with pytest.raises(SettingsError, match=r"knows nothing of that \(only of 108\)"):
        Hyperband().run_block(plain, [trial_seed(0, "h", 0)], 5, ReplayProtocol())
    # In full it trains anywhere.
    (trace,) = Hyperband(budgets=(108,)).run_block(
        plain, [trial_seed(0, "h", 0)], 5, ReplayProtocol()
    )
    assert len(trace) == 5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Hyperband(budgets=()),
        lambda: Hyperband(budgets=(12, 4)),
        lambda: Hyperband(budgets=(4, 4)),
        lambda: Hyperband(eta=1),
        lambda: Bohb(top_share=0.0),
        lambda: Bohb(random_share=1.1),
        lambda: Bohb(samples=0),
    ],
)
def test_wrong_settings_are_named(make: object) -> None:
    with pytest.raises(SettingsError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value).endswith(".")
