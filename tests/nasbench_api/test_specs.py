"""Specs as the official documentation describes them, and its functions of graphs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.nasbench import api
from nprep.nasbench.lib import config, graph_util, model_spec
from nprep.spaces.nb101.cells import format_hashes
from tests import naive
from tests.nasbench_api.cells import (
    CONV1X1,
    CONV3X3,
    INCEPTION,
    INPUT,
    MAXPOOL3X3,
    OUTPUT,
    SPACE,
    spec_of,
)


def test_a_spec_is_pruned() -> None:
    # Vertex 2 leads nowhere, vertex 3 comes from nowhere.
    matrix = [[0, 1, 1, 0, 0], [0, 0, 0, 0, 1], [0] * 5, [0, 0, 0, 0, 1], [0] * 5]
    ops = [INPUT, CONV1X1, "anything", MAXPOOL3X3, OUTPUT]
    spec = api.ModelSpec(matrix, ops)
    assert spec.valid_spec
    assert spec.matrix.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]  # type: ignore[union-attr]
    assert spec.ops == [INPUT, CONV1X1, OUTPUT]
    assert spec.original_matrix.tolist() == matrix
    assert spec.original_ops == ops


def test_a_disconnected_spec() -> None:
    for matrix, ops in (
        ([[0, 1, 0], [0, 0, 0], [0, 0, 0]], [INPUT, CONV3X3, OUTPUT]),
        ([[0, 0], [0, 0]], [INPUT, OUTPUT]),
        ([[0]], [INPUT]),
    ):
        spec = api.ModelSpec(matrix, ops)
        assert not spec.valid_spec
        assert spec.matrix is None
        assert spec.ops is None
        with pytest.raises(ValueError, match="disconnected"):
            spec.hash_spec([CONV3X3])


def test_changes_of_what_was_given_are_not_seen() -> None:
    matrix, ops = np.array(INCEPTION[0]), list(INCEPTION[1])
    spec = api.ModelSpec(matrix, ops)
    matrix[:] = 0
    ops.clear()
    assert spec.original_matrix.tolist() == INCEPTION[0]
    assert spec.ops == INCEPTION[1]
    spec.original_matrix[0, 1] = 0
    assert spec.matrix[0, 1] == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("matrix", "ops", "message"),
    [
        ([[0, 1, 0], [0, 0, 1]], [INPUT, OUTPUT], "square"),
        ([0, 1], [INPUT, OUTPUT], "square"),
        ([[0, 1], [0, 0]], [INPUT, CONV1X1, OUTPUT], "length of ops"),
        ([[0, 1], [1, 0]], [INPUT, OUTPUT], "upper triangular"),
        ([[1, 1], [0, 0]], [INPUT, OUTPUT], "upper triangular"),
        ([[0, 1], [0, 0.5]], [INPUT, OUTPUT], "upper triangular"),
        ([[0, 2], [0, 0]], [INPUT, OUTPUT], "0 and 1"),
        ([[0, 0.5], [0, 0]], [INPUT, OUTPUT], "0 and 1"),
        ([[0, -1], [0, 0]], [INPUT, OUTPUT], "0 and 1"),
        ([[0, float("nan")], [0, 0]], [INPUT, OUTPUT], "0 and 1"),
        ([[float("nan"), 1], [0, 0]], [INPUT, OUTPUT], "0 and 1, not nan"),
        ([["0", "1"], ["0", "0"]], [INPUT, OUTPUT], "0 and 1, not '0'"),
        ([[None, 1], [0, 0]], [INPUT, OUTPUT], "0 and 1, not None"),
    ],
)
def test_specs_that_are_no_graphs(matrix: Any, ops: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        api.ModelSpec(matrix, ops)


TYPES = [
    lambda m: m,
    np.array,
    lambda m: np.array(m, np.int8),
    lambda m: np.array(m, np.int64),
    lambda m: np.array(m, np.uint8),
    lambda m: np.array(m, np.float32),
    lambda m: np.array(m, float),
    lambda m: np.array(m, bool),
    lambda m: [[bool(v) for v in row] for row in m],
    lambda m: [[float(v) for v in row] for row in m],
    lambda m: tuple(map(tuple, m)),
    lambda m: np.asfortranarray(m),
]


@pytest.mark.parametrize("make", TYPES)
def test_the_type_of_the_matrix_does_not_matter(nasbench: api.NASBench, make: Any) -> None:
    wanted = format_hashes(SPACE.module_hash)
    for row in (0, 25, 59):
        stored = spec_of(row)
        for ops in (stored.ops, tuple(stored.ops or ()), np.array(stored.ops)):
            spec = api.ModelSpec(make(stored.original_matrix.tolist()), ops)  # type: ignore[arg-type]
            assert spec.hash_spec(nasbench.config["available_ops"]) == wanted[row]
            assert nasbench.get_module_hash(spec) == wanted[row]
            nasbench.query(spec)


def test_isomorphic_specs_are_one_cell(nasbench: api.NASBench) -> None:
    found = 0
    for row in range(len(SPACE)):
        spec = spec_of(row)
        size = len(spec.ops or ())
        for v in range(1, size - 2):
            if spec.matrix is None or spec.ops is None or spec.matrix[v, v + 1]:
                continue
            order = list(range(size))
            order[v], order[v + 1] = v + 1, v
            other = api.ModelSpec(spec.matrix[np.ix_(order, order)], [spec.ops[i] for i in order])
            assert nasbench.get_module_hash(other) == nasbench.get_module_hash(spec)
            assert (
                nasbench.get_metrics_from_spec(other)[1] == nasbench.get_metrics_from_spec(spec)[1]
            )
            found += 1
    assert found > 20


edges = st.integers(0, 2**28 - 1)
names = st.sampled_from([CONV3X3, CONV1X1, MAXPOOL3X3, INPUT, OUTPUT, "conv5x5"])


@given(st.integers(2, 8), edges, st.lists(names, min_size=8, max_size=8), st.integers(0, 3))
@settings(max_examples=200)
def test_any_graph_is_judged_as_the_documentation_says(
    size: int, bits: int, ops: list[str], ends: int
) -> None:
    matrix = [[0] * size for _ in range(size)]
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size)]
    for k, (i, j) in enumerate(pairs):
        matrix[i][j] = bits >> k & 1
    ops = ops[:size]
    if ends & 1:
        ops[0] = INPUT
    if ends & 2:
        ops[-1] = OUTPUT
    spec = api.ModelSpec(matrix, ops)
    pruned = naive.prune((matrix, ops))
    verdict = naive.validity((matrix, ops))
    assert spec.valid_spec == (pruned is not None)
    if pruned is not None:
        assert spec.matrix.tolist() == pruned[0]  # type: ignore[union-attr]
        assert spec.ops == pruned[1]
    nasbench = api.NASBench.__new__(api.NASBench)
    nasbench.config = config.build_config()
    assert nasbench.is_valid(spec) == (verdict == "valid")
    messages = {
        "disconnected": "disconnected",
        "vertices": "too many vertices",
        "edges": "too many edges",
        "input": "first operation should be 'input'",
        "output": "last operation should be 'output'",
        "operation": "unsupported op",
    }
    if verdict != "valid":
        with pytest.raises(api.OutOfDomainError, match=messages[verdict]):
            nasbench._check_spec(spec)
    else:
        assert nasbench._hash_spec(spec) == naive.module_hash(pruned)  # type: ignore[arg-type]


def test_hashes_with_other_lists_of_operations() -> None:
    spec = api.ModelSpec(*INCEPTION)
    official = [CONV3X3, CONV1X1, MAXPOOL3X3]
    labels = [-1, *(official.index(op) for op in INCEPTION[1][1:-1]), -2]
    assert spec.hash_spec(official) == graph_util.hash_module(INCEPTION[0], labels)
    other = spec.hash_spec([MAXPOOL3X3, CONV3X3, CONV1X1, "conv5x5"])
    assert other != spec.hash_spec(official)
    swapped = [CONV1X1, CONV3X3, MAXPOOL3X3]
    renamed = [{CONV3X3: CONV1X1, CONV1X1: CONV3X3}.get(op, op) for op in INCEPTION[1]]
    assert api.ModelSpec(INCEPTION[0], renamed).hash_spec(swapped) == spec.hash_spec(official)
    with pytest.raises(ValueError, match="is not in"):
        spec.hash_spec([CONV3X3, CONV1X1])
    strange = api.ModelSpec(INCEPTION[0], [INPUT, *["conv5x5"] * 5, OUTPUT])
    with pytest.raises(ValueError, match="is not in"):
        strange.hash_spec(official)


def test_drawing_a_cell() -> None:
    spec = api.ModelSpec(*INCEPTION)
    try:
        graph = spec.visualize()
    except Exception as error:
        assert "graphviz" in str(error)  # noqa: PT017 # Installed or not: both must be clear.
    else:
        assert "maxpool3x3" in graph.source


def test_operations_as_bytes_are_told(nasbench: api.NASBench) -> None:
    spec = api.ModelSpec([[0, 1], [0, 0]], [b"input", b"output"])  # type: ignore[list-item]
    with pytest.raises(api.OutOfDomainError, match="must be strings, not b'input'"):
        nasbench.query(spec)


def test_graph_functions() -> None:
    # The documented example: FEDCBA fills columns, least significant bit first.
    is_edge = graph_util.gen_is_edge_fn(0b011010)
    matrix = np.fromfunction(is_edge, (4, 4), dtype=np.int8).astype(int)
    assert matrix.tolist() == [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert graph_util.num_edges(matrix) == 3
    assert not graph_util.is_full_dag(matrix)
    assert graph_util.is_full_dag(INCEPTION[0])
    assert model_spec.is_upper_triangular(np.array(INCEPTION[0]))
    assert not model_spec.is_upper_triangular(np.eye(3))
    labels = ["a", "b", "c", "d"]
    moved, moved_labels = graph_util.permute_graph(matrix, labels, [0, 2, 1, 3])
    assert moved[0, 1] == 1
    assert moved[0, 2] == 0
    assert moved_labels == ["a", "c", "b", "d"]
    assert graph_util.is_isomorphic((matrix, labels), (moved, moved_labels))
    assert not graph_util.is_isomorphic((matrix, labels), (moved, labels))
    assert not graph_util.is_isomorphic((matrix, labels), (np.zeros((4, 4)), labels))
    assert not graph_util.is_isomorphic((matrix, labels), (np.zeros((2, 2)), ["a", "b"]))
    assert graph_util.hash_module(matrix, [0, 1, 2, 3]) == graph_util.hash_module(
        moved.astype(float), [0, 2, 1, 3]
    )
    with pytest.raises(ValueError, match="one label for each row"):
        graph_util.hash_module(matrix, [1, 2])


def test_specs_can_be_copied_as_the_notebook_does() -> None:
    spec = api.ModelSpec(*INCEPTION)
    matrix, ops = copy.deepcopy(spec.original_matrix), copy.deepcopy(spec.original_ops)
    matrix[0, 1] = 1 - matrix[0, 1]
    ops[1] = MAXPOOL3X3
    assert api.ModelSpec(matrix, ops).valid_spec
    assert copy.deepcopy(spec).ops == spec.ops
