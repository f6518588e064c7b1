from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep._console import run
from nprep.errors import MissingDependencyError, SettingsError
from nprep.spaces.nb101.cells import format_hashes
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.cli import main
from nprep.table.export import Condition, select_rows, to_npz, to_numpy, to_parquet
from nprep.table.schema import Provenance
from nprep.table.sources._runs import Runs, to_content
from nprep.table.table import Table
from nprep.table.writer import write_table
from tests import tfrecord_writer as writer
from tests.table.official_small import made_up_values, small_space

SPACE = small_space()


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    values = made_up_values(SPACE, (4, 108))
    values[5, 3, 2] = np.nan
    values[6, 3] = np.nan
    return values


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Table:
    path = tmp_path_factory.mktemp("export") / "table.h5"
    runs = Runs(values, {"file": "made_up", "sha256": "0" * 64})
    write_table(path, to_content("nasbench", runs, SPACE))
    return Table.open(path)


def test_columns(table: Table, values: np.ndarray) -> None:
    columns = to_numpy(table)
    assert columns["module_hash"].astype(str).tolist() == format_hashes(SPACE.module_hash)
    assert np.array_equal(columns["operations"], SPACE.cells.operations)
    assert np.array_equal(columns["trainable_parameters"], SPACE.trainable_parameters)
    for stage, prefix in enumerate(("half_way_", "")):
        for value, name in enumerate(
            ("training_seconds", "train_accuracy", "validation_accuracy", "test_accuracy")
        ):
            for place, epochs in enumerate(BUDGETS):
                for repeat in range(3):
                    key = f"{prefix}{name}_{epochs}_{repeat}"
                    assert (key in columns) == (epochs in (4, 108))
                    if key in columns:
                        wanted = values[:, place, repeat, stage, value]
                        assert np.array_equal(columns[key], wanted, equal_nan=True)
                        codes = np.where(np.isnan(wanted), Provenance.MISSING, Provenance.MEASURED)
                        assert np.array_equal(columns[f"{key}_provenance"], codes)
    mean = columns["test_accuracy_108_mean"]
    assert np.isnan(mean[6])
    assert mean[5] == pytest.approx(values[5, 3, :2, 1, 3].mean())
    assert columns["test_accuracy_108_mean_provenance"][5] == Provenance.DERIVED


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], lambda v, s: np.ones(60, bool)),
        (["test_accuracy >= 0.9"], lambda v, s: np.nanmean(v[:, 3, :, 1, 3], axis=1) >= 0.9),
        (["test_accuracy_108_0<0.9"], lambda v, s: v[:, 3, 0, 1, 3] < 0.9),
        (
            ["half_way_training_seconds_4_2 > 1000", "num_vertices==7"],
            lambda v, s: (v[:, 0, 2, 0, 0] > 1000) & (s.cells.num_vertices == 7),
        ),
        (["trainable_parameters <= 5e6"], lambda v, s: s.trainable_parameters <= 5e6),
        (["validation_accuracy > 2"], lambda v, s: np.zeros(60, bool)),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_cells_chosen_by_value(
    table: Table, values: np.ndarray, texts: list[str], expected: Any
) -> None:
    rows = select_rows(table, [Condition.parse(text) for text in texts])
    # Means of single-precision values: none lies at the bounds used here.
    assert rows.tolist() == np.flatnonzero(expected(values, SPACE)).tolist()
    columns = to_numpy(table, [Condition.parse(text) for text in texts])
    assert {len(column) for column in columns.values()} == {len(rows)}


@pytest.mark.parametrize("text", ["", "test_accuracy", "a = 3", "test_accuracy > high", "> 3"])
def test_conditions_that_cannot_be_read(text: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Condition.parse(text)


@pytest.mark.parametrize(
    "column", ["accuracy", "test_accuracy_107_0", "test_accuracy_108_3", "row"]
)
def test_conditions_on_no_column(table: Table, column: str) -> None:
    with pytest.raises(SettingsError, match=f"no column '{column}'"):
        select_rows(table, [Condition(column, ">", 0.0)])


def test_npz(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    assert to_npz(table, path, [Condition.parse("num_vertices >= 6")]) == 26
    with np.load(path, allow_pickle=False) as archive:
        columns = to_numpy(table, [Condition.parse("num_vertices >= 6")])
        assert set(archive.files) == set(columns)
        for name, column in columns.items():
            assert np.array_equal(archive[name], column, equal_nan=column.dtype.kind == "f")


def test_parquet(table: Table, values: np.ndarray, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    assert to_parquet(table, path) == len(SPACE)
    read = parquet.read_table(path)
    assert read.column("module_hash").to_pylist() == format_hashes(SPACE.module_hash)
    cells = SPACE.cells
    for row in (0, 30, 59):
        adjacency, operations = writer.cell_texts(
            int(cells.adjacency_bits[row]),
            cells.operations[row].tolist(),
            int(cells.num_vertices[row]),
        )
        assert read.column("adjacency")[row].as_py() == adjacency
        assert read.column("operations")[row].as_py() == operations
    column = read.column("test_accuracy_108_2")
    assert column.null_count == 2
    assert column[5].as_py() is None
    assert np.float32(column[7].as_py()) == values[7, 3, 2, 1, 3]
    shown = read.column("test_accuracy_108_2_provenance").to_pylist()
    assert (shown[5], shown[7]) == ("missing", "measured")
    assert read.schema.metadata[b"nasbench.file"] == b"made_up"


def test_parquet_without_pyarrow(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install pyarrow, .*ends in \.npz\.$"):
        to_parquet(table, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.npz"
    arguments = ["export", str(table.path), str(output), "--where", "num_vertices == 7"]
    assert run(main, arguments) == 0
    assert "out.npz: 6 architectures" in capsys.readouterr().out
    for wrong in (
        ["export", str(table.path), str(tmp_path / "out.csv")],
        ["export", str(tmp_path / "absent.h5"), str(output)],
        ["export", str(table.path), str(tmp_path / "absent" / "out.npz")],
        ["export", str(table.path), str(output), "--where", "quality > 3"],
    ):
        assert run(main, wrong) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("error: ")
        assert shown.count("\n") == 1
