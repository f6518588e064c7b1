"""The table of the measured data: everything measured is in it, unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nprep.table.cli import main
from nprep.table.schema import Provenance
from nprep.table.table import Table
from nprep.table.writer import digest

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def built(measured_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured") / "t.h5"
    assert main(["build", "--source", "measured", "--quiet", str(measured_path), str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def table(built: Path) -> Table:
    return Table.open(built)


@pytest.fixture(scope="module")
def raw(measured_path: Path) -> dict[str, np.ndarray]:
    with np.load(measured_path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_the_space_is_that_of_the_file(table: Table, raw: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(table.module_hash, raw["module_hash"])
    np.testing.assert_array_equal(table.trainable_parameters, raw["trainable_parameters"])
    np.testing.assert_array_equal(table.cells.num_vertices, raw["num_vertices"])


def test_measured_values_are_unchanged(table: Table, raw: dict[str, np.ndarray]) -> None:
    triples, singles = raw["repeat_rows"], raw["single_rows"]
    for name in ("validation", "test"):
        metric = table.metrics["final", f"{name}_accuracy"]
        np.testing.assert_array_equal(metric.values[triples], raw[f"repeat_{name}_accuracy"])
        code = metric.provenance[triples]
        expected = np.where(np.isnan(raw[f"repeat_{name}_accuracy"]), 0, Provenance.MEASURED)
        np.testing.assert_array_equal(code, expected)
    mean = table.means["final", "test_accuracy"]
    np.testing.assert_array_equal(
        np.rint(mean.values[:, 3].astype(np.float64) * 29952), raw["test_correct_108_sum3"]
    )
    assert (mean.provenance[:, 3] == Provenance.MEASURED).all()
    validation = table.metrics["final", "validation_accuracy"]
    new = ~np.isin(singles, [*triples, *raw["run_rows"]])
    at = validation.provenance[singles[new]] == Provenance.MEASURED
    # One repeat of each budget, the same one.
    assert (at.sum(axis=2) == 1).all()
    assert (at == at[:, :1]).all()
    values = np.where(at, validation.values[singles[new]], 0).sum(axis=2, dtype=np.float32)
    np.testing.assert_array_equal(values, raw["single_validation_accuracy"][new])
    seconds = table.metrics["final", "training_seconds"]
    at = seconds.provenance[:, 3] == Provenance.MEASURED
    assert at.sum() == len(singles)
    np.testing.assert_array_equal(
        seconds.values[singles, 3][at[singles]], raw["single_training_seconds_108"]
    )


def test_the_single_repeat_is_the_best_of_three(raw: dict[str, np.ndarray]) -> None:
    """What the model rests on, contrary to what the file says of it."""
    _, a, b = np.intersect1d(raw["single_rows"], raw["repeat_rows"], return_indices=True)
    assert len(a) == 1102
    np.testing.assert_array_equal(
        raw["single_validation_accuracy"][a, 3], raw["repeat_validation_accuracy"][b, 3].max(axis=1)
    )


def test_modelled_values_agree_with_the_measured_means(
    table: Table, raw: dict[str, np.ndarray]
) -> None:
    test = table.metrics["final", "test_accuracy"].values[:, 3].astype(np.float64)
    np.testing.assert_array_equal(np.rint(test * 9984).sum(axis=1), raw["test_correct_108_sum3"])
    validation = table.metrics["final", "validation_accuracy"].values[:, 3]
    assert np.nanmax(validation) < 0.96
    assert not np.isnan(validation).any()
    grid = validation.astype(np.float64) * 9984
    assert np.abs(grid - np.rint(grid)).max() < 1e-3


def test_means_and_single_runs_are_unchanged(table: Table, raw: dict[str, np.ndarray]) -> None:
    mean = table.means["final", "validation_accuracy"]
    rows = raw["mean_rows"]
    images = np.rint(mean.values[rows, 3].astype(np.float64) * 3 * 9984)
    np.testing.assert_array_equal(images, raw["mean_validation_correct_sum3"])
    assert (mean.provenance == Provenance.MEASURED).sum() == len(rows)
    single = table.metrics["final", "validation_accuracy"]
    runs = np.rint(single.values[:, 3].astype(np.float64) * 9984)
    # The runs of such a cell have just that mean, whichever of them are drawn.
    np.testing.assert_array_equal(runs[rows].sum(axis=1), raw["mean_validation_correct_sum3"])
    measured = single.provenance[:, 3] == Provenance.MEASURED
    for row, value in zip(raw["run_rows"], raw["run_validation_correct"], strict=True):
        assert (measured[row] & (runs[row] == value)).any()
    # A run is derived where the mean and the two others are measured, and nowhere else.
    derived = single.provenance[:, 3] == Provenance.DERIVED
    assert 0 < derived.any(axis=1).sum() < 100
    assert (derived.sum(axis=1) <= 1).all()
    for row in np.flatnonzero(derived.any(axis=1)):
        assert row in rows
        assert measured[row].sum() == 2
    best = table.row_of("0da48e9f9faecf504244c65b82e0ba71")
    found = table.values("validation_accuracy", np.array([best]))
    assert found.values[0] == np.float32(28471 / 29952)
    assert found.provenance[0] == Provenance.MEASURED


def test_views(table: Table, raw: dict[str, np.ndarray]) -> None:
    measured = table.view("measured")
    # Of a few more cells all three runs are among the single ones.
    assert np.isin(raw["repeat_rows"], measured.rows).all()
    more = measured.rows[~np.isin(measured.rows, raw["repeat_rows"])]
    assert len(more) < 20
    assert (np.isin(raw["run_rows"], more).sum()) == 3 * len(more)
    assert measured.provenance["validation_accuracy"] == {"measured": 3 * len(measured)}
    assert measured.budgets == (4, 12, 36, 108)
    # 57 cells lack every run of 36 epochs, and those others.
    assert (measured.at(36).epochs == 108).sum() == 57 + len(more)
    assert table.view("completed").budgets == (108,)
    completed = table.view("completed")
    assert len(completed) == 423_624
    assert completed.provenance["test_accuracy"] == {"measured": 423_624}
    runs = completed.provenance["validation_accuracy"]
    assert 3 * 23142 + 20001 - 1102 < runs["measured"] < 3 * 23142 + 20001 - 1102 + 535
    assert "the best of three of 18,899" in completed.description
    best = completed.test.argmax()
    assert table.module_hash[best].tobytes().hex() == "02e5a0247bbdcf2860b7e96f74961594"


@pytest.mark.slow
def test_building_again_gives_the_same_datasets(
    table: Table, measured_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "again.h5"
    assert main(["build", "--source", "measured", "--quiet", str(measured_path), str(path)]) == 0
    again = Table.open(path)
    assert again.digests == table.digests
    name = "metrics/final/validation_accuracy"
    assert digest(again.arrays[name]) == table.digests[name]


def test_a_conditioned_table_has_the_published_extremes(
    measured_path: Path, tmp_path: Path, table: Table
) -> None:
    path = tmp_path / "published.h5"
    arguments = ["build", "--source", "measured", "--condition", "published", "--quiet"]
    assert main([*arguments, str(measured_path), str(path)]) == 0
    conditioned = Table.open(path)
    assert conditioned.attributes["condition"] == "published"
    assert table.attributes["condition"] == "none"
    view = conditioned.view("completed")
    assert "published" in view.description
    assert "published" not in table.view("completed").description
    runs = np.rint(view.validation.astype(np.float64) * 9984).astype(int)
    sums = runs.sum(axis=1)
    assert sums.max() == 28471
    assert runs.max() == 9503
    assert sums[conditioned.trainable_parameters < 800_000].max() == 26911
    assert (sums > sums[view.test.argmax()]).sum() == 174
    # What is measured is as in any other table.
    metric, other = (t.metrics["final", "validation_accuracy"] for t in (conditioned, table))
    known = np.unique(np.flatnonzero((other.provenance[:, 3] == Provenance.MEASURED).all(axis=1)))
    np.testing.assert_array_equal(metric.values[known, 3], other.values[known, 3])


def test_check_and_info(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(built)]) == 0
    capsys.readouterr()
    assert main(["info", str(built), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["rows"] == 423_624
    assert facts["cells_by_vertices"]["7"] == 359_082
    assert facts["sources"]["measured"]["file"] == "measured.npz"
    assert len(facts["sources"]["measured"]["sha256"]) == 64
    assert main(["info", str(built)]) == 0
    assert "modelled" in capsys.readouterr().out
