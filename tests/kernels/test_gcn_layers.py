"""The rows of a batch of graphs, and what training does with them, against loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nprep.kernels.graphs.layers import (
    add_repeated,
    empty_lists,
    fill_lists,
    order_rows,
    split_deltas,
    state_classes,
    turned_weights,
    type_gradients,
)
from nprep.spaces.graphs import GraphBatch
from nprep.spaces.nb101.batch import cell_graphs
from tests.predictor.some_cells import random_cells

GRAPHS = {name: cell_graphs(random_cells(40, 5), name) for name in ("row", "symmetric", "sum")}
some_graphs = st.sampled_from(list(GRAPHS))


def entries(graphs: GraphBatch, vertex: int, along: bool) -> list[tuple[int, float]]:
    """What a vertex gathers in one direction: vertices and weights."""
    starts = graphs.out_starts if along else graphs.in_starts
    nodes = graphs.out_nodes if along else graphs.in_nodes
    weights = graphs.out_weights if along else graphs.in_weights
    begin, end = starts[vertex], starts[vertex + 1]
    return list(zip(nodes[begin:end].tolist(), weights[begin:end].tolist(), strict=True))


def classes_of(graphs: GraphBatch) -> NDArray[np.int32]:
    return state_classes(
        graphs.types, graphs.out_starts, graphs.out_nodes, graphs.out_weights, graphs.in_starts,
        graphs.in_nodes, graphs.in_weights,
    )  # fmt: skip


@given(name=some_graphs)
def test_a_class_gathers_the_same_types_with_the_same_weights(name: str) -> None:
    graphs = GRAPHS[name]
    known: dict[object, int] = {}
    expected = []
    for vertex in range(graphs.num_nodes):
        key = tuple(
            tuple(sorted((int(graphs.types[u]), w) for u, w in entries(graphs, vertex, along)))
            for along in (True, False)
        )
        expected.append(known.setdefault(key, len(known)))
    assert len(known) < graphs.num_nodes
    np.testing.assert_array_equal(classes_of(graphs), expected)


@settings(max_examples=30, deadline=None)
@given(name=some_graphs, seed=st.integers(0, 2**31), count=st.integers(1, 12))
def test_rows_with_new_states_come_first(name: str, seed: int, count: int) -> None:
    graphs = GRAPHS[name]
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(graphs))[:count].astype(np.int32)
    nodes: list[int] = []
    begins = []
    for cell in drawn:
        begins.append(len(nodes))
        nodes += range(graphs.cell_starts[cell], graphs.cell_starts[cell + 1])
    begins.append(len(nodes))
    rows, classes = len(nodes), classes_of(graphs)
    seen = np.full(graphs.num_nodes, -1, np.int32)
    order, numbers = np.empty(rows, np.int32), np.empty(rows, np.int32)
    distinct = order_rows(np.array(nodes, np.int32), rows, classes, seen, order, numbers)
    assert (seen == -1).all()
    assert distinct == len({classes[node] for node in nodes})
    np.testing.assert_array_equal(np.sort(order), np.arange(rows))
    for row in range(rows):
        assert numbers[row] < distinct
        assert classes[nodes[order[numbers[row]]]] == classes[nodes[row]]

    # Gradients of equal states add up.
    gradients = rng.standard_normal((rows, 5)).astype(np.float32)
    expected = np.zeros((distinct, 5))
    for place, row in enumerate(order):
        expected[numbers[row]] += gradients[place]
    add_repeated(order, numbers, distinct, rows, gradients)
    np.testing.assert_allclose(gradients[:distinct], expected, rtol=1e-4, atol=1e-5)

    # The lists against the entries of the graphs, one by one.
    back = turned_weights(
        graphs.in_starts, graphs.in_nodes, graphs.in_weights, graphs.out_starts, graphs.out_nodes
    )
    lists = empty_lists(rows, graphs.out_starts)
    fill_lists(
        drawn, graphs.cell_starts, np.array(begins), numbers, graphs.out_starts, graphs.out_nodes,
        graphs.types[graphs.out_nodes].astype(np.int32), graphs.out_weights, back, lists,
    )  # fmt: skip
    slopes = rng.standard_normal((rows, 6)).astype(np.float32)
    wanted = np.ones((graphs.num_types, 6))
    for row, node in enumerate(nodes):
        own = entries(graphs, node, along=True)
        begin, end = lists.starts[row], lists.starts[row + 1]
        assert end - begin == len(own)
        for place, (other, weight) in zip(range(begin, end), own, strict=True):
            source = lists.rows[place]
            assert nodes[source] == other
            assert lists.states[place] == numbers[source]
            assert lists.types[place] == graphs.types[other]
            assert lists.weights[place] == np.float32(weight)
            turned = dict(entries(graphs, other, along=False))
            assert lists.back_weights[place] == np.float32(turned[node])
    for place, row in enumerate(order[:distinct]):
        for other, weight in entries(graphs, nodes[row], along=True):
            wanted[graphs.types[other], 3:] += weight * slopes[place, 3:].astype(np.float64)
    found = np.ones((graphs.num_types, 6), np.float32)
    type_gradients(lists, order[:distinct], slopes, 3, 3, found)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@settings(max_examples=40)
@given(width=st.integers(1, 50), rows=st.integers(0, 5), seed=st.integers(0, 2**31))
def test_gradients_pass_where_sums_are_above_zero(width: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums = rng.choice([-1.0, 0.0, 1.0], (rows + 1, 2 * width)).astype(np.float32)
    deltas = rng.standard_normal((rows + 1, width)).astype(np.float32)
    expected = np.where(sums > 0, np.tile(deltas, 2) / 2, 0)
    expected[rows] = sums[rows]
    split_deltas(sums, deltas, rows, width)
    np.testing.assert_array_equal(sums, expected)
