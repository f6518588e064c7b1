"""Search methods against plain Python, and the rules that they are charged by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import NprepError, SettingsError
from nprep.kernels.nb101.cells import VALID, spec_key
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.search.evolution import embed
from nprep.kernels.search.noise import draw_repeat, noise_word
from nprep.search.baselines import Oracle, RandomSearch, RegularizedEvolution
from nprep.search.evaluator import TableEvaluator
from nprep.search.method import SearcherMethod
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, noise_seed_of, stream, trial_seed
from nprep.spaces.nb101.cells import CellBatch, find_rows
from tests import naive
from tests.search.naive_evolution import NaiveEvolution
from tests.synthetic import synthetic_view

VIEW = synthetic_view(1500)
PROTOCOLS = {
    "paper": ReplayProtocol(),
    "query": ReplayProtocol(repeats="query"),
    "free": ReplayProtocol(duplicates="free"),
    "specs": ReplayProtocol(sampling="specs"),
    "invalid": ReplayProtocol(repeats="query", invalid="zero"),
    "seconds": ReplayProtocol(seconds=80_000.0),
}
EVOLUTIONS = {
    "notebook": RegularizedEvolution(),
    "ying": make_method("evolution-ying", 172),
    "small": RegularizedEvolution("small", population=3, tournament=3),
    "naszilla": make_method("evolution-naszilla", 172),
    "growing": RegularizedEvolution("growing", population=9, tournament=2, founders=2),
    "cells": RegularizedEvolution("cells", initial="cells"),
    "greedy": RegularizedEvolution("greedy", population=20, tournament=1, replacement=True),
}


def seeds(name: str, trials: int) -> list[np.random.SeedSequence]:
    return [trial_seed(11, name, trial) for trial in range(trials)]


@pytest.mark.parametrize("rules", ["paper", "query", "free", "invalid", "seconds"])
@pytest.mark.parametrize("preset", EVOLUTIONS)
def test_compiled_evolution_equals_plain_python(preset: str, rules: str) -> None:
    method, protocol = EVOLUTIONS[preset], PROTOCOLS[rules]
    slow_method = SearcherMethod(
        "naive", lambda view, rng: NaiveEvolution(view, rng, method, protocol)
    )
    compiled = method.run_block(VIEW, seeds("a", 2), 150, protocol)
    plain = slow_method.run_block(VIEW, seeds("a", 2), 150, protocol)
    for fast, slow in zip(compiled, plain, strict=True):
        # Few cells are within reach of one-parameter steps, so without charges it runs dry.
        assert len(fast) == 150 or (preset, rules) == ("ying", "free") or rules == "seconds"
        np.testing.assert_array_equal(fast.positions, slow.positions)
        np.testing.assert_array_equal(fast.repeats, slow.repeats)
        np.testing.assert_array_equal(fast.validation, slow.validation)
        np.testing.assert_array_equal(fast.seconds, slow.seconds)


@pytest.mark.parametrize("rules", PROTOCOLS)
def test_compiled_random_search_equals_plain_python(rules: str) -> None:
    protocol = PROTOCOLS[rules]

    class Naive:
        def __init__(self, view: object, rng: np.random.Generator) -> None:
            words = rng.bit_generator.seed_seq.generate_state(4, np.uint64)
            self.state = [int(word) for word in words]

        def draw(self) -> int:
            if protocol.sampling != "specs":
                return naive.bounded(self.state, len(VIEW))
            position = -1
            while position < 0:
                batch = CellBatch(*naive.pack_many([naive.random_spec(self.state)]))
                position = int(find_rows(VIEW.index, batch)[0])
            return position

        def ask(self) -> np.ndarray:
            return np.array([self.draw()], np.int32)

        def tell(self, positions: np.ndarray, values: np.ndarray) -> None:
            pass

    fast = RandomSearch().run_block(VIEW, seeds("r", 1), 700, protocol)[0]
    slow = SearcherMethod("naive", Naive).run_block(VIEW, seeds("r", 1), 700, protocol)[0]
    np.testing.assert_array_equal(fast.positions, slow.positions)
    np.testing.assert_array_equal(fast.repeats, slow.repeats)
    if protocol.seconds is not None:
        assert fast.seconds[:-1].sum() < protocol.seconds <= fast.seconds.sum()
    elif protocol.duplicates == "free":
        assert len(np.unique(fast.positions)) == len(fast) == 700
    else:
        assert len(np.unique(fast.positions)) < 700


def splitmix64(seed: int, number: int) -> int:
    """Output ``number`` of SplitMix64 (Steele, Lea and Flood, 2014) in unbounded integers."""
    mask = 2**64 - 1
    word = (seed + (number + 1) * 0x9E3779B97F4A7C15) & mask
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    return word ^ (word >> 31)


def test_noise_is_splitmix64() -> None:
    # The generator's published first outputs for seed 1234567.
    assert splitmix64(1234567, 0) == 6457827717110365317
    assert splitmix64(1234567, 1) == 3203168211198807973
    for number in range(50):
        assert noise_word(np.uint64(1234567), number) == splitmix64(1234567, number)


@given(
    seed=st.integers(0, 2**64 - 1),
    counter=st.integers(0, 2**40),
    present=st.lists(st.booleans(), min_size=1, max_size=4),
)
@settings(max_examples=200)
def test_repeats_are_drawn_among_those_present(
    seed: int, counter: int, present: list[bool]
) -> None:
    row = np.where(present, np.float32(0.9), np.float32(np.nan)).astype(np.float32)
    repeat = draw_repeat(row, np.uint64(seed), counter)
    places = [i for i, there in enumerate(present) if there]
    if not places:
        assert repeat == -1
    else:
        assert repeat == places[(splitmix64(seed, counter) >> 32) * len(places) >> 32]


def test_repeats_are_uniform() -> None:
    row = np.array([0.9, 0.9, 0.9], np.float32)
    drawn = [draw_repeat(row, np.uint64(5), counter) for counter in range(9000)]
    counts = np.bincount(drawn, minlength=3)
    # 6 standard deviations of a binomial count.
    assert np.abs(counts - 3000).max() < 6 * np.sqrt(9000 * 2 / 9)


def test_a_cell_keeps_its_repeat_within_a_trial_only_by_the_architecture_rule() -> None:
    full = np.flatnonzero(~np.isnan(VIEW.validation).any(axis=1))[:1]
    same = np.repeat(full, 60).astype(np.int32)
    seed = trial_seed(0, "m", 0)
    once = TableEvaluator(VIEW, seed, 60, ReplayProtocol())
    assert len(np.unique(once.query(same))) == 1
    anew = TableEvaluator(VIEW, seed, 60, ReplayProtocol(repeats="query"))
    assert len(np.unique(anew.query(same))) == 3


def test_evaluator_charges_by_the_rules() -> None:
    seed = trial_seed(0, "m", 0)
    asked = np.array([4, 4, 7, 4, 9, 9, 2], np.int32)
    charged = TableEvaluator(VIEW, seed, 5, ReplayProtocol())
    assert len(charged.query(asked)) == 5
    assert charged.done
    assert charged.trace().positions.tolist() == [4, 4, 7, 4, 9]
    free = TableEvaluator(VIEW, seed, 3, ReplayProtocol(duplicates="free"))
    values = free.query(asked)
    # What is known already is answered even when nothing more may be charged.
    assert len(values) == 6
    assert values[0] == values[1] == values[3]
    assert free.done
    assert free.trace().positions.tolist() == [4, 7, 9]


def test_free_duplicates_end_a_search_that_repeats_itself() -> None:
    class Stuck:
        def __init__(self, view: object, rng: object) -> None:
            pass

        def ask(self) -> np.ndarray:
            return np.array([3], np.int32)

        def tell(self, positions: np.ndarray, values: np.ndarray) -> None:
            pass

    method = SearcherMethod("stuck", Stuck)
    trace = method.run_block(VIEW, seeds("s", 1), 10, ReplayProtocol(duplicates="free"))[0]
    assert trace.positions.tolist() == [3]


def test_positions_outside_the_view_are_refused() -> None:
    evaluator = TableEvaluator(VIEW, trial_seed(0, "m", 0), 5, ReplayProtocol())
    for position in (-1, len(VIEW)):
        with pytest.raises(IndexError, match="outside positions 0 to 1499"):
            evaluator.query(np.array([position], np.int32))


def test_oracle_is_the_best_drawn_run() -> None:
    for seed, trace in zip(
        seeds("o", 5), Oracle().run_block(VIEW, seeds("o", 5), 1, ReplayProtocol()), strict=True
    ):
        noise = noise_seed_of(seed)
        drawn = [
            VIEW.validation[i, draw_repeat(VIEW.validation[i], noise, i)] for i in range(len(VIEW))
        ]
        assert trace.positions.tolist() == [int(np.argmax(drawn))]
        assert trace.validation[0] == max(drawn)


def test_trials_do_not_affect_each_other() -> None:
    method = RegularizedEvolution()
    together = method.run_block(VIEW, seeds("e", 4), 200, ReplayProtocol())
    alone = method.run_block(VIEW, seeds("e", 4)[2:3], 200, ReplayProtocol())[0]
    np.testing.assert_array_equal(together[2].positions, alone.positions)
    assert not np.array_equal(together[0].positions, together[1].positions)


def test_seeds_are_keyed_by_method_and_trial() -> None:
    states = {
        tuple(trial_seed(s, m, t).generate_state(4).tolist())
        for s in (0, 1)
        for m in ("a", "b")
        for t in range(3)
    }
    assert len(states) == 12
    seed = trial_seed(0, "a", 0)
    before = stream(seed, 1).generate_state(2).tolist()
    assert stream(seed, 1).generate_state(2).tolist() == before
    assert stream(seed, 0).generate_state(2).tolist() != before


@pytest.mark.parametrize("initial", ["specs", "cells"])
def test_first_population_is_drawn_as_named(initial: str) -> None:
    method = RegularizedEvolution(population=1000, initial=initial)
    trace = method.run_block(VIEW, seeds("i", 1), 1000, ReplayProtocol())[0]
    uniform = RandomSearch().run_block(VIEW, seeds("i", 1), 1000, ReplayProtocol())[0]
    # The sampler of specs prefers some cells, so it meets fewer different ones.
    distinct = len(np.unique(trace.positions))
    if initial == "cells":
        assert abs(distinct - len(np.unique(uniform.positions))) < 60
    else:
        assert distinct < len(np.unique(uniform.positions)) - 60


def test_embedded_cells_are_the_same_cells() -> None:
    state = seed_state(np.random.SeedSequence(0))
    cells = VIEW.cells
    assert len(np.unique(cells.num_vertices)) >= 4
    for row in range(len(VIEW)):
        genotype = np.empty(7, np.uint8)
        bits = embed(
            state,
            cells.adjacency_bits[row],
            cells.operations[row],
            cells.num_vertices[row],
            genotype,
        )
        validity, key = spec_key(bits, genotype, 7)
        assert validity == VALID
        assert VIEW.index.find(np.array([key], np.uint64))[0] == row


def test_evolution_breeds_better_cells_than_random_search() -> None:
    late = {
        method.name: np.mean(
            [
                trace.validation[200:].mean()
                for trace in method.run_block(VIEW, seeds("b", 10), 300, ReplayProtocol())
            ]
        )
        for method in (RegularizedEvolution(), RandomSearch())
    }
    assert late["evolution"] > late["random"] + 0.005


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReplayProtocol(repeats="all"),
        lambda: ReplayProtocol(duplicates="maybe"),
        lambda: ReplayProtocol(sampling="grid"),
        lambda: ReplayProtocol(repeats="query", duplicates="free"),
        lambda: ReplayProtocol(invalid="maybe"),
        lambda: ReplayProtocol(report="best"),
        lambda: ReplayProtocol(shows="error"),
        lambda: ReplayProtocol(axis="epochs"),
        lambda: ReplayProtocol(seconds=0.0),
        lambda: ReplayProtocol(seconds=float("nan")),
        lambda: RegularizedEvolution(population=0),
        lambda: RegularizedEvolution(tournament=51),
        lambda: RegularizedEvolution(mutation="none"),
        lambda: RegularizedEvolution(founders=0),
        lambda: RegularizedEvolution(founders=9),
        lambda: RegularizedEvolution(founders=51),
        lambda: RegularizedEvolution(initial="none"),
        lambda: RegularizedEvolution(rate=0.0),
        lambda: RegularizedEvolution(rate=float("nan")),
        lambda: make_method("evolve", 1),
        lambda: make_method("no_such_module:X", 1),
        lambda: make_method("json:NoSuchName", 1),
        lambda: make_method("json:dumps", 1),
        lambda: make_method("a b:c", 1),
    ],
)
def test_bad_settings_are_named(make: object) -> None:
    with pytest.raises(SettingsError) as caught:
        make()  # type: ignore[operator]
    assert isinstance(caught.value, NprepError)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_methods_are_described_by_their_settings() -> None:
    described = make_method("evolution-ying", 172).settings()
    assert described["name"] == "evolution-ying"
    assert (described["population"], described["replacement"]) == (100, True)
    assert RegularizedEvolution().settings()["tournament"] == 10
