from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import InvalidSpecError, SettingsError
from nprep.spaces.nb101 import cells as space
from nprep.spaces.nb101.cells import CellBatch, Spec
from tests import naive, strategies

CONV = "conv3x3-bn-relu"
MATRIX = [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
OPERATIONS = ["input", CONV, "maxpool3x3", "output"]


@pytest.fixture(scope="module")
def everything() -> tuple[CellBatch, np.ndarray]:
    return space.enumerate_space()


# --- specs


@pytest.mark.parametrize(
    "matrix",
    [
        MATRIX,
        tuple(map(tuple, MATRIX)),
        [[bool(x) for x in row] for row in MATRIX],
        np.array(MATRIX),
        np.array(MATRIX, np.int8),
        np.array(MATRIX, np.uint8),
        np.array(MATRIX, np.float32),
        np.array(MATRIX, np.float64),
        np.array(MATRIX, bool),
        np.array(MATRIX, order="F"),
        [np.array(row, float) for row in MATRIX],
    ],
    ids=lambda m: f"{type(m).__name__}-{getattr(m, 'dtype', type(m[0]).__name__)}",
)
def test_the_type_of_the_matrix_does_not_matter(matrix: Any) -> None:
    spec = Spec(matrix, np.array(OPERATIONS))
    assert spec == Spec(MATRIX, OPERATIONS)
    assert hash(spec) == hash(Spec(MATRIX, OPERATIONS))
    assert all(type(x) is int for row in spec.matrix for x in row)
    assert all(type(name) is str for name in spec.operations)
    assert spec.module_hash() == naive.module_hash((MATRIX, OPERATIONS))


def edited(i: int, j: int, value: Any) -> list[list[Any]]:
    matrix: list[list[Any]] = [list(row) for row in MATRIX]
    matrix[i][j] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "operations", "message"),
    [
        ([[0, 1, 1], [0, 0, 1]], ["input", "output"], "not square"),
        ([[0, 1], [0]], ["input", "output"], "not square"),
        (np.zeros(4), ["input", "output"], "not square"),
        (np.zeros((2, 2, 2)), ["input", "output"], "not square"),
        (5, ["input", "output"], "not square"),
        (None, ["input", "output"], "not square"),
        ([[0]], ["input"], "1 x 1"),
        (np.zeros((0, 0)), [], "0 x 0"),
        (edited(0, 1, 2), OPERATIONS, "other than 0 and 1"),
        (edited(0, 1, -1), OPERATIONS, "other than 0 and 1"),
        (edited(0, 1, 0.5), OPERATIONS, "other than 0 and 1"),
        (edited(0, 1, float("nan")), OPERATIONS, "other than 0 and 1"),
        (edited(0, 1, "1"), OPERATIONS, "other than 0 and 1"),
        (edited(0, 1, None), OPERATIONS, "other than 0 and 1"),
        (edited(1, 0, 1), OPERATIONS, "not strictly upper triangular"),
        (edited(2, 2, 1), OPERATIONS, "not strictly upper triangular"),
        (MATRIX, OPERATIONS[:3], "3 operations; give one for each row"),
        (MATRIX, [*OPERATIONS, "output"], "5 operations"),
        (MATRIX, "conv", "not a sequence of names"),
        (MATRIX, [3, 0, 2, 4], "not a sequence of names"),
        (MATRIX, 7, "not a sequence of names"),
    ],
)
def test_malformed_specs(matrix: Any, operations: Any, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        Spec(matrix, operations)


def chain(size: int) -> list[list[int]]:
    return [[int(j == i + 1) for j in range(size)] for i in range(size)]


DENSE = np.triu(np.ones((5, 5), int), 1)


@pytest.mark.parametrize(
    ("matrix", "operations", "problem"),
    [
        ([[0, 0], [0, 0]], ["input", "output"], "no path"),
        (edited(1, 3, 0)[:2] + [[0] * 4] * 2, OPERATIONS, "no path"),
        (DENSE, ["input", CONV, CONV, CONV, "output"], "10 edges"),
        (chain(8), ["input", *[CONV] * 6, "output"], "8 vertices"),
        (MATRIX, ["output", CONV, CONV, "output"], "first operation is 'output'"),
        (MATRIX, ["input", CONV, CONV, "input"], "last operation is 'input'"),
        (MATRIX, ["input", "conv5x5", CONV, "output"], "operation 'conv5x5'"),
        (MATRIX, ["input", "input", CONV, "output"], "operation 'input'"),
    ],
)
def test_graphs_that_are_no_cells(matrix: Any, operations: list[str], problem: str) -> None:
    spec = Spec(matrix, operations)
    assert not spec.is_valid()
    assert problem in str(spec.problem())
    for use in (spec.key, spec.module_hash, spec.codes, spec.trainable_parameters):
        with pytest.raises(InvalidSpecError, match=problem):
            use()
    with pytest.raises(InvalidSpecError, match=f"at position 1, .*{problem}"):
        space.cells_from_specs([Spec(MATRIX, OPERATIONS), spec])


def test_disconnected_specs_have_no_pruned_form() -> None:
    with pytest.raises(InvalidSpecError, match="cannot be pruned"):
        Spec([[0, 0], [0, 0]], ["input", "output"]).prune()


def test_what_is_pruned_away_is_not_judged() -> None:
    # 8 vertices of which one leads nowhere and carries an unknown operation: a cell of 7.
    matrix = np.zeros((8, 8), int)
    matrix[:7, :7] = chain(7)
    matrix[5, 7], matrix[5, 6] = 1, 1
    operations = ["input", *[CONV] * 5, "unheard-of", "output"]
    spec = Spec(matrix, operations)
    assert spec.is_valid()
    assert spec.prune().num_vertices == 7
    assert spec.module_hash() == naive.module_hash((chain(7), ["input", *[CONV] * 5, "output"]))


def test_the_cell_of_two_vertices() -> None:
    spec = Spec([[0, 1], [0, 0]], ["input", "output"])
    assert spec.is_valid()
    assert spec.module_hash() == naive.module_hash(([[0, 1], [0, 0]], ["input", "output"]))
    assert spec.trainable_parameters() == naive.parameters(([[0, 1], [0, 0]], ["input", "output"]))
    large = np.zeros((7, 7), int)
    large[0, 6] = 1
    assert Spec(large, ["input", *[CONV] * 5, "output"]).key() == spec.key()


@settings(max_examples=200)
@given(strategies.specs(max_vertices=8, broken=True))
def test_specs_against_naive(cell: naive.Cell) -> None:
    spec = Spec(*cell)
    assert spec.is_valid() == (naive.validity(cell) == "valid")
    pruned = naive.prune(cell)
    if pruned is not None:
        assert spec.prune() == Spec(*pruned)
    if spec.is_valid():
        assert pruned is not None
        assert spec.module_hash() == naive.module_hash(pruned)
        assert spec.trainable_parameters() == naive.parameters(pruned)
        back = space.specs_from_cells(space.cells_from_specs([spec]))
        assert back == [Spec(*pruned)]


@given(strategies.cells(), st.data())
def test_isomorphic_specs_are_one_cell(cell: naive.Cell, data: st.DataObject) -> None:
    other = Spec(*data.draw(st.sampled_from(naive.arrangements(cell))))
    assert other.key() == Spec(*cell).key()
    assert other.module_hash() == Spec(*cell).module_hash()


# --- batches


def test_the_space_in_the_order_of_its_hashes(everything: tuple[CellBatch, np.ndarray]) -> None:
    cells, hashes = everything
    assert len(cells) == 423_624
    texts = space.format_hashes(hashes)
    assert texts == sorted(set(texts))
    again, same = space.enumerate_space(threads=3)
    np.testing.assert_array_equal(same, hashes)
    np.testing.assert_array_equal(again.adjacency_bits, cells.adjacency_bits)
    for row in np.random.default_rng(0).integers(len(cells), size=200):
        batch = cells.take(np.array([row]))
        cell = naive.unpack(batch.adjacency_bits[0], batch.operations[0], batch.num_vertices[0])
        assert naive.module_hash(cell) == texts[row]


def test_every_row_equals_the_measured_table(
    everything: tuple[CellBatch, np.ndarray], measured_path: Path
) -> None:
    cells, hashes = everything
    with np.load(measured_path) as measured:
        np.testing.assert_array_equal(hashes, measured["module_hash"])
        np.testing.assert_array_equal(cells.adjacency_bits, measured["adjacency_bits"])
        np.testing.assert_array_equal(cells.operations, measured["operations"])
        np.testing.assert_array_equal(cells.num_vertices, measured["num_vertices"])
        np.testing.assert_array_equal(
            space.trainable_parameters(cells), measured["trainable_parameters"]
        )
    np.testing.assert_array_equal(space.module_hashes(cells.take(np.arange(999))), hashes[:999])


def test_lookup(everything: tuple[CellBatch, np.ndarray]) -> None:
    cells, hashes = everything
    index = space.build_index(cells)
    np.testing.assert_array_equal(space.find_rows(index, cells), np.arange(len(cells)))
    specs = space.random_specs(2000, np.random.default_rng(3))
    rows = space.find_rows(index, specs)
    codes, pruned = space.prune_cells(specs)
    assert not codes.any()
    np.testing.assert_array_equal(space.module_hashes(pruned), hashes[rows])
    np.testing.assert_array_equal(space.cell_keys(pruned), space.cell_keys(cells.take(rows)))
    broken = CellBatch(specs.adjacency_bits & np.uint32(0), specs.operations, specs.num_vertices)
    assert (space.find_rows(index, broken) == -1).all()
    part = space.build_index(cells.take(np.arange(100)))
    found = space.find_rows(part, specs)
    np.testing.assert_array_equal(found, np.where(rows < 100, rows, -1))


def test_read_only_arrays() -> None:
    batch = space.random_specs(5, np.random.default_rng(0))
    for array in (batch.adjacency_bits, batch.operations, batch.num_vertices):
        array.setflags(write=False)
    codes, pruned = space.prune_cells(batch)
    assert not codes.any()
    assert space.encode_flat(pruned).shape == (5, 56)


def test_encodings_of_batches() -> None:
    _, cells = space.prune_cells(space.random_specs(20, np.random.default_rng(1)))
    parts = zip(cells.adjacency_bits, cells.operations, cells.num_vertices, strict=True)
    naive_cells = [naive.unpack(*part) for part in parts]
    hot = np.array([naive.one_hot(cell) for cell in naive_cells])
    np.testing.assert_array_equal(space.encode_one_hot(cells), hot)
    matrices = np.array([naive.padded(cell[0]) for cell in naive_cells])
    np.testing.assert_array_equal(space.adjacency_matrices(cells), matrices)
    for form, slow in (("row", naive.averaging), ("symmetric", naive.symmetric)):
        forward, backward = space.normalised_adjacency(cells, form)  # type: ignore[arg-type]
        for i, (matrix, _) in enumerate(naive_cells):
            n = len(matrix)
            np.testing.assert_allclose(forward[i, :n, :n], slow(np.array(matrix)), rtol=1e-6)
            np.testing.assert_allclose(backward[i, :n, :n], slow(np.array(matrix).T), rtol=1e-6)
    with pytest.raises(SettingsError, match="'both'"):
        space.normalised_adjacency(cells, "both")  # type: ignore[arg-type]


def test_draws_depend_on_the_generator_alone() -> None:
    def draw(seed: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(seed)
        specs = space.random_specs(100, rng)
        more = space.random_specs(100, rng)
        children = space.mutate(specs, rng)
        return specs.adjacency_bits, more.adjacency_bits, children.adjacency_bits

    one, same, other = draw(1), draw(1), draw(2)
    for a, b, c in zip(one, same, other, strict=True):
        assert (a == b).all()
        assert (a != c).any()
    assert (one[0] != one[1]).any()


@pytest.mark.parametrize("rule", space.MUTATION_RULES)
def test_mutation_rules(rule: space.MutationRule) -> None:
    rng = np.random.default_rng(0)
    parents = space.random_specs(3000, rng)
    children = space.mutate(parents, rng, rule)
    codes, _ = space.prune_cells(children)
    flips = np.array([int(x).bit_count() for x in parents.adjacency_bits ^ children.adjacency_bits])
    changes = flips + (parents.operations != children.operations).sum(axis=1)
    assert codes.any() == (rule == "one")
    assert (changes.max() > 1) == (rule == "notebook")


def test_mutations_refused() -> None:
    rng = np.random.default_rng(0)
    parents = space.random_specs(3, rng)
    with pytest.raises(SettingsError, match="'two'"):
        space.mutate(parents, rng, "two")  # type: ignore[arg-type]
    for rate in (-1.0, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="mutation rate"):
            space.mutate(parents, rng, rate=rate)
    small = space.cells_from_specs([Spec(MATRIX, OPERATIONS)])
    with pytest.raises(InvalidSpecError, match="position 0 has fewer than 7"):
        space.mutate(small, rng)
    broken = CellBatch(
        parents.adjacency_bits * np.array([1, 0, 1], np.uint32),
        parents.operations,
        parents.num_vertices,
    )
    with pytest.raises(InvalidSpecError, match="position 1 is invalid"):
        space.mutate(broken, rng)


def test_hash_texts() -> None:
    digest = np.arange(240, 256, dtype=np.uint8)
    text = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
    assert space.format_hashes(np.stack([digest, digest])) == [text, text]
    np.testing.assert_array_equal(space.parse_hash(text), digest)
    for wrong in ("", text[:-1], text + "00", "g" * 32, " ".join(["f0f1"] * 8)[:32], None):
        with pytest.raises(InvalidSpecError, match="not a module hash"):
            space.parse_hash(wrong)  # type: ignore[arg-type]
