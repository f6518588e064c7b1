"""Local search against plain Python, and what candidates are bred of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import SettingsError
from nprep.kernels.nb101.sample import mutate_rates, random_spec
from nprep.kernels.numeric.rng import seed_state, shuffle
from nprep.kernels.search.breeding import NEIGHBOURS, neighbour
from nprep.search.archive import Breeding, CellArchive
from nprep.search.evaluator import TableEvaluator
from nprep.search.local_search import LocalSearch, path_groups
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream, trial_seed
from nprep.search.trace import Trace
from nprep.spaces.nb101.cells import CellBatch, find_rows
from nprep.table.view import View
from tests import naive
from tests.synthetic import synthetic_view

VIEW = synthetic_view(1500)


def locate(view: View, cell: naive.Cell) -> int:
    """The position of a spec, or -1."""
    if naive.validity(cell) != "valid":
        return -1
    bits, operations, sizes = naive.pack_many([cell])
    return int(find_rows(view.index, CellBatch(bits, operations, sizes))[0])


def neighbours(cell: naive.Cell) -> list[naive.Cell | None]:
    """All 31, None where the operation is one that pruning removes."""
    matrix, operations = cell
    used = {v for path in naive.paths(matrix, 0, 6) for v in path}
    found: list[naive.Cell | None] = []
    for vertex in range(1, 6):
        code = naive.CODES[operations[vertex]]
        for shift in (1, 2):
            changed = list(operations)
            changed[vertex] = naive.INTERIOR[(code + shift) % 3]
            found.append(([list(row) for row in matrix], changed) if vertex in used else None)
    for i, j in naive.PAIRS:
        flipped = [list(row) for row in matrix]
        flipped[i][j] = 1 - flipped[i][j]
        found.append((flipped, list(operations)))
    return found


def naive_climb(
    method: LocalSearch, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
) -> Trace:
    """Local search as the paper describes it, on lists; it draws as the kernel does."""
    state = seed_state(stream(seed, SEARCH_STREAM))
    evaluator = TableEvaluator(VIEW, seed, samples, protocol)
    trained: set[int] = set()
    order = np.arange(NEIGHBOURS)

    def new_spec() -> tuple[naive.Cell, int]:
        codes = np.empty(7, np.uint8)
        while True:
            bits = random_spec(state, codes)
            cell = naive.unpack(int(bits), codes, 7)
            position = locate(VIEW, cell)
            if position >= 0 and position not in trained:
                return cell, position

    def train(position: int) -> float | None:
        trained.add(position)
        answers = evaluator.query(np.array([position], np.int32))
        return float(answers[0]) if len(answers) else None

    while not evaluator.done:
        here, height = None, -1.0
        for _ in range(method.initial):
            cell, position = new_spec()
            value = train(position)
            if value is None:
                return evaluator.trace()
            if value > height:
                here, height = cell, value
        while True:
            assert here is not None
            shuffle(state, order)
            around = neighbours(here)
            better: naive.Cell | None = None
            for number in order:
                cell = around[number]
                position = -1 if cell is None else locate(VIEW, cell)
                if position < 0 or position in trained:
                    continue
                value = train(position)
                if value is None:
                    return evaluator.trace()
                if value > height:
                    better, height = cell, value
                    if not method.whole:
                        break
            if better is None:
                break
            here = better
    return evaluator.trace()


@pytest.mark.parametrize("rules", ["architecture", "query"])
@pytest.mark.parametrize(
    "method", [LocalSearch(), LocalSearch(initial=1, whole=True)], ids=["first", "whole"]
)
def test_compiled_local_search_equals_plain_python(method: LocalSearch, rules: str) -> None:
    protocol = ReplayProtocol(repeats=rules)
    for trial in range(3):
        seed = trial_seed(3, "l", trial)
        (fast,) = method.run_block(VIEW, [seed], 150, protocol)
        slow = naive_climb(method, seed, 150, protocol)
        assert len(fast) == len(np.unique(fast.positions)) == 150
        np.testing.assert_array_equal(fast.positions, slow.positions)
        np.testing.assert_array_equal(fast.repeats, slow.repeats)


def paths_of(cell: naive.Cell) -> tuple[tuple[str, ...], ...]:
    """The operations of every way from input to output, sorted; equal ways count twice."""
    matrix, operations = cell
    last = len(operations) - 1
    ways = (tuple(operations[v] for v in path[1:-1]) for path in naive.paths(matrix, 0, last))
    return tuple(sorted(ways))


def naive_climb_by_paths(
    method: LocalSearch, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
) -> Trace:
    """Local search as naszilla's program has it: dictionaries of lists of paths, and sorted()."""
    state = seed_state(stream(seed, SEARCH_STREAM))
    evaluator = TableEvaluator(VIEW, seed, samples, protocol)
    queried: set[object] = set()
    expanded: set[object] = set()
    data: list[tuple[float, naive.Cell]] = []
    order = np.arange(NEIGHBOURS)

    def name(cell: naive.Cell) -> object:
        return paths_of(cell) if method.same_paths else locate(VIEW, cell)

    def train(cell: naive.Cell) -> float | None:
        queried.add(name(cell))
        answers = evaluator.query(np.array([locate(VIEW, cell)], np.int32))
        if not len(answers):
            return None
        data.append((float(answers[0]), cell))
        return float(answers[0])

    while True:
        started: list[tuple[float, naive.Cell]] = []
        codes = np.empty(7, np.uint8)
        while len(started) < method.initial:
            bits = random_spec(state, codes)
            cell = naive.unpack(int(bits), codes, 7)
            if locate(VIEW, cell) < 0 or name(cell) in queried:
                continue
            value = train(cell)
            if value is None:
                return evaluator.trace()
            started.append((value, cell))
        height, here = sorted(started, key=lambda pair: -pair[0])[0]
        while True:
            expanded.add(name(here))
            shuffle(state, order)
            around = neighbours(here)
            improved = None
            for number in order:
                cell = around[number]
                if cell is None or locate(VIEW, cell) < 0 or name(cell) in queried:
                    continue
                value = train(cell)
                if value is None:
                    return evaluator.trace()
                if value > height:
                    improved = (value, cell)
                    break
            if method.continuing:
                left = [pair for pair in data if name(pair[1]) not in expanded]
                if not left:
                    break
                height, here = sorted(left, key=lambda pair: -pair[0])[0]
            elif improved is None:
                break
            else:
                height, here = improved


@pytest.mark.parametrize("rules", ["architecture", "query"])
@pytest.mark.parametrize(("same_paths", "continuing"), [(True, False), (False, True), (True, True)])
def test_naszillas_local_search_equals_plain_python(
    same_paths: bool, continuing: bool, rules: str
) -> None:
    method = LocalSearch("l", same_paths=same_paths, continuing=continuing)
    protocol = ReplayProtocol(repeats=rules)
    for trial in range(2):
        seed = trial_seed(3, "l", trial)
        (fast,) = method.run_block(VIEW, [seed], 120, protocol)
        slow = naive_climb_by_paths(method, seed, 120, protocol)
        assert len(fast) == 120
        np.testing.assert_array_equal(fast.positions, slow.positions)
        np.testing.assert_array_equal(fast.repeats, slow.repeats)


def test_groups_are_cells_with_the_same_paths() -> None:
    groups = path_groups(VIEW)
    cells = VIEW.cells
    names = [
        paths_of(naive.unpack(int(bits), operations, int(size)))
        for bits, operations, size in zip(
            cells.adjacency_bits, cells.operations, cells.num_vertices, strict=True
        )
    ]
    assert len(set(names)) == len(set(groups.tolist())) < len(VIEW)
    assert len({*zip(names, groups.tolist(), strict=True)}) == len(set(names))


def test_whole_neighbourhoods_do_not_continue() -> None:
    with pytest.raises(SettingsError, match="do not go together"):
        LocalSearch("l", whole=True, continuing=True)


def test_rounds_are_what_can_be_trained_side_by_side() -> None:
    seed = trial_seed(3, "l", 0)
    (first,) = LocalSearch().run_block(VIEW, [seed], 150, ReplayProtocol())
    assert first.rounds is not None
    sizes = np.diff([*first.rounds, 150])
    # Starts of ten, and steps of one.
    assert set(sizes[:-1]) == {1, 10}
    (whole,) = LocalSearch(initial=1, whole=True).run_block(VIEW, [seed], 150, ReplayProtocol())
    assert whole.rounds is not None
    sizes = np.diff([*whole.rounds, 150])
    assert sizes[0] == 1
    assert 5 < sizes.max() <= NEIGHBOURS
    # A step is to a better cell, so the first of two successive neighbourhoods held one.
    assert len(sizes) < 150 / 3


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_neighbours_differ_in_one_place(seed: int) -> None:
    state = seed_state(np.random.SeedSequence(seed))
    operations, child = np.empty(7, np.uint8), np.empty(7, np.uint8)
    bits = random_spec(state, operations)
    plain = neighbours(naive.unpack(int(bits), operations, 7))
    for number in range(NEIGHBOURS):
        changed = neighbour(bits, operations, number, child)
        cell = plain[number]
        if changed < 0:
            assert cell is None
        else:
            assert cell == naive.unpack(int(changed), child, 7)
            assert int(changed ^ bits).bit_count() + int((child != operations).sum()) == 1


def test_mutations_change_as_often_as_their_rates_say() -> None:
    state = seed_state(np.random.SeedSequence(4))
    # A chain: every vertex is used, and no child of one flip has too many edges.
    operations = np.array([3, 0, 1, 2, 0, 1, 4], np.uint8)
    bits = sum(1 << k for k, (i, j) in enumerate(naive.PAIRS) if j == i + 1)
    child = np.empty(7, np.uint8)
    changes = np.zeros(5)
    draws = 20_000
    for _ in range(draws):
        mutated = mutate_rates(state, bits, operations, 1e-9, 0.3, child)
        assert mutated == bits
        changes += child[1:6] != operations[1:6]
    # 6 standard deviations of a binomial share.
    assert np.abs(changes / draws - 0.3).max() < 6 * np.sqrt(0.3 * 0.7 / draws)
    flips = np.array(
        [mutate_rates(state, bits, operations, 1 / 21, 1e-9, child) ^ bits for _ in range(draws)]
    )
    # What is invalid is drawn again, which leaves the odds of the rest as they are: a pair flips
    # alone 1/20 as often as none does. Without an edge of the chain there is no path.
    alone = [int((flips == 1 << k).sum()) for k in range(21)]
    none = int((flips == 0).sum())
    for (i, j), count in zip(naive.PAIRS, alone, strict=True):
        expected = 0 if j == i + 1 else none / 20
        assert abs(count - expected) < 6 * np.sqrt(expected) + 1


def archive(samples: int = 60, view: View = VIEW) -> CellArchive:
    evaluator = TableEvaluator(view, trial_seed(0, "a", 0), samples, ReplayProtocol())
    return CellArchive(view, evaluator, seed_state(np.random.SeedSequence(8)))


def test_candidates_are_new_different_and_near_the_best() -> None:
    held = archive()
    held.train(held.draw(40))
    assert len(held) == len(np.unique(held.genotypes.positions)) == 40
    found = held.candidates(Breeding(parents=1), 200)
    assert 0 < len(found) <= 100
    assert len(np.unique(found.positions)) == len(found)
    assert not set(found.positions.tolist()) & set(held.genotypes.positions.tolist())
    best = held.genotypes.take(np.array([np.argmax(held.values)]))
    changes = [
        int(bits ^ best.bits[0]).bit_count() + int((codes != best.operations[0]).sum())
        for bits, codes in zip(found.bits, found.operations, strict=True)
    ]
    # A random spec differs in 10 pairs and 3 operations; two changes are expected of a mutation,
    # more of one that must lead to a cell of this small view.
    assert 1 <= np.mean(changes) < 6
    assert len(held.candidates(Breeding(parents=40), 7)) == 7
    again = find_rows(VIEW.index, CellBatch(found.bits, found.operations, np.full(len(found), 7)))
    np.testing.assert_array_equal(again, found.positions)


def test_parents_are_taken_until_there_are_enough() -> None:
    held = archive()
    held.train(held.draw(40))
    few = held.candidates(Breeding(candidates=5, parents=40, tries=50), 500)
    many = held.candidates(Breeding(candidates=400, parents=40, tries=50), 500)
    assert 5 <= len(few) <= 54
    assert len(many) > 200


def test_an_archive_ends_with_its_budget_and_its_view() -> None:
    held = archive(samples=25)
    held.train(held.draw(20))
    held.train(held.draw(20))
    assert len(held) == len(held.genotypes) == 25
    assert held.evaluator.done
    small = synthetic_view(30)
    held = archive(view=small)
    drawn = held.draw(40)
    assert sorted(drawn.positions.tolist()) == list(range(30))
    held.train(drawn)
    assert len(held.draw(1)) == len(held.candidates(Breeding(), 100)) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: LocalSearch(initial=0),
        lambda: Breeding(candidates=0),
        lambda: Breeding(parents=0),
        lambda: Breeding(tries=0),
        lambda: Breeding(edge_rate=0.0),
        lambda: Breeding(operation_rate=1.5),
    ],
)
def test_wrong_settings_are_named(make: object) -> None:
    with pytest.raises(SettingsError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value).endswith(".")
