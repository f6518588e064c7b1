"""Conformance with the official documentation (README, docstrings and notebook of nasbench)."""

from __future__ import annotations

import copy
import inspect
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import TableError
from nprep.nasbench import _store, api
from nprep.nasbench.lib import config, graph_util, model_spec
from nprep.spaces.nb101.cells import format_hashes, specs_from_cells
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources._runs import Runs, to_content
from nprep.table.writer import write_table
from tests import naive
from tests import tfrecord_writer as writer
from tests.table.official_small import made_up_values, records, small_space

INPUT, OUTPUT = "input", "output"
CONV3X3, CONV1X1, MAXPOOL3X3 = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
SPACE = small_space()
KEYS = {
    "module_adjacency",
    "module_operations",
    "trainable_parameters",
    "training_time",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
}
RUN_KEYS = {
    f"{stage}_{name}"
    for stage in ("halfway", "final")
    for name in ("training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
}
INCEPTION = (
    [
        [0, 1, 1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    [INPUT, CONV1X1, CONV3X3, CONV3X3, CONV3X3, MAXPOOL3X3, OUTPUT],
)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return made_up_values(SPACE, BUDGETS)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("api") / "table.h5"
    write_table(path, to_content("nasbench", Runs(values, {"file": "x"}), SPACE))
    return path


@pytest.fixture
def nasbench(path: Path) -> api.NASBench:
    return api.NASBench(path, seed=3)


def spec_of(row: int) -> api.ModelSpec:
    spec = specs_from_cells(SPACE.cells.take(np.array([row])))[0]
    return api.ModelSpec([list(line) for line in spec.matrix], list(spec.operations))


# Names.


def test_every_public_name_of_the_original_is_there() -> None:
    methods = {
        "query": ["model_spec", "epochs", "stop_halfway"],
        "is_valid": ["model_spec"],
        "get_budget_counters": [],
        "reset_budget_counters": [],
        "evaluate": ["model_spec", "model_dir"],
        "hash_iterator": [],
        "get_metrics_from_hash": ["module_hash"],
        "get_metrics_from_spec": ["model_spec"],
        "_check_spec": ["model_spec"],
        "_hash_spec": ["model_spec"],
    }
    for name, parameters in methods.items():
        signature = inspect.signature(getattr(api.NASBench, name))
        assert list(signature.parameters)[1:] == parameters
    query = inspect.signature(api.NASBench.query).parameters
    assert (query["epochs"].default, query["stop_halfway"].default) == (108, False)
    assert list(inspect.signature(api.NASBench).parameters) == ["dataset_file", "seed"]
    assert list(inspect.signature(api.ModelSpec).parameters) == ["matrix", "ops", "data_format"]
    assert callable(api.ModelSpec.hash_spec)
    assert callable(api.ModelSpec.visualize)
    assert issubclass(api.OutOfDomainError, Exception)
    assert model_spec.ModelSpec is api.ModelSpec
    assert callable(model_spec.is_upper_triangular)
    for name in (
        "gen_is_edge_fn",
        "is_full_dag",
        "num_edges",
        "hash_module",
        "permute_graph",
        "is_isomorphic",
    ):
        assert callable(getattr(graph_util, name))


def test_attributes_of_the_objects(nasbench: api.NASBench) -> None:
    assert nasbench.config == config.build_config()
    assert nasbench.config["available_ops"] == [CONV3X3, CONV1X1, MAXPOOL3X3]
    assert (nasbench.config["module_vertices"], nasbench.config["max_edges"]) == (7, 9)
    assert nasbench.config["num_repeats"] == 3
    assert nasbench.valid_epochs == {4, 12, 36, 108}
    assert nasbench.training_time_spent == 0.0
    assert nasbench.total_epochs_spent == 0
    assert nasbench.history == {}
    spec = api.ModelSpec(*INCEPTION)
    for name in ("original_matrix", "original_ops", "matrix", "ops", "valid_spec", "data_format"):
        assert hasattr(spec, name)
    assert spec.data_format == "channels_last"


# Queries.


def test_a_query_returns_one_of_the_repeats(nasbench: api.NASBench, values: np.ndarray) -> None:
    for place, epochs in enumerate(BUDGETS):
        for half in (False, True):
            seen = set()
            for _ in range(60):
                data = nasbench.query(spec_of(20), epochs, stop_halfway=half)
                assert set(data) == KEYS
                runs = values[20, place, :, 0 if half else 1].tolist()
                found = [
                    data[name]
                    for name in (
                        "training_time",
                        "train_accuracy",
                        "validation_accuracy",
                        "test_accuracy",
                    )
                ]
                assert found in runs
                seen.add(runs.index(found))
            assert seen == {0, 1, 2}


def test_the_cell_of_a_query_is_the_stored_one(nasbench: api.NASBench) -> None:
    for row in range(len(SPACE)):
        data = nasbench.query(spec_of(row))
        stored = specs_from_cells(SPACE.cells.take(np.array([row])))[0]
        assert data["module_adjacency"].tolist() == [list(line) for line in stored.matrix]
        assert data["module_adjacency"].dtype == np.int8
        assert data["module_operations"] == list(stored.operations)
        assert data["trainable_parameters"] == SPACE.trainable_parameters[row]
        assert type(data["trainable_parameters"]) is int
        assert type(data["validation_accuracy"]) is float


def test_queries_charge_time_and_epochs(nasbench: api.NASBench) -> None:
    assert nasbench.get_budget_counters() == (0.0, 0)
    first = nasbench.query(spec_of(1))
    second = nasbench.query(spec_of(1), epochs=12)
    third = nasbench.query(spec_of(2), epochs=36, stop_halfway=True)
    seconds, epochs = nasbench.get_budget_counters()
    assert seconds == sum(data["training_time"] for data in (first, second, third))
    assert epochs == 108 + 12 + 18
    assert (nasbench.training_time_spent, nasbench.total_epochs_spent) == (seconds, epochs)
    nasbench.is_valid(spec_of(1))
    nasbench.get_metrics_from_spec(spec_of(1))
    nasbench.get_metrics_from_hash(next(iter(nasbench.hash_iterator())))
    with pytest.raises(api.OutOfDomainError):
        nasbench.query(spec_of(1), epochs=5)
    assert nasbench.get_budget_counters() == (seconds, epochs)
    nasbench.reset_budget_counters()
    assert nasbench.get_budget_counters() == (0.0, 0)


def test_one_seed_gives_one_sequence_and_leaves_global_randomness_alone(path: Path) -> None:
    def run(seed: int | None) -> list[float]:
        nasbench = api.NASBench(path, seed)
        return [nasbench.query(spec_of(row % 60))["training_time"] for row in range(100)]

    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 # It is the global state that is looked at.
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert run(7) == run(7)
    assert run(7) != run(8)
    assert run(None) != run(None)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_a_seed_draws_as_the_original_does(path: Path, values: np.ndarray) -> None:
    nasbench = api.NASBench(path, seed=11)
    random.seed(11)
    for row in range(50):
        repeat = random.randint(0, 2)
        data = nasbench.query(spec_of(row))
        assert data["validation_accuracy"] == values[row, 3, repeat, 1, 2]


def test_answers_are_new_objects(nasbench: api.NASBench) -> None:
    data = nasbench.query(spec_of(4))
    data["module_adjacency"][:] = 9
    data["module_operations"].clear()
    fixed, computed = nasbench.get_metrics_from_spec(spec_of(4))
    assert fixed["module_adjacency"].max() == 1
    assert len(fixed["module_operations"]) >= 2
    computed[108][0]["final_test_accuracy"] = 2.0
    computed.clear()
    assert nasbench.get_metrics_from_spec(spec_of(4))[1][108][0]["final_test_accuracy"] < 1


# Metrics.


def test_all_metrics_of_a_cell(nasbench: api.NASBench, values: np.ndarray) -> None:
    for row, name in enumerate(nasbench.hash_iterator()):
        fixed, computed = nasbench.get_metrics_from_hash(name)
        assert set(fixed) == {"module_adjacency", "module_operations", "trainable_parameters"}
        assert set(computed) == set(BUDGETS)
        for place, epochs in enumerate(BUDGETS):
            assert len(computed[epochs]) == 3
            for repeat, run in enumerate(computed[epochs]):
                assert set(run) == RUN_KEYS
                assert run["halfway_training_time"] == values[row, place, repeat, 0, 0]
                assert run["final_train_accuracy"] == values[row, place, repeat, 1, 1]
                assert run["final_validation_accuracy"] == values[row, place, repeat, 1, 2]
                assert run["final_test_accuracy"] == values[row, place, repeat, 1, 3]
        other_fixed, other = nasbench.get_metrics_from_spec(spec_of(row))
        assert other == computed
        assert other_fixed["module_operations"] == fixed["module_operations"]
        assert nasbench.get_module_hash(spec_of(row)) == name
        assert nasbench.computed_statistics[name] == computed
        assert (
            nasbench.fixed_statistics[name]["trainable_parameters"]
            == (SPACE.trainable_parameters[row])
        )


def test_hashes(nasbench: api.NASBench) -> None:
    hashes = nasbench.hash_iterator()
    assert list(hashes) == format_hashes(SPACE.module_hash)
    assert len(hashes) == len(SPACE) == len(nasbench.fixed_statistics)
    assert next(iter(hashes)) in hashes
    assert list(nasbench.computed_statistics) == list(hashes)
    for wrong in ("0" * 32, "text", 5, None):
        assert wrong not in hashes
        with pytest.raises(KeyError):
            nasbench.get_metrics_from_hash(wrong)  # type: ignore[arg-type]


# Specs.


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


# Files.


def test_a_tfrecord_file_gives_the_same_answers(
    tmp_path: Path, path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "load_space", lambda: SPACE)
    file = tmp_path / "nasbench_full.tfrecord"
    writer.write(file, records(SPACE, values))
    one, other = api.NASBench(str(file), seed=1), api.NASBench(path, seed=1)
    assert one.valid_epochs == other.valid_epochs
    for row in range(60):
        first, second = one.query(spec_of(row)), other.query(spec_of(row))
        assert first.pop("module_adjacency").tolist() == second.pop("module_adjacency").tolist()
        assert first == second


def test_a_file_of_108_epochs_knows_no_other_budget(tmp_path: Path) -> None:
    path = tmp_path / "table.h5"
    write_table(path, to_content("nasbench", Runs(made_up_values(SPACE), {}), SPACE))
    nasbench = api.NASBench(path)
    assert nasbench.valid_epochs == {108}
    for epochs in (4, 12, 36, 107, "108", None):
        with pytest.raises(api.OutOfDomainError, match=r"must be one of \[108\]"):
            nasbench.query(spec_of(0), epochs)  # type: ignore[arg-type]


def test_missing_runs(tmp_path: Path) -> None:
    values = made_up_values(SPACE)
    values[3, 3, 1] = np.nan
    values[4, 3] = np.nan
    values[5, 3, :, 0] = np.nan
    values[..., 1] = np.nan
    path = tmp_path / "table.h5"
    write_table(path, to_content("nasbench", Runs(values, {}), SPACE))
    nasbench = api.NASBench(path, seed=0)
    seen = {nasbench.query(spec_of(3))["training_time"] for _ in range(50)}
    assert seen == {values[3, 3, 0, 1, 0], values[3, 3, 2, 1, 0]}
    assert len(nasbench.get_metrics_from_spec(spec_of(3))[1][108]) == 2
    assert np.isnan(nasbench.query(spec_of(0))["train_accuracy"])
    before = nasbench.get_budget_counters()
    for query in (
        lambda: nasbench.query(spec_of(4)),
        lambda: nasbench.query(spec_of(5), stop_halfway=True),
        lambda: nasbench.query(api.ModelSpec([[0, 1], [0, 0]], [INPUT, OUTPUT])),
    ):
        for kind in (api.OutOfDomainError, KeyError):
            with pytest.raises(kind, match=r"table\.h5"):
                query()
    assert nasbench.get_budget_counters() == before
    # As in the original, what the file lacks is not listed.
    hashes = list(nasbench.hash_iterator())
    assert len(hashes) == len(SPACE) - 1
    assert all(108 in nasbench.get_metrics_from_hash(each)[1] for each in hashes)
    with pytest.raises(KeyError, match="does not hold the cell"):
        nasbench.get_metrics_from_spec(spec_of(4))


def test_a_file_of_some_cells_lists_those(
    tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "load_space", lambda: SPACE)
    some = values.copy()
    some[10:] = np.nan
    file = tmp_path / "part.tfrecord"
    writer.write(file, records(SPACE, values)[: 10 * 12])
    nasbench = api.NASBench(file)
    hashes = [*nasbench.hash_iterator()]
    assert 0 < len(hashes) < len(SPACE)
    for name in hashes:
        assert set(nasbench.get_metrics_from_hash(name)[1]) == nasbench.valid_epochs


def test_a_table_that_is_cut_short_later_is_still_read(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "table.h5"
    write_table(path, to_content("nasbench", Runs(values, {}), SPACE))
    nasbench = api.NASBench(path, seed=0)
    expected = api.NASBench(path, seed=0).query(spec_of(0))["test_accuracy"]
    # In place, as rsync --inplace does; a mapped file would end the process with a bus error.
    os.truncate(path, 100)
    assert nasbench.query(spec_of(0))["test_accuracy"] == expected


def test_files_that_are_no_data_sets(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no table")
    (tmp_path / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    for name in ("text", "damaged.h5", "absent"):
        with pytest.raises(TableError):
            api.NASBench(tmp_path / name)


def test_evaluate_says_where_training_is(nasbench: api.NASBench) -> None:
    with pytest.raises(NotImplementedError, match=r"query .* nprep.imagenet"):
        nasbench.evaluate(spec_of(0), "model")


def test_operations_as_bytes_are_told(nasbench: api.NASBench) -> None:
    spec = api.ModelSpec([[0, 1], [0, 0]], [b"input", b"output"])  # type: ignore[list-item]
    with pytest.raises(api.OutOfDomainError, match="must be strings, not b'input'"):
        nasbench.query(spec)


# Graph functions.


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
