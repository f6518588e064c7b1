"""One suite for all backends: inference against a dense reference, training against the CPU's.

The CUDA backend runs on a GPU where there is one, and always through the host shim, which compiles
the same sources for the CPU.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import MissingDependencyError, SettingsError
from nprep.predictor.backends import make as backends
from nprep.predictor.backends.base import Backend, TrainingTask, predictions
from nprep.predictor.backends.cupy import CupyBackend
from nprep.predictor.backends.make import make_backend
from nprep.predictor.gcn import GcnWeights, train
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.spaces.graphs import GraphBatch
from nprep.spaces.nb101.batch import cell_graphs
from tests.cuda.host_device import HostDevice, find_compiler
from tests.predictor.naive_gcn import predict_cell, predict_cells
from tests.predictor.some_cells import random_cells
from tests.predictor.test_plan import graphs_of, untrained

CELLS = random_cells(400, 11)
SMALL = GcnSettings(width=20, head=(12,), layer_bias=True)
QUICK = GcnSettings(width=16, head=(8,), epochs=4, learning_rate=1e-3, dropout_head=0.0)
NAMES = [
    "numpy",
    "numba",
    "numba:bfloat16",
    "torch",
    "torch:bfloat16",
    "host",
    "host:tf32",
    "host:bfloat16",
]
GPU = pytest.param("cupy", marks=pytest.mark.gpu)
# Relative to the largest output.
TOLERANCE = {"float32": 1e-5, "tf32": 1e-2, "bfloat16": 6e-2}


def backend_of(choice: str, folder: Path, memory: int = backends.DEFAULT_MEMORY) -> Backend:
    """A backend by name; "host" is ``cupy`` on the CPU."""
    name, _, precision = choice.partition(":")
    if name == "host":
        compiler = find_compiler()
        if compiler is None:
            pytest.skip("no C++ compiler was found (set CXX)")
        return CupyBackend(HostDevice(compiler, folder), precision or "float32", memory)
    try:
        return make_backend(choice, memory=memory)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backends")


def several(settings: GcnSettings, count: int, num_types: int = 5) -> list[GcnWeights]:
    """Predictors with different random weights."""
    base = untrained(settings, num_types)
    rng = np.random.default_rng(count)
    return [
        replace(base, parameters=base.parameters * rng.uniform(0.8, 1.2, base.parameters.size))
        for _ in range(count)
    ]


def to_float32(weights: list[GcnWeights]) -> list[GcnWeights]:
    return [replace(one, parameters=one.parameters.astype(np.float32)) for one in weights]


@pytest.mark.parametrize("name", [*NAMES, GPU])
@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        replace(SMALL, layers=1, head=()),
        replace(SMALL, layers=4, width=13, head=(9, 5), activation="linear"),
        replace(SMALL, normalisation="symmetric", width=144, head=(128,)),
    ],
    ids=["small", "one layer", "odd sizes", "paper's width"],
)
def test_outputs_equal_dense(name: str, settings: GcnSettings, folder: Path) -> None:
    backend = backend_of(name, folder)
    plan = SharingPlan.build(CELLS, settings.normalisation, settings.layers, part_graphs=150)
    assert len(plan.segments) > 1
    weights = to_float32(several(settings, 3))
    for one, outputs in zip(weights, backend.outputs(plan, weights), strict=True):
        expected = predict_cells(one, CELLS)
        assert outputs.dtype == np.float32
        tolerance = TOLERANCE[backend.precision] * np.abs(expected).max()
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("name", [*NAMES, GPU])
def test_graphs_of_22_nodes_and_18_layers(name: str, folder: Path) -> None:
    backend = backend_of(name, folder)
    rng = np.random.default_rng(0)
    # Chains of 22 nodes of 7 types, as the predictor of ImageNet networks sees them.
    matrices = [np.diag(np.ones(21), 1) for _ in range(30)]
    kinds = [rng.integers(0, 7, 22).tolist() for _ in matrices]
    settings = GcnSettings(layers=18, width=24, head=(16, 8), initialisation="he", layer_bias=True)
    weights = to_float32(several(settings, 2, num_types=9))
    plan = SharingPlan.build(graphs_of(matrices, kinds), "row", 18)
    tolerance = 5 * TOLERANCE[backend.precision]
    for one, outputs in zip(weights, backend.outputs(plan, weights), strict=True):
        expected = [predict_cell(one, m, k) for m, k in zip(matrices, kinds, strict=True)]
        np.testing.assert_allclose(outputs, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", [*NAMES, GPU])
def test_no_cells_no_predictors_and_no_trainings(name: str, folder: Path) -> None:
    backend = backend_of(name, folder)
    none = SharingPlan.build(CELLS.take(np.zeros(0, np.int64)))
    (outputs,) = backend.outputs(none, [untrained(SMALL)])
    assert outputs.shape == (0,)
    assert list(backend.outputs(SharingPlan.build(CELLS), [])) == []
    assert backend.train([]) == []


@pytest.mark.parametrize("name", [*NAMES, GPU])
def test_wrong_plans_and_tasks_are_refused(name: str, folder: Path) -> None:
    backend = backend_of(name, folder)
    with pytest.raises(SettingsError, match="build a plan"):
        list(backend.outputs(SharingPlan.build(CELLS, "row", 2), [untrained(SMALL)]))
    task = TrainingTask(CELLS, np.zeros(3, bool), QUICK, np.random.SeedSequence(0))
    with pytest.raises(SettingsError, match="400 training cells come with 3 labels"):
        backend.train([task])


def tasks_of(settings: GcnSettings, sizes: list[int]) -> list[TrainingTask]:
    """Classifiers and regressors in turn, of different sizes."""
    tasks = []
    for number, size in enumerate(sizes):
        rng = np.random.default_rng(number)
        cells = CELLS.take(rng.choice(len(CELLS), size, replace=False))
        share = (cells.operations == 0).sum(1) / cells.num_vertices
        accuracies = (0.9 + 0.05 * share + rng.normal(0, 0.002, size)).astype(np.float32)
        labels = accuracies > np.median(accuracies) if number % 2 else accuracies
        tasks.append(TrainingTask(cells, labels, settings, np.random.SeedSequence(number)))
    return tasks


@pytest.mark.parametrize("name", ["numba", "host", GPU])
def test_a_training_does_not_depend_on_those_beside_it(name: str, folder: Path) -> None:
    # Beyond rounding: trials that end early leave places of a stacked product empty.
    settings = replace(QUICK, dropout_head=0.1, dropout_layers=0.1)
    tasks = tasks_of(settings, [30, 30, 12, 25, 7])
    together = backend_of(name, folder).train(tasks)
    tight = backend_of(name, folder, memory=1).train(tasks)
    for task, one, two in zip(tasks, together, tight, strict=True):
        alone = backend_of(name, folder).train([task])[0]
        for other in (alone, two):
            difference = np.abs(one.parameters - other.parameters)
            assert np.quantile(difference, 0.99) <= 2e-6
            assert difference.max() < 1e-3
            np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)
            assert one.scale == other.scale


@pytest.mark.parametrize("name", ["numpy", "numba", "torch", "host", "host:bfloat16", GPU])
def test_training_learns_what_the_cpu_learns(name: str, folder: Path) -> None:
    backend = backend_of(name, folder)
    settings = replace(QUICK, epochs=60, learning_rate=3e-3, classifier_learning_rate=3e-3)
    tasks = tasks_of(settings, [40, 40])
    plan = SharingPlan.build(CELLS)
    trained = backend.train(tasks)
    for task, one, scores in zip(tasks, trained, predictions(backend, plan, trained), strict=True):
        reference = train(task.cells, task.labels, task.settings, task.seed)
        assert one.losses[-1] < 0.8 * one.losses[0]
        assert one.losses[-1] == pytest.approx(reference.losses[-1], rel=0.35, abs=0.02)
        assert one.scale == reference.scale
        expected = plan.predict(reference)
        # Orders differ between devices: the predictors are kin, not twins.
        assert np.corrcoef(scores, expected)[0, 1] > 0.8


@pytest.mark.parametrize("name", ["numba", "host", GPU])
@pytest.mark.parametrize("chains", [False, True], ids=["cells", "22 vertices, 18 layers"])
def test_backends_train_whole_batches_alike(name: str, chains: bool, folder: Path) -> None:
    # With all samples in one batch no order matters, so all trainers must agree.
    settings = replace(QUICK, batch=40, epochs=6)
    tasks = tasks_of(settings, [40, 33])
    if chains:
        settings = replace(
            settings, layers=18, width=12, head=(10, 6), initialisation="he", layer_bias=True
        )
        rng = np.random.default_rng(1)
        matrices = [np.diag(np.ones(21), 1) for _ in range(40)]
        kinds = [rng.integers(0, 7, 22).tolist() for _ in matrices]
        labels = rng.uniform(0.6, 0.75, 40).astype(np.float32)
        graphs = graphs_of(matrices, kinds)
        tasks = [TrainingTask(graphs, labels, settings, np.random.SeedSequence(n)) for n in (1, 2)]
    for task, one in zip(tasks, backend_of(name, folder).train(tasks), strict=True):
        expected = train(task.cells, task.labels, task.settings, task.seed)
        np.testing.assert_allclose(one.losses, expected.losses, rtol=2e-3)
        difference = np.abs(one.parameters - expected.parameters)
        assert np.quantile(difference, 0.98) < 1e-4
        assert np.ptp(one.losses) > 0


def test_batches_of_graphs_join() -> None:
    parts = [cell_graphs(CELLS.take(np.arange(a, b))) for a, b in ((0, 5), (5, 6), (6, 30))]
    joined = GraphBatch.concatenate(parts)
    whole = cell_graphs(CELLS.take(np.arange(30)))
    for name, array in vars(whole).items():
        np.testing.assert_array_equal(getattr(joined, name), array)


def test_choices() -> None:
    assert make_backend("numba").describe() == {
        "name": "numba",
        "precision": "float32",
        "training": "numba float32",
    }
    for choice, message in (
        ("numbas", "use auto, numpy, numba, torch, cupy"),
        ("auto:tf32", "unknown"),
        ("numba:tf32", "use float32, bfloat16"),
    ):
        with pytest.raises(SettingsError, match=message):
            make_backend(choice)


def test_auto_falls_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert make_backend("auto").name == "numba"
    # Installed, but of no use here.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "cupy", None)
    backends_device = sys.modules["nprep.kernels.cuda.device"]
    backends_device.cuda_device.cache_clear()
    assert make_backend("auto").name == "numba"
    with pytest.raises(
        MissingDependencyError, match=r"cupy-cuda12x is not installed.*or choose another backend\.$"
    ):
        make_backend("cupy")


def test_a_missing_torch_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="pip install torch"):
        make_backend("torch")
