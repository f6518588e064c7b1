"""The surrogate's table, and the weights that it is drawn from."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.model.surrogate import Surrogate, shipped_weights
from nprep.table import cli
from nprep.table.schema import Content, Provenance
from nprep.table.sources import surrogate
from nprep.table.table import Table


@pytest.fixture(scope="module")
def content() -> Content:
    return surrogate.build_content(0, lambda line: None, threads=1)


def test_weights_are_small_and_hold_no_pickle() -> None:
    path = shipped_weights()
    assert path.stat().st_size < 2_000_000
    with np.load(path, allow_pickle=False) as archive:
        arrays = [archive[name] for name in archive.files]
    assert all(array.dtype.kind in "iuf" for array in arrays)
    # A model, no table: nothing in it is as long as the space.
    assert max(array.size for array in arrays) < 200_000


def test_every_value_says_that_it_is_fitted(content: Content) -> None:
    for metric in [*content.metrics.values(), *content.means.values()]:
        present = ~np.isnan(metric.values)
        assert (metric.provenance[present] == Provenance.FITTED).all()
        assert (metric.provenance[~present] == Provenance.MISSING).all()
    assert set(content.views) == {"surrogate"}
    assert content.views["surrogate"].startswith("fitted surrogate of NASBench-101")
    assert (
        "measured"
        not in content.views["surrogate"]
        .replace("fitted to measurements", "")
        .split("none is measured")[0]
    )


def test_landscape_is_plausible(content: Content) -> None:
    mean = content.means[("final", "test_accuracy")].values[:, 3]
    assert len(mean) == 423_624
    assert np.isfinite(mean).all()
    # The published facts: best mean 94.32 %, 52 cells above 94 %, mean 89.68, median 90.64.
    assert 0.9415 < mean.max() < 0.945
    assert 25 < (mean > 0.94).sum() < 100
    assert mean.mean(dtype=np.float64) == pytest.approx(0.8968, abs=0.002)
    assert np.median(mean) == pytest.approx(0.9064, abs=0.001)
    # A mean of three runs is a multiple of 1/29952, and the repeats add up to it.
    total = np.rint(mean.astype(np.float64) * 29952)
    np.testing.assert_allclose(mean, total / 29952, atol=1e-7)
    repeats = content.metrics[("final", "test_accuracy")].values[:, 3].astype(np.float64)
    np.testing.assert_allclose(repeats.mean(axis=1), mean, atol=1e-6)
    validation = content.metrics[("final", "validation_accuracy")].values[:, 3]
    assert 0.949 < np.nanmax(validation) < 0.958


@pytest.mark.data
def test_landscape_is_near_the_measured_one(content: Content, measured_path: Path) -> None:
    with np.load(measured_path, allow_pickle=False) as archive:
        actual = archive["test_correct_108_sum3"] / 29952
    drawn = content.means[("final", "test_accuracy")].values[:, 3].astype(np.float64)
    normal = (actual > 0.7) & (drawn > 0.7)
    gap = (drawn - actual)[normal]
    assert abs(gap.mean()) < 5e-4
    # The drawn residual and the real one are independent: their difference has both variances.
    assert 0.85 < np.corrcoef(drawn[normal], actual[normal])[0, 1] < 0.99
    for bound in (0.91, 0.92, 0.93, 0.935):
        ratio = (drawn > bound).sum() / (actual > bound).sum()
        assert ratio == pytest.approx(1, abs=0.06), bound
    # Drawn, not copied.
    assert (np.abs(gap) < 1e-9).mean() < 0.02
    # Nor does the model know the top ten by heart.
    best = np.argsort(-actual)[:10]
    assert len(set(best) & set(np.argsort(-drawn)[:10])) <= 3


@pytest.mark.slow
def test_cli_builds_the_same_table(
    content: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "surrogate.h5"
    assert cli.main(["build", "--source", "surrogate", str(path)]) == 0
    assert "fitted surrogate of NASBench-101" in capsys.readouterr().err
    table = Table.open(path)
    view = table.view("surrogate")
    assert len(view) == 423_624
    assert set(view.provenance["validation_accuracy"]) == {"fitted"}
    assert set(view.provenance["test_accuracy"]) == {"fitted"}
    # Another build, on another number of threads, has the same values.
    for name, metric in content.metrics.items():
        np.testing.assert_array_equal(table.metrics[name].values, metric.values)


def test_negative_build_seed_is_refused() -> None:
    with pytest.raises(TableError, match="--build-seed is -1"):
        surrogate.build(Namespace(build_seed=-1), lambda line: None)


def test_other_build_seeds_have_no_default_file() -> None:
    assert not surrogate.is_default(Namespace(build_seed=1))


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "foreign"])
def test_damaged_weights_give_one_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "weights.npz"
    good = shipped_weights().read_bytes()
    if damage == "foreign":
        np.savez(path, format=np.array([1]))
    elif damage != "missing":
        path.write_bytes({"empty": b"", "text": b"hello", "cut": good[: len(good) // 2]}[damage])
    with pytest.raises(TableError, match="is not a surrogate model of this version"):
        Surrogate.load(path)


def test_runtime_needs_no_fitting_library() -> None:
    code = (
        "import sys; import nprep.table.default, nprep.table.sources.surrogate;"
        "nprep.table.sources.surrogate.Surrogate.load();"
        "sys.exit(any(name.startswith('sklearn') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
