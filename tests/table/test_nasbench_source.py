"""What an official file gives: its values, in which order, and a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources import nasbench
from nprep.table.sources._runs import SpaceRows
from nprep.table.sources.nasbench import read_nasbench
from nprep.table.table import Table
from tests import tfrecord_writer as writer
from tests.table.official_files import write
from tests.table.official_small import made_up_values, record, records, small_space


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("chunk_bytes", [300, 1 << 20])
@pytest.mark.parametrize("budgets", [(108,), BUDGETS])
def test_every_value_comes_back(
    tmp_path: Path, jobs: int, chunk_bytes: int, budgets: tuple[int, ...]
) -> None:
    space = small_space()
    values = made_up_values(space, budgets)
    path = write(tmp_path / "file.tfrecord", records(space, values))
    seen = []
    runs = read_nasbench(
        path,
        space,
        jobs=jobs,
        chunk_bytes=chunk_bytes,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert np.array_equal(runs.values, values, equal_nan=True)
    assert runs.attributes["records"] == len(space) * 3 * len(budgets)
    assert runs.warnings == ()
    assert runs.budgets() == budgets
    assert seen == sorted(seen)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_missing_and_surplus_runs_are_counted_and_kept_in_order(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = []
    for row in range(len(space)):
        for repeat in range(3):
            if (row, repeat) != (4, 1):
                payloads.append(record(space, row, 108, *values[row, 3, repeat]))
        if row == 7:
            payloads.append(record(space, row, 108, *values[row, 3, 0]))
    runs = read_nasbench(write(tmp_path / "file.tfrecord", payloads), space)
    assert runs.attributes["missing_runs"] == 1
    assert runs.attributes["extra_runs"] == 1
    assert len(runs.warnings) == 2
    # The third run of cell 4 takes the second place: repeats are numbered as they come.
    assert np.array_equal(runs.values[4, 3, 1], values[4, 3, 2])
    assert np.isnan(runs.values[4, 3, 2]).all()
    assert np.array_equal(runs.values[7, 3], values[7, 3])


def test_a_file_that_lacks_cells_is_refused_unless_that_is_wanted(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    path = write(tmp_path / "file.tfrecord", records(space, values)[:-3])
    with pytest.raises(TableError, match=r"1 of the 60 cells have no run"):
        read_nasbench(path, space)
    runs = read_nasbench(path, space, allow_missing=True)
    assert np.isnan(runs.values[-1]).all()


def test_other_orders_are_refused_unless_that_is_wanted(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = records(space, values)
    payloads[12:15], payloads[30:33] = payloads[30:33], payloads[12:15]
    path = write(tmp_path / "file.tfrecord", payloads)
    byte = sum(len(p) + 16 for p in payloads[:15])
    with pytest.raises(TableError, match=rf"record 15 .* at byte {byte}: .*official order"):
        read_nasbench(path, space)
    runs = read_nasbench(path, space, any_order=True)
    assert np.array_equal(runs.values, values, equal_nan=True)


def test_passes_over_the_cells_are_in_order(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = [record(space, row, 108, *values[row, 3, k]) for k in range(3) for row in range(60)]
    runs = read_nasbench(write(tmp_path / "file.tfrecord", payloads), space)
    assert np.array_equal(runs.values, values, equal_nan=True)


def test_an_official_file_may_be_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = small_space()
    path = write(tmp_path / "x.tfrecord", records(space, made_up_values(space))[::-1])
    digest = str(read_nasbench(path, space, any_order=True).attributes["sha256"])
    monkeypatch.setitem(nasbench.OFFICIAL_SHA256, digest, "nasbench_only108.tfrecord")
    assert read_nasbench(path, space).attributes["official"] == "nasbench_only108.tfrecord"


def test_an_isomorphic_matrix_with_its_own_parameters_is_accepted(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = records(space, values)
    row, swapped = next(
        (row, other)
        for row in range(len(space))
        if (other := swap_two_vertices(space, row)) is not None
    )
    adjacency, operations, parameters = swapped
    for repeat in range(3):
        content = json.loads(payloads[3 * row + repeat])
        half, final = values[row, 3, repeat].tolist()
        metrics = writer.run_metrics(108, half, final, parameters)
        payloads[3 * row + repeat] = writer.payload(content[0], 108, adjacency, operations, metrics)
    runs = read_nasbench(write(tmp_path / "file.tfrecord", payloads), space)
    assert np.array_equal(runs.values, values, equal_nan=True)
    assert runs.attributes["isomorphic_records"] == 3


def swap_two_vertices(space: SpaceRows, row: int) -> tuple[str, str, int] | None:
    """The cell with two neighbouring vertices swapped, if they have no edge between them."""
    from nprep.spaces.nb101.cells import Spec, specs_from_cells

    spec = specs_from_cells(space.cells.take(np.array([row])))[0]
    for v in range(1, spec.num_vertices - 2):
        if spec.matrix[v][v + 1]:
            continue
        order = list(range(spec.num_vertices))
        order[v], order[v + 1] = v + 1, v
        other = Spec(
            [[spec.matrix[i][j] for j in order] for i in order],
            [spec.operations[i] for i in order],
        )
        if other != spec:
            text = "".join(str(e) for line in other.matrix for e in line)
            return text, ",".join(other.operations), other.trainable_parameters()
    return None


def build(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    from nprep._console import run
    from nprep.table.cli import main

    status = run(main, ["build", "--source", "nasbench", *arguments])
    return status, capsys.readouterr().err


def test_building_a_table_and_leaving_nothing_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = small_space()
    monkeypatch.setattr(nasbench, "load_space", lambda threads=None: space)
    values = made_up_values(space, BUDGETS)
    path = write(tmp_path / "file.tfrecord", records(space, values))
    output = tmp_path / "out" / "table.h5"
    output.parent.mkdir()
    status, shown = build(capsys, str(path), str(output))
    assert status == 0
    assert "100%" in shown
    table = Table.open(output)
    for stage, stage_name in enumerate(("half_way", "final")):
        for value, name in enumerate(
            ("training_seconds", "train_accuracy", "validation_accuracy", "test_accuracy")
        ):
            stored = table.metrics[stage_name, name].values
            assert np.array_equal(stored, values[..., stage, value])
    assert set(table.views) == {"measured", "completed"}
    assert len(table.view("measured")) == len(space)
    assert table.sources["nasbench"]["file"] == "file.tfrecord"
    output.unlink()
    damaged = bytearray(path.read_bytes())
    for place in (3, 9, 100, 600, len(damaged) - 2):
        broken = bytearray(damaged)
        broken[place] ^= 4
        path.write_bytes(broken)
        status, shown = build(capsys, "--quiet", str(path), str(output))
        assert status == 2
        assert shown.startswith("error: ")
        assert shown.count("\n") == 1
        assert "record" in shown
        assert list(output.parent.iterdir()) == []
