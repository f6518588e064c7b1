"""Conformance with the official documentation (README, docstrings and notebook of nasbench)."""

from __future__ import annotations

import inspect
import random
from pathlib import Path

import numpy as np
import pytest

from nprep.nasbench import api
from nprep.nasbench.lib import config, graph_util, model_spec
from nprep.spaces.nb101.cells import format_hashes, specs_from_cells
from nprep.spaces.nb101.facts import BUDGETS
from tests.nasbench_api.cells import CONV1X1, CONV3X3, INCEPTION, MAXPOOL3X3, SPACE, spec_of

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


def test_evaluate_says_where_training_is(nasbench: api.NASBench) -> None:
    with pytest.raises(NotImplementedError, match=r"query .* nprep.imagenet"):
        nasbench.evaluate(spec_of(0), "model")
