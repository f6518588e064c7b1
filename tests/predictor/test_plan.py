"""Inference with shared rows against the dense reference implementation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nprep.errors import SettingsError
from nprep.kernels.numeric.rng import seed_state
from nprep.predictor import plan_building
from nprep.predictor.gcn import GcnWeights, initial_parameters
from nprep.predictor.labels import LabelScale
from nprep.predictor.plan import SharingPlan, predict
from nprep.predictor.settings import GcnSettings
from nprep.spaces.graphs import GraphBatch
from nprep.spaces.nb101.cells import CellBatch
from tests.predictor.naive_gcn import matrix_of, predict_cell, predict_cells
from tests.predictor.some_cells import random_cells

SMALL = GcnSettings(width=20, head=(12,), layer_bias=True)


def untrained(settings: GcnSettings, num_types: int = 5) -> GcnWeights:
    """A predictor with random weights and random biases."""
    parameters = initial_parameters(settings, num_types, seed_state(np.random.SeedSequence(1)))
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, len(parameters))
    parameters += noise.astype(np.float32)
    return GcnWeights(parameters, num_types, settings, LabelScale("score"), np.zeros(0))


@pytest.mark.parametrize("normalisation", ["row", "symmetric", "sum"])
@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_predictions_equal_dense(normalisation: str, layers: int) -> None:
    settings = replace(SMALL, normalisation=normalisation, layers=layers)
    weights = untrained(settings)
    cells = random_cells(300, layers)
    expected = predict_cells(weights, cells)
    outputs = predict(weights, cells)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@hypothesis_settings(max_examples=20)
@given(
    width=st.integers(1, 40),
    head=st.lists(st.integers(1, 20), max_size=2).map(tuple),
    activation=st.sampled_from(["relu", "linear"]),
    count=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_any_size(
    width: int, head: tuple[int, ...], activation: str, count: int, seed: int
) -> None:
    settings = replace(SMALL, width=width, head=head, activation=activation)
    weights = untrained(settings)
    cells = random_cells(count, seed)
    expected = predict_cells(weights, cells)
    np.testing.assert_allclose(predict(weights, cells), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_cutting_the_work_changes_rounding_alone(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    weights = untrained(SMALL)
    cells = random_cells(500, 2)
    whole = SharingPlan.build(cells).outputs(weights)
    monkeypatch.setattr(plan_building, "CHUNK_NODES", 37)
    monkeypatch.setattr(plan_building, "PRODUCT_SLOTS", 50)
    monkeypatch.setattr(plan_building, "ROW_SLOTS", 20)
    few = SharingPlan.build(cells)
    # Fewer slots: sums are computed again, in the same order of their entries.
    assert few.products > SharingPlan.build(cells).parts[0].slots[:, 0].sum()
    np.testing.assert_array_equal(few.outputs(weights), whole)
    cut = SharingPlan.build(cells, part_graphs=90)
    assert len(cut.parts) > 3
    outputs = cut.outputs(weights)
    np.testing.assert_array_equal(cut.outputs(weights, threads=threads), outputs)
    # Another part may sum a shared list's entries in another order.
    np.testing.assert_allclose(outputs, whole, rtol=1e-5, atol=1e-6)


def test_plain_gathers_hold_each_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = random_cells(400, 3)
    whole = SharingPlan.build(cells, layers=4)
    monkeypatch.setattr(plan_building, "CHUNK_NODES", 60)
    monkeypatch.setattr(plan_building, "PRODUCT_SLOTS", 90)
    monkeypatch.setattr(plan_building, "ROW_SLOTS", 40)
    small = SharingPlan.build(cells, layers=4)
    assert len(small.parts[0].pair_rows) > len(whole.parts[0].pair_rows)
    for one, two in zip(whole.segments[0].layers, small.segments[0].layers, strict=True):
        for left, right in zip(one.lists, two.lists, strict=True):
            np.testing.assert_array_equal(left, right)


def test_too_large_a_graph_is_refused() -> None:
    nodes = (1 << 15) + 1
    each = np.arange(nodes, dtype=np.int32)
    starts, ones = np.arange(nodes + 1, dtype=np.int32), np.ones(nodes, np.float32)
    graphs = GraphBatch(
        np.zeros(nodes, np.uint8), 1, np.array([0, nodes], np.int32), starts, each, ones, starts,
        each, ones,
    )  # fmt: skip
    with pytest.raises(SettingsError, match="32769 nodes"):
        SharingPlan.build(graphs)


def test_too_many_weights_are_refused() -> None:
    nodes = 70_000
    each = np.arange(nodes, dtype=np.int32)
    starts = np.arange(nodes + 1, dtype=np.int32)
    weights = np.random.default_rng(0).permutation(nodes).astype(np.float32)
    graphs = GraphBatch(
        np.zeros(nodes, np.uint8), 1, starts, starts, each, weights, starts, each, weights
    )
    with pytest.raises(SettingsError, match="distinct edge weights"):
        SharingPlan.build(graphs)


def test_equal_and_isomorphic_cells_share_rows_and_predictions() -> None:
    cells = random_cells(40, 8, smallest=5, chain=False)
    renamed = [relabel(cells, row, np.random.default_rng(row)) for row in range(len(cells))]
    bits = np.array([bits for bits, _ in renamed], np.uint32)
    operations = np.array([codes for _, codes in renamed], np.uint8)
    twins = CellBatch(bits, operations, cells.num_vertices)
    assert (twins.operations != cells.operations).any()
    weights = untrained(SMALL)
    np.testing.assert_allclose(predict(weights, twins), predict(weights, cells), rtol=1e-5)
    both = CellBatch(
        np.append(cells.adjacency_bits, bits),
        np.append(cells.operations, operations, axis=0),
        np.append(cells.num_vertices, cells.num_vertices),
    )
    once, twice = (
        [len(layer.out_starts) for layer in SharingPlan.build(c).segments[0].layers[:-1]]
        for c in (cells, both)
    )
    assert once == twice


def relabel(cells: CellBatch, row: int, rng: np.random.Generator) -> tuple[int, list[int]]:
    """An isomorphic twin: the vertices in another topological order."""
    matrix = matrix_of(cells, row)
    size = len(matrix)
    order: list[int] = []
    while len(order) < size:
        left = [v for v in range(size) if v not in order]
        order.append(int(rng.choice([v for v in left if not matrix[left, v].any()])))
    moved = matrix[np.ix_(order, order)]
    full = np.zeros((7, 7), bool)
    full[:size, :size] = moved
    bits = sum(1 << k for k, edge in enumerate(full[np.triu_indices(7, 1)]) if edge)
    codes = [int(cells.operations[row, v]) for v in order]
    return bits, codes + [255] * (7 - size)


def test_the_mean_is_over_the_vertices_a_cell_has() -> None:
    # Bug of others: 7 vertices assumed for every cell.
    weights = untrained(SMALL)
    for size in (2, 3, 7):
        cells = random_cells(5, size, smallest=size, largest=size)
        np.testing.assert_allclose(
            predict(weights, cells), predict_cells(weights, cells), rtol=1e-4
        )


def test_graphs_of_another_kind() -> None:
    rng = np.random.default_rng(0)
    matrices = [np.triu(rng.random((n, n)) < 0.3, 1).astype(float) for n in (1, 22, 9, 14)]
    types = [rng.integers(0, 9, len(m)).tolist() for m in matrices]
    weights = untrained(replace(SMALL, layers=4), num_types=9)
    expected = [predict_cell(weights, m, t) for m, t in zip(matrices, types, strict=True)]
    outputs = predict(weights, graphs_of(matrices, types))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def graphs_of(matrices: list[np.ndarray], types: list[list[int]]) -> GraphBatch:
    """Row-normalised graphs of dense matrices."""
    lists: dict[str, list[list[float]]] = {"out": [], "in": []}
    offset = 0
    for matrix in matrices:
        for name, one in (("out", matrix), ("in", matrix.T)):
            for i in range(len(one)):
                lists[name].append([offset + i, *(offset + np.flatnonzero(one[i]))])
        offset += len(matrix)
    arrays = []
    for name in ("out", "in"):
        counts = [len(entry) for entry in lists[name]]
        arrays += [
            np.append(0, np.cumsum(counts)).astype(np.int32),
            np.concatenate(lists[name]).astype(np.int32),
            np.repeat(1 / np.array(counts), counts).astype(np.float32),
        ]
    starts = np.append(0, np.cumsum([len(m) for m in matrices])).astype(np.int32)
    return GraphBatch(np.concatenate(types).astype(np.uint8), 9, starts, *arrays)


def test_a_plan_refuses_a_predictor_that_it_is_not_for() -> None:
    plan = SharingPlan.build(random_cells(10, 1), "row", 3)
    for other in (replace(SMALL, layers=2), replace(SMALL, normalisation="sum")):
        with pytest.raises(SettingsError, match="build a plan"):
            plan.outputs(untrained(other))


def test_no_cells() -> None:
    cells = random_cells(3, 1).take(np.zeros(0, np.int64))
    assert predict(untrained(SMALL), cells).shape == (0,)


@pytest.mark.data
def test_whole_space(measured_path: Path) -> None:
    with np.load(measured_path) as arrays:
        cells = CellBatch(*(arrays[k] for k in ("adjacency_bits", "operations", "num_vertices")))
    plan = SharingPlan.build(cells, "row", part_graphs=len(cells))
    # A node is one of its own neighbours, so nodes that swap places with a neighbour share rows:
    # 1,863 and 903,330 without that.
    rows = [len(layer.out_starts) - 1 for layer in plan.segments[0].layers]
    assert rows == [1593, 902934, 2898195]
    # 156 and 257,328 sums in each direction; few of the latter are computed twice.
    sums = np.diff(plan.parts[0].sum_bounds[:, [0, -1]]).reshape(-1)
    assert sums[0] == 2 * 156
    assert 2 * 257_328 < sums[1] < 1.03 * 2 * 257_328
    weights = untrained(replace(SMALL, layer_bias=False))
    scores = predict(weights, cells)
    some = np.random.default_rng(0).choice(len(cells), 300, replace=False)
    expected = predict_cells(weights, cells.take(some))
    np.testing.assert_allclose(
        scores[some], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )
