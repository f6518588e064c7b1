"""Queries, the clock and views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.errors import InvalidSpecError, MissingValueError, SettingsError, TableError
from nprep.spaces.nb101.cells import CellBatch, Spec, format_hashes, specs_from_cells
from nprep.table._values import sample_repeats
from nprep.table.clock import Clock
from nprep.table.schema import Content
from nprep.table.table import Table
from nprep.table.writer import write_table
from tests.table.small import small_content


@pytest.fixture(scope="module")
def content() -> Content:
    return small_content()


@pytest.fixture(scope="module")
def table(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Table:
    path = tmp_path_factory.mktemp("table") / "small.h5"
    write_table(path, content)
    return Table.open(path)


def test_a_cell_is_found_by_row_hash_and_spec(table: Table) -> None:
    specs = specs_from_cells(table.cells)
    for row, text in enumerate(format_hashes(table.module_hash)):
        assert table.row_of(row) == row
        assert table.row_of(text) == row
        assert table.row_of(text.upper()) == row
        assert table.row_of(bytes.fromhex(text)) == row
        assert table.row_of(specs[row]) == row
    np.testing.assert_array_equal(table.find_hashes(table.module_hash), np.arange(len(table)))
    np.testing.assert_array_equal(table.find_specs(table.cells), np.arange(len(table)))


@given(st.binary(min_size=16, max_size=16))
def test_unknown_hashes_are_not_found(table: Table, digest: bytes) -> None:
    known = {row.tobytes() for row in table.module_hash}
    found = table.find_hashes(np.frombuffer(digest, np.uint8))
    assert (found[0] >= 0) == (digest in known)


def test_hashes_beside_known_ones_are_not_found(table: Table) -> None:
    for step in (1, 255):
        near = table.module_hash.copy()
        near[:, 15] += np.uint8(step)
        assert (table.find_hashes(near) == -1).all()


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.bool_, np.int8, list])
def test_the_type_of_the_matrix_does_not_matter(table: Table, kind: type) -> None:
    """The official hash depends on it."""
    spec = specs_from_cells(table.cells)[3]
    matrix = np.array(spec.matrix)
    converted = matrix.tolist() if kind is list else matrix.astype(kind)
    assert table.row_of(Spec(converted, list(spec.operations))) == 3


def test_the_smallest_cell(table: Table) -> None:
    row = table.row_of(Spec([[0, 1], [0, 0]], ["input", "output"]))
    assert table.cells.num_vertices[row] == 2


def test_isomorphic_and_unpruned_specs_are_the_same_cell(table: Table) -> None:
    rng = np.random.default_rng(0)
    for row in range(20):
        spec = specs_from_cells(table.cells)[row]
        matrix, names = np.array(spec.matrix), list(spec.operations)
        size = len(names)
        # Renumber the inner vertices; keep what is still upper triangular.
        order = [0, *(1 + rng.permutation(size - 2)), size - 1]
        moved = matrix[np.ix_(order, order)]
        if not np.tril(moved).any():
            assert table.row_of(Spec(moved, [names[k] for k in order])) == row
        if size < 7:
            # A vertex that leads nowhere is pruned.
            padded = np.insert(np.insert(matrix, 1, 0, axis=0), 1, 0, axis=1)
            padded[0, 1] = 1
            assert table.row_of(Spec(padded, [names[0], "maxpool3x3", *names[1:]])) == row


# A chain of seven vertices, which is rare among random specs.
_CHAIN = Spec(
    np.eye(7, k=1), ["input", *["maxpool3x3", "conv1x1-bn-relu"] * 2, "maxpool3x3", "output"]
)


@pytest.mark.parametrize("cell", [-1, 120, 10**12, "0" * 32, b"\x00" * 16, _CHAIN])
def test_an_unknown_cell(table: Table, cell: object) -> None:
    with pytest.raises(MissingValueError, match="is not in"):
        table.query(cell, repeat=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "cell",
    [
        "not a hash",
        "ab",
        b"short",
        None,
        True,
        3.0,
        Spec([[0, 0], [0, 0]], ["input", "output"]),
        Spec([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv5x5", "output"]),
    ],
)
def test_invalid_cells_are_refused(table: Table, cell: object) -> None:
    with pytest.raises(InvalidSpecError):
        table.query(cell, repeat=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [0, 107, 200, -4])
def test_unknown_budgets(table: Table, budget: int) -> None:
    with pytest.raises(SettingsError, match="4, 12, 36, 108"):
        table.query(0, budget=budget, repeat=0)


@pytest.mark.parametrize("repeat", [3, -1, "best", True, None])
def test_unknown_repeats(table: Table, repeat: object) -> None:
    with pytest.raises((SettingsError, TypeError)):
        table.query(0, repeat=repeat)  # type: ignore[arg-type]


def test_sampling_needs_a_generator(table: Table) -> None:
    with pytest.raises(SettingsError, match="generator"):
        table.query(0)
    with pytest.raises(SettingsError, match="generator"):
        table.query_batch(np.array([0]), rng=0)  # type: ignore[arg-type]


def test_a_missing_value(table: Table) -> None:
    with pytest.raises(MissingValueError, match="row 7 at 36 epochs, repeat 1"):
        table.query(7, budget=36, repeat=1)
    with pytest.raises(MissingValueError, match="row 7 at 36 epochs"):
        table.query_batch(np.array([6, 7]), budget=36, repeat=1)
    with pytest.raises(MissingValueError, match="of single repeats"):
        table.values("test_accuracy", repeat=0)
    with pytest.raises(MissingValueError, match="row 500"):
        table.query_batch(np.array([0, 500]), repeat=0)


def test_values_of_every_kind(table: Table, content: Content) -> None:
    validation = content.metrics["final", "validation_accuracy"].values
    answer = table.query(50, repeat=2)
    assert answer.validation_accuracy == validation[50, 3, 2]
    assert answer.test_accuracy is None
    assert answer.provenance["validation_accuracy"] == "modelled"
    assert table.query(50, repeat=0).provenance["validation_accuracy"] == "measured"
    mean = table.query(50, repeat="mean")
    assert mean.validation_accuracy == pytest.approx(validation[50, 3].mean())
    assert mean.test_accuracy == content.means["final", "test_accuracy"].values[50, 3]
    assert mean.provenance["validation_accuracy"] == "modelled"
    assert mean.provenance["test_accuracy"] == "measured"
    assert table.query(3, repeat="mean").provenance["validation_accuracy"] == "derived"
    half = table.query(50, budget=12, repeat=1, half_way=True)
    assert half.validation_accuracy == pytest.approx(validation[50, 1, 1] / 2)
    # The mean of the repeats that are there.
    assert table.query(7, budget=36, repeat="mean").validation_accuracy == pytest.approx(
        validation[7, 2, [0, 2]].mean()
    )


def test_sampled_repeats_are_those_present_and_uniform(table: Table, content: Content) -> None:
    rng = np.random.default_rng(0)
    seen = [table.query(7, budget=36, rng=rng).repeat for _ in range(400)]
    assert set(seen) == {0, 2}
    assert 130 < seen.count(0) < 270
    values = np.array([[0.1, np.nan, 0.3], [np.nan, np.nan, 0.2], [0.1, 0.2, 0.3]], np.float32)
    picked = np.stack([sample_repeats(values, rng) for _ in range(3000)])
    assert set(picked[:, 0]) == {0, 2}
    assert set(picked[:, 1]) == {2}
    assert np.bincount(picked[:, 2]).min() > 850


def test_a_batch_equals_single_queries(table: Table) -> None:
    rows = np.array([5, 9, 5, 100])
    clock, single = Clock(), Clock()
    batch = table.query_batch(rows, repeat=1, clock=clock)
    for k, row in enumerate(rows):
        answer = table.query(int(row), repeat=1, clock=single)
        assert batch["validation_accuracy"][k] == answer.validation_accuracy
        assert batch["training_seconds"][k] == answer.training_seconds
    assert clock.queries == single.queries == 4
    assert clock.epochs == single.epochs == 4 * 108
    assert clock.training_seconds == pytest.approx(single.training_seconds)


def test_the_clock_is_charged_for_what_was_trained(table: Table, content: Content) -> None:
    clock = Clock()
    seconds = content.metrics["final", "training_seconds"].values
    table.query(1, repeat=0, clock=clock)
    table.query(2, repeat="mean", clock=clock)
    table.query(3, budget=4, repeat=0, clock=clock)
    table.query(4, budget=12, repeat=0, half_way=True, clock=clock)
    assert clock.queries == 4
    assert clock.epochs == 108 + 108 + 4 + 6
    assert clock.training_seconds == pytest.approx(seconds[1, 3, 0] + seconds[2, 3].mean())
    assert clock.untimed == 2
    with pytest.raises(MissingValueError):
        table.query(7, budget=36, repeat=1, clock=clock)
    assert clock.queries == 4, "a query that fails is free"
    clock.reset()
    assert clock == Clock()


def test_views(table: Table, content: Content) -> None:
    view = table.view("completed")
    assert len(view) == len(table)
    np.testing.assert_array_equal(view.rows, np.arange(len(table)))
    validation = content.metrics["final", "validation_accuracy"]
    np.testing.assert_array_equal(view.validation, validation.values[:, 3])
    np.testing.assert_array_equal(view.test, content.means["final", "test_accuracy"].values[:, 3])
    assert view.provenance["validation_accuracy"] == {"measured": 120 + 80, "modelled": 160}
    measured = table.view("measured")
    np.testing.assert_array_equal(measured.rows, np.arange(40))
    np.testing.assert_array_equal(measured.validation, validation.values[:40, 3])
    assert measured.provenance["validation_accuracy"] == {"measured": 120}
    # Positions of the view, not rows of the table.
    found = measured.index.find(table.key)
    np.testing.assert_array_equal(found, [*range(40), *([-1] * 80)])
    with pytest.raises(TableError, match="no view 'best'"):
        table.view("best")


def test_a_view_skips_cells_without_values(tmp_path: Path) -> None:
    content = small_content()
    metric = content.metrics["final", "validation_accuracy"]
    metric.values[10, 3] = np.nan
    metric.provenance[10, 3] = 0
    write_table(tmp_path / "t.h5", content)
    table = Table.open(tmp_path / "t.h5")
    assert 10 not in table.view("completed").rows
    assert 10 not in table.view("measured").rows
    assert isinstance(table.view("completed").cells, CellBatch)
