from __future__ import annotations

import itertools

import numpy as np
import pytest

from nprep.kernels.nb101 import cells, sample
from nprep.kernels.numeric import rng
from tests import naive

SEVEN = 7


def fresh(seed: int = 0) -> np.ndarray:
    return rng.seed_state(np.random.SeedSequence(seed))


def codes(bits: np.ndarray, operations: np.ndarray) -> np.ndarray:
    return cells.spec_key_batch(bits, operations, np.full(len(bits), SEVEN, np.uint8))[0]


def as_pairs(bits: np.ndarray) -> np.ndarray:
    return (bits[:, None] >> np.arange(21)) & 1


def near(share: np.ndarray, expected: np.ndarray | float, count: int) -> None:
    """Shares of ``count`` draws lie within 5 standard errors of what is expected."""
    error = np.sqrt(np.maximum(np.asarray(expected) * (1 - np.asarray(expected)), 1e-9) / count)
    assert (np.abs(share - expected) < 5 * error).all()


def all_valid() -> np.ndarray:
    """The adjacency bits of every valid genotype's matrix, of all 2^21."""
    bits = np.arange(2**21, dtype=np.uint32)
    operations = np.tile(np.array([3, 0, 0, 0, 0, 0, 4], np.uint8), (len(bits), 1))
    return bits[codes(bits, operations) == cells.VALID]


def test_random_specs_follow_the_official_sampler() -> None:
    count = 200_000
    bits, operations = sample.random_spec_batch(fresh(), count)
    assert not codes(bits, operations).any()
    # Rejection leaves every valid matrix equally likely: compare with all of them.
    valid = all_valid()
    near(as_pairs(bits).mean(axis=0), as_pairs(valid).mean(axis=0), count)
    edges = [np.bincount(as_pairs(b).sum(axis=1), minlength=22) / len(b) for b in (bits, valid)]
    near(edges[0], edges[1], count)
    assert (operations[:, 0] == cells.INPUT).all()
    assert (operations[:, 6] == cells.OUTPUT).all()
    labels = operations[:, 1:6] @ np.array([81, 27, 9, 3, 1])
    near(np.bincount(labels, minlength=243) / count, 1 / 243, count)
    # Operations and edges are independent.
    near(as_pairs(bits[operations[:, 3] == 2]).mean(axis=0), as_pairs(valid).mean(axis=0), 60_000)


def test_the_slow_sampler_agrees() -> None:
    # The same shares from the definition, drawn one by one in Python.
    generator = np.random.default_rng(0)
    drawn = []
    while len(drawn) < 1500:
        matrix = np.triu(generator.integers(0, 2, (7, 7)), 1).tolist()
        spec = (matrix, ["input", *["maxpool3x3"] * 5, "output"])
        if naive.validity(spec) == "valid":
            drawn.append(naive.pack(spec)[0])
    share = as_pairs(np.array(drawn)).mean(axis=0)
    bits, _ = sample.random_spec_batch(fresh(), 100_000)
    near(share, as_pairs(bits).mean(axis=0), 1500)


# A chain with no edge to spare has few valid children, the empty-handed 2-vertex cell many.
PARENTS = [
    ([(v, v + 1) for v in range(6)], [0, 1, 2, 0, 1]),
    ([(0, 6), (1, 2), (3, 4)], [2, 2, 2, 1, 0]),
    ([(0, 1), (0, 2), (0, 6), (1, 6), (2, 3), (3, 6), (2, 6)], [1, 1, 0, 0, 2]),
]


def parent(which: int) -> tuple[int, np.ndarray]:
    edges, interior = PARENTS[which]
    bits = sum(1 << naive.PAIRS.index(edge) for edge in edges)
    return bits, np.array([3, *interior, 4], np.uint8)


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("which", range(3))
def test_notebook_mutation(which: int, rate: float) -> None:
    bits, operations = parent(which)
    count = 100_000
    parents = np.full(count, bits, np.uint32), np.tile(operations, (count, 1))
    children, child_operations = sample.mutate_notebook_batch(fresh(which), *parents, rate)
    assert not codes(children, child_operations).any()
    # The law of the flips, given that the child is valid: each valid matrix has the weight
    # p^flips (1-p)^(21-flips).
    valid = all_valid()
    flips = as_pairs(valid ^ np.uint32(bits))
    p = rate / 7
    weights = np.power(p, flips.sum(axis=1)) * np.power(1 - p, 21 - flips.sum(axis=1))
    weights /= weights.sum()
    flipped = as_pairs(children ^ np.uint32(bits))
    near(flipped.mean(axis=0), weights @ flips, count)
    number = np.bincount(flips.sum(axis=1), weights, minlength=22)
    near(np.bincount(flipped.sum(axis=1), minlength=22) / count, number, count)
    # Operations: another one with probability rate / 5, either of the two alike.
    assert (child_operations[:, [0, 6]] == [3, 4]).all()
    for vertex in range(1, 6):
        share = np.bincount(child_operations[:, vertex], minlength=3) / count
        expected = np.full(3, rate / 10)
        expected[operations[vertex]] = 1 - rate / 5
        near(share, expected, count)


def test_notebook_mutation_draws_pairs_independently() -> None:
    bits, operations = parent(1)
    count = 100_000
    parents = np.full(count, bits, np.uint32), np.tile(operations, (count, 1))
    children, child_operations = sample.mutate_notebook_batch(fresh(9), *parents, 1.0)
    changed = child_operations[:, 1:6] != operations[1:6]
    for one, other in itertools.combinations(range(5), 2):
        near((changed[:, one] & changed[:, other]).mean(), 0.04, count)
    # A change of an operation says nothing about the edges.
    flips = as_pairs(children ^ np.uint32(bits)).astype(bool)
    apart = flips[changed[:, 0]].mean(axis=0) - flips[~changed[:, 0]].mean(axis=0)
    assert np.abs(apart).max() < 5 * (0.25 / 20_000 + 0.25 / 80_000) ** 0.5


@pytest.mark.parametrize("which", range(3))
def test_one_change_each(which: int) -> None:
    bits, operations = parent(which)
    count = 52_000
    parents = np.full(count, bits, np.uint32), np.tile(operations, (count, 1))
    children, child_operations = sample.mutate_one_batch(fresh(which), *parents, False)
    flipped = as_pairs(children ^ np.uint32(bits))
    changed = child_operations != operations
    assert (flipped.sum(axis=1) + changed.sum(axis=1) == 1).all()
    near(flipped.mean(axis=0), 1 / 26, count)
    near(changed[:, 1:6].mean(axis=0), 1 / 26, count)
    assert not changed[:, [0, 6]].any()
    assert (child_operations[:, 1:6] < 3).all()
    # Until valid: the valid ones of these 31 children, with their weights.
    valid, valid_operations = sample.mutate_one_batch(fresh(which), *parents, True)
    assert not codes(valid, valid_operations).any()
    kept = codes(children, child_operations) == cells.VALID
    share = as_pairs(valid ^ np.uint32(bits)).mean(axis=0)
    possible = flipped[kept].any(axis=0)
    expected = possible / (possible.sum() + 5)
    near(share, expected, count)


def test_the_same_state_gives_the_same_specs() -> None:
    one, other, third = (sample.random_spec_batch(fresh(seed), 50) for seed in (4, 4, 5))
    assert (one[0] == other[0]).all()
    assert (one[1] == other[1]).all()
    assert (one[0] != third[0]).any()


def test_one_change_in_place() -> None:
    bits, operations = parent(0)
    state = fresh()
    for _ in range(200):
        before = operations.copy()
        child = sample.mutate_one(state, bits, operations, operations)
        assert (int(child) ^ bits).bit_count() + (before != operations).sum() == 1
