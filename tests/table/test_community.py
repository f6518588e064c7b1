from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nprep._console import run
from nprep.errors import TableError
from nprep.spaces.nb101.cells import adjacency_matrices, format_hashes
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.cli import main
from nprep.table.sources import nasbench_pickle, neuralpredictor
from nprep.table.sources.community import read_nasbench_pickle, read_neural_predictor_hdf5
from nprep.table.table import Table
from tests import tfrecord_writer as writer
from tests.table.official_small import made_up_values, small_space

SPACE = small_space()
VALUES = made_up_values(SPACE, BUDGETS)
KEYS = ("training_time", "train_accuracy", "validation_accuracy", "test_accuracy")


def hdf5_content() -> dict[str, np.ndarray]:
    """The file as its own converter writes it: any order of the cells, -1 and -2 for the ends."""
    order = np.random.default_rng(0).permutation(len(SPACE))
    cells = SPACE.cells.take(order)
    operations = cells.operations.astype(np.int16)
    operations = np.select(
        [operations == 3, operations == 4, operations == 255], [-1, -2, 0], operations
    )
    return {
        "hash": np.array([name.encode() for name in format_hashes(SPACE.module_hash[order])]),
        "num_vertices": cells.num_vertices.astype(np.int8),
        "trainable_parameters": SPACE.trainable_parameters[order],
        "adjacency": adjacency_matrices(cells).astype(np.int8),
        "operations": operations.astype(np.int8),
        "metrics": VALUES[order],
    }


def write_hdf5(path: Path, content: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    return path


def test_the_hdf5_file_of_neuralpredictor(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "nasbench.hdf5", hdf5_content())
    runs = read_neural_predictor_hdf5(path, SPACE)
    assert np.array_equal(runs.values, VALUES)
    assert runs.attributes["cells"] == len(SPACE)
    assert runs.warnings == ()


def test_an_hdf5_file_of_some_cells(tmp_path: Path) -> None:
    content = {name: values[:50] for name, values in hdf5_content().items()}
    runs = read_neural_predictor_hdf5(write_hdf5(tmp_path / "n.hdf5", content), SPACE)
    assert int(np.isnan(runs.values).all(axis=(1, 2, 3, 4)).sum()) == 10
    assert runs.warnings == ("10 cells of the space are missing.",)


def edit(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(content: dict[str, Any]) -> None:
        content[name] = change(content[name])

    return apply


def put(index: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def apply(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[index] = value
        return array

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("metrics"), "has no metrics"),
        (edit("metrics", lambda a: a[:, :3]), r"metrics is .*, not \(60, 4, 3, 2, 4\)"),
        (edit("metrics", lambda a: a[:-1]), "metrics is"),
        (edit("metrics", put((3, 0, 0, 0, 2), 94.0)), "outside 0 to 1"),
        (edit("metrics", put((3, 0, 0, 0, 0), -1.0)), "impossible times"),
        (edit("hash", put(5, b"g" * 32)), "other than module hashes"),
        (edit("hash", put(5, b"0" * 32)), r"number 5\) has the module hash"),
        (edit("hash", lambda a: a[::-1]), "has the module hash"),
        (edit("num_vertices", put(2, 9)), "upper triangular"),
        (edit("adjacency", put((2, 3, 1), 1)), "upper triangular"),
        (edit("adjacency", put((2, 0, 1), 2)), "upper triangular"),
        (edit("adjacency", put((2,), np.zeros((7, 7)))), "no pruned, valid cell"),
        (edit("operations", put((2, 1), 7)), "no pruned, valid cell"),
        (edit("trainable_parameters", put(4, 5)), "is said to have 5 trainable"),
        (
            lambda c: c.update({n: np.concatenate([v, v[:1]]) for n, v in c.items()}),
            r"number 60\) is there a second time",
        ),
    ],
)
def test_hdf5_files_that_are_wrong(tmp_path: Path, change: Any, message: str) -> None:
    content = hdf5_content()
    change(content)
    path = write_hdf5(tmp_path / "n.hdf5", content)
    with pytest.raises(TableError, match=message):
        read_neural_predictor_hdf5(path, SPACE)


def test_no_hdf5_file(tmp_path: Path) -> None:
    path = tmp_path / "n.hdf5"
    path.write_bytes(b"text")
    for where in (path, tmp_path / "absent"):
        with pytest.raises(TableError, match="no readable HDF5 file"):
            read_neural_predictor_hdf5(where, SPACE)


def naslib_content() -> dict[str, Any]:
    content: dict[str, Any] = {}
    matrices = adjacency_matrices(SPACE.cells).astype(np.int8)
    for row, name in enumerate(format_hashes(SPACE.module_hash)):
        size = int(SPACE.cells.num_vertices[row])
        fixed = {
            "module_adjacency": matrices[row, :size, :size],
            "module_operations": [writer.OPERATIONS[c] for c in SPACE.cells.operations[row, :size]],
            "trainable_parameters": int(SPACE.trainable_parameters[row]),
        }
        computed = {
            epochs: [
                {
                    f"{stage}_{key}": float(VALUES[row, place, repeat, s, v])
                    for s, stage in enumerate(("halfway", "final"))
                    for v, key in enumerate(KEYS)
                }
                for repeat in range(3)
            ]
            for place, epochs in enumerate(BUDGETS)
        }
        content[name] = [fixed, computed]
    return content


def nasbenchapi_content() -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for row, name in enumerate(format_hashes(SPACE.module_hash)):
        cells = SPACE.cells
        adjacency, operations = writer.cell_texts(
            int(cells.adjacency_bits[row]),
            cells.operations[row].tolist(),
            int(cells.num_vertices[row]),
        )
        entries[name] = [
            {
                "epoch": epochs,
                "adjacency_str": adjacency,
                "operations_str": operations,
                "metrics_b64": base64.b64encode(
                    writer.run_metrics(
                        epochs,
                        VALUES[row, place, repeat, 0].tolist(),
                        VALUES[row, place, repeat, 1].tolist(),
                        int(SPACE.trainable_parameters[row]),
                    )
                ).decode(),
                "derived": {},
            }
            for place, epochs in enumerate(BUDGETS)
            for repeat in range(3)
        ]
    return {"benchmark": "nasbench101", "entries_by_arch": entries, "latest_by_arch": {}}


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [naslib_content, nasbenchapi_content])
def test_pickles(tmp_path: Path, make: Callable[[], Any], protocol: int) -> None:
    runs = read_nasbench_pickle(write_pickle(tmp_path / "n.pkl", make(), protocol), SPACE)
    assert np.array_equal(runs.values, VALUES)
    assert runs.warnings == ()


def test_a_pickle_with_missing_and_surplus_runs(tmp_path: Path) -> None:
    content = naslib_content()
    names = list(content)
    content[names[0]][1][108].pop()
    content[names[1]][1][108] *= 2
    del content[names[2]]
    runs = read_nasbench_pickle(write_pickle(tmp_path / "n.pkl", content), SPACE)
    assert np.isnan(runs.values[0, 3, 2]).all()
    assert np.array_equal(runs.values[1], VALUES[1])
    assert np.isnan(runs.values[2]).all()
    assert len(runs.warnings) == 2


def first(content: dict[str, Any]) -> Any:
    return content[next(iter(content))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.clear(), "holds no dict of cells"),
        (lambda c: c.update({"a": first(c)}), "'a', which is no module hash"),
        (lambda c: c.update({"z" * 32: c.pop(next(iter(c)))}), "no module hash"),
        (lambda c: c.update({"0" * 32: c.pop(next(iter(c)))}), "has the module hash"),
        (lambda c: first(c).pop(), "no pickle of NASBench-101"),
        (lambda c: first(c)[0].pop("module_operations"), "module_operations"),
        (lambda c: first(c)[0].update(module_adjacency=[[0, 1], [0, 0]]), "no array"),
        (lambda c: first(c)[0].update(module_adjacency=np.full((2, 2), 3)), "no square of 0 and 1"),
        (lambda c: first(c)[0].update(trainable_parameters=7), "said to have 7"),
        (lambda c: first(c)[1].update({107: []}) or first(c)[1].update({5: [1]}), "."),
        (lambda c: first(c)[1][108][0].pop("final_test_accuracy"), "final_test_accuracy"),
        (lambda c: first(c)[1][108][0].update(final_test_accuracy="0.9"), "no array"),
        (lambda c: first(c)[1][108][0].update(final_test_accuracy=93.0), "outside 0 to 1"),
        (lambda c: first(c)[1].update(later=Path("a")), r"names pathlib\S* .*not run"),
    ],
)
def test_pickles_that_are_wrong(tmp_path: Path, change: Any, message: str) -> None:
    content = naslib_content()
    change(content)
    path = write_pickle(tmp_path / "n.pkl", content)
    with pytest.raises(TableError, match=message):
        read_nasbench_pickle(path, SPACE)


def test_other_pickles(tmp_path: Path) -> None:
    for content in ([1, 2], 5, {"entries_by_arch": {}}, {"entries_by_arch": [1]}):
        with pytest.raises(TableError, match=r"n\.pkl: "):
            read_nasbench_pickle(write_pickle(tmp_path / "n.pkl", content), SPACE)
    with pytest.raises(TableError, match="cannot be read"):
        read_nasbench_pickle(tmp_path / "absent", SPACE)


def test_the_command_line_builds_tables_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neuralpredictor, "load_space", lambda: SPACE)
    monkeypatch.setattr(nasbench_pickle, "load_space", lambda: SPACE)
    hdf5 = write_hdf5(tmp_path / "n.hdf5", hdf5_content())
    pickled = write_pickle(tmp_path / "n.pkl", naslib_content())
    for source, path in (("neuralpredictor", hdf5), ("nasbench-pickle", pickled)):
        output = tmp_path / f"{source}.h5"
        assert run(main, ["build", "--source", source, "--quiet", str(path), str(output)]) == 0
        table = Table.open(output)
        assert np.array_equal(table.metrics["final", "test_accuracy"].values, VALUES[..., 1, 3])
        assert table.sources[source]["sha256"]
