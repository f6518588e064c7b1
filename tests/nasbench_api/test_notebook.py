"""Searches as a user of the official API writes them, after the official notebook's pattern.

Between the two marks is user code: only its import line knows of nprep.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep.spaces.nb101.facts import BUDGETS, REPEATS
from nprep.spaces.nb101.space import NB101
from nprep.table.schema import Content, Metric
from nprep.table.sources._runs import SpaceRows, load_space
from nprep.table.writer import write_table

# --- user code begins

from nprep.nasbench import api  # isort: skip # was: from nasbench import api

INPUT = "input"
OUTPUT = "output"
CONV3X3 = "conv3x3-bn-relu"
CONV1X1 = "conv1x1-bn-relu"
MAXPOOL3X3 = "maxpool3x3"
V = 7
ALLOWED_OPS = [CONV3X3, CONV1X1, MAXPOOL3X3]


def draw_spec(nasbench: Any) -> Any:
    """Random bits and operations until the API calls the cell valid."""
    while True:
        bits = np.random.randint(2, size=(V, V))  # noqa: NPY002 # Users do.
        ops = [INPUT, *np.random.choice(ALLOWED_OPS, size=V - 2).tolist(), OUTPUT]  # noqa: NPY002
        spec = api.ModelSpec(matrix=np.triu(bits, 1), ops=ops)
        if nasbench.is_valid(spec):
            return spec


def mutate(nasbench: Any, parent: Any, rate: float = 1.0) -> Any:
    """Flips edges and changes operations of the unpruned parent until the child is valid."""
    while True:
        matrix = copy.deepcopy(parent.original_matrix)
        ops = copy.deepcopy(parent.original_ops)
        for i in range(V - 1):
            for j in range(i + 1, V):
                if random.random() < rate / V:
                    matrix[i, j] = 1 - matrix[i, j]
        for i in range(1, V - 1):
            if random.random() < rate / (V - 2):
                others = [op for op in nasbench.config["available_ops"] if op != ops[i]]
                ops[i] = random.choice(others)
        child = api.ModelSpec(matrix, ops)
        if nasbench.is_valid(child):
            return child


def random_search(nasbench: Any, budget: float) -> tuple[list[float], list[float], list[float]]:
    """Queries random cells until their training time exceeds the budget."""
    nasbench.reset_budget_counters()
    times, valids, tests = [0.0], [0.0], [0.0]
    while times[-1] <= budget:
        data = nasbench.query(draw_spec(nasbench))
        better = data["validation_accuracy"] > valids[-1]
        valids.append(data["validation_accuracy"] if better else valids[-1])
        tests.append(data["test_accuracy"] if better else tests[-1])
        seconds, _ = nasbench.get_budget_counters()
        times.append(seconds)
    return times, valids, tests


def evolution(
    nasbench: Any, budget: float, population_size: int = 50, tournament_size: int = 10
) -> tuple[list[float], list[float], list[float]]:
    """Regularized evolution: mutates the best of a tournament, drops the oldest."""
    nasbench.reset_budget_counters()
    times, valids, tests = [0.0], [0.0], [0.0]
    population: list[tuple[float, Any]] = []
    while times[-1] <= budget:
        if len(population) < population_size:
            spec = draw_spec(nasbench)
        else:
            tournament = random.sample(population, tournament_size)
            spec = mutate(nasbench, max(tournament, key=lambda pair: pair[0])[1])
        data = nasbench.query(spec)
        population.append((data["validation_accuracy"], spec))
        del population[:-population_size]
        better = data["validation_accuracy"] > valids[-1]
        valids.append(data["validation_accuracy"] if better else valids[-1])
        tests.append(data["test_accuracy"] if better else tests[-1])
        seconds, _ = nasbench.get_budget_counters()
        times.append(seconds)
    return times, valids, tests


# --- user code ends


@pytest.fixture(scope="module")
def space() -> SpaceRows:
    return load_space()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, space: SpaceRows) -> Iterator[Path]:
    """A made-up table of the whole space in which convolutions help."""
    rng = np.random.default_rng(0)
    rows = len(space)
    convolutions = (space.cells.operations == 0).sum(axis=1)
    edges = np.array([int(b).bit_count() for b in space.cells.adjacency_bits])
    quality = 0.89 + 0.008 * convolutions + 0.001 * edges

    def metric(values: np.ndarray) -> Metric:
        out = np.full((rows, 4, 3), np.nan, np.float32)
        out[:, 3] = values
        return Metric.measured(out)

    validation = quality[:, None] + rng.normal(0, 0.002, (rows, 3))
    seconds = 1000 + 300.0 * convolutions[:, None] + rng.uniform(0, 50, (rows, 3))
    path = tmp_path_factory.mktemp("notebook") / "table.h5"
    write_table(
        path,
        Content(
            source="nasbench",
            space=NB101,
            budgets=BUDGETS,
            repeats=REPEATS,
            cells=space.cells,
            facts={
                "module_hash": space.module_hash,
                "trainable_parameters": space.trainable_parameters,
            },
            metrics={
                ("final", "validation_accuracy"): metric(validation),
                ("final", "test_accuracy"): metric(validation - 0.005),
                ("final", "train_accuracy"): metric(np.ones((rows, 3))),
                ("final", "training_seconds"): metric(seconds),
            },
            means={},
            views={},
            sources={},
        ),
    )
    yield path
    path.unlink()


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 # The user code above draws from it.


def test_the_inception_cell_of_the_documentation(path: Path) -> None:
    """The notebook prints what a query of this cell gives: the stored matrix is another."""
    nasbench = api.NASBench(path, seed=0)
    cell = api.ModelSpec(
        matrix=[
            [0, 1, 1, 1, 0, 1, 0],
            [0, 0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 0, 0],
        ],
        ops=[INPUT, CONV1X1, CONV3X3, CONV3X3, CONV3X3, MAXPOOL3X3, OUTPUT],
    )
    data = nasbench.query(cell)
    assert data["module_adjacency"].tolist() == [
        [0, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert data["module_operations"] == [
        INPUT, CONV3X3, CONV1X1, MAXPOOL3X3, CONV3X3, CONV3X3, OUTPUT,
    ]  # fmt: skip
    assert data["trainable_parameters"] == 2694282


def test_random_search_and_evolution_run_unchanged(path: Path) -> None:
    nasbench = api.NASBench(path, seed=0)
    budget = 3e5
    ends = []
    for search in (random_search, evolution):
        times, valids, tests = search(nasbench, budget)
        assert times == sorted(times)
        assert valids == sorted(valids)
        assert times[-2] <= budget < times[-1]
        assert len(times) == len(valids) == len(tests)
        seconds, epochs = nasbench.get_budget_counters()
        assert seconds == times[-1]
        assert epochs == 108 * (len(times) - 1)
        assert 0.9 < tests[-1] < 0.96
        ends.append(valids[-1])
    # Where quality follows structure, evolution finds it sooner.
    assert ends[1] > ends[0]


def test_every_cell_of_the_space_can_be_found(path: Path, space: SpaceRows) -> None:
    nasbench = api.NASBench(path)
    hashes = nasbench.hash_iterator()
    assert len(hashes) == 423_624
    best = "02e5a0247bbdcf2860b7e96f74961594"
    assert best in hashes
    fixed, _ = nasbench.get_metrics_from_hash(best)
    assert fixed["trainable_parameters"] == 32_426_634
    assert fixed["module_operations"] == [
        INPUT, CONV1X1, CONV3X3, MAXPOOL3X3, CONV3X3, CONV3X3, OUTPUT,
    ]  # fmt: skip
    rng = np.random.default_rng(1)
    for row in rng.integers(len(space), size=200):
        name = space.module_hash[row].tobytes().hex()
        fixed, computed = nasbench.get_metrics_from_hash(name)
        spec = api.ModelSpec(fixed["module_adjacency"], fixed["module_operations"])
        assert nasbench._hash_spec(spec) == name
        assert nasbench.get_metrics_from_spec(spec)[1] == computed
