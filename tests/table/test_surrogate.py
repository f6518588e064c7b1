from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nprep
from nprep._console import messages
from nprep.errors import OutputError, TableError
from nprep.kernels import cache
from nprep.model.completion import Completion
from nprep.model.surrogate import (
    CEILING,
    LOWEST,
    SMALL,
    Surrogate,
    from_scale,
    shipped_weights,
    to_scale,
)
from nprep.model.surrogate_draws import (
    draw_failures,
    draw_residuals,
    standardise,
    structured_field,
)
from nprep.model.surrogate_features import SURROGATE_FEATURE_NAMES, surrogate_features
from nprep.spaces.nb101.cells import CellBatch, trainable_parameters
from nprep.table import cli, default, writer
from nprep.table.schema import Content, Provenance
from nprep.table.sources import surrogate
from nprep.table.table import Table
from tests.synthetic import synthetic_cells
from tests.table.naive_surrogate_features import naive_features
from tests.table.small import small_content


@pytest.fixture(scope="module")
def model() -> Surrogate:
    return Surrogate.load()


@pytest.fixture(scope="module")
def content() -> Content:
    return surrogate.build_content(0, lambda line: None, threads=1)


def some_features(cells: int = 500) -> tuple[CellBatch, np.ndarray, np.ndarray]:
    batch, keys = synthetic_cells(cells)
    return batch, keys, surrogate_features(batch, trainable_parameters(batch))


def test_weights_are_small_and_hold_no_pickle() -> None:
    path = shipped_weights()
    assert path.stat().st_size < 2_000_000
    with np.load(path, allow_pickle=False) as archive:
        arrays = [archive[name] for name in archive.files]
    assert all(array.dtype.kind in "iuf" for array in arrays)
    # A model, no table: nothing in it is as long as the space.
    assert max(array.size for array in arrays) < 200_000


def test_scale_round_trip() -> None:
    accuracy = np.array([LOWEST, 0.8, 0.9, 0.94, 0.9499])
    np.testing.assert_allclose(from_scale(to_scale(accuracy)), accuracy, rtol=1e-12)
    assert from_scale(to_scale(np.array([0.1])))[0] == pytest.approx(LOWEST)
    assert from_scale(np.array([1e3]))[0] == CEILING


def test_features_equal_the_reference_implementation() -> None:
    batch, _, features = some_features(60)
    for row in range(len(batch)):
        expected = naive_features(
            int(batch.adjacency_bits[row]), batch.operations[row], int(batch.num_vertices[row])
        )
        named = {
            name: float(features[row, SURROGATE_FEATURE_NAMES.index(name)]) for name in expected
        }
        assert named == pytest.approx(expected)
    assert features.shape[1] == len(SURROGATE_FEATURE_NAMES) == len(set(SURROGATE_FEATURE_NAMES))


def test_draws_follow_the_cells(model: Surrogate) -> None:
    _, keys, features = some_features()
    prediction = model.predict(features)
    whole = model.draw(features, keys, prediction).total
    order = np.random.default_rng(0).permutation(len(keys))
    other = model.draw(features[order], keys[order], model.predict(features[order])).total
    # Sums over the cells in another order differ by rounding alone.
    assert np.abs(other - whole[order]).max() <= 1
    threaded = model.draw(features, keys, prediction, threads=3)
    np.testing.assert_array_equal(threaded.total, whole)
    reseeded = model.draw(features, keys, prediction, build_seed=1)
    assert (reseeded.total != whole).mean() > 0.95


def test_the_noise_of_repeats_has_a_seed_of_its_own(model: Surrogate) -> None:
    _, keys, features = some_features()
    prediction = model.predict(features)
    completion = Completion.load()

    def draw(noise_seed: int, build_seed: int) -> tuple[np.ndarray, np.ndarray]:
        total, drawn = surrogate.draw_table(
            dataclasses.replace(model, noise_seed=noise_seed),
            completion,
            features,
            keys,
            prediction,
            build_seed,
            1,
        )
        np.testing.assert_array_equal(drawn.test.sum(axis=1), total)
        return total, drawn.validation

    total, validation = draw(3, 0)
    other_total, other_validation = draw(4, 0)
    np.testing.assert_array_equal(other_total, total)
    assert (other_validation != validation).mean() > 0.9
    new_total, new_validation = draw(3, 1)
    assert (new_total != total).mean() > 0.9
    assert (new_validation != validation).mean() > 0.9


def test_a_model_comes_back_from_its_file(model: Surrogate, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    dataclasses.replace(model, seed=7, noise_seed=5).save(path)
    back = Surrogate.load(path)
    assert (back.seed, back.noise_seed, back.failed) == (7, 5, model.failed)
    assert back.statistics == model.statistics
    _, keys, features = some_features(100)
    again = dataclasses.replace(back, seed=model.seed)
    np.testing.assert_array_equal(
        again.draw(features, keys, again.predict(features)).total,
        model.draw(features, keys, model.predict(features)).total,
    )


def test_structured_part_is_standard_in_every_region(model: Surrogate) -> None:
    rng = np.random.default_rng(0)
    level = rng.uniform(model.residual.centers[0], model.residual.centers[-1], 100_000)
    field = rng.normal(size=(len(level), len(model.residual.depths))) + 3 * np.sin(level)[:, None]
    group = rng.integers(0, 3, len(level))
    structured = standardise(model.residual, level, group, field)
    for inside in (level < level.mean(), level > np.quantile(level, 0.9), group == 1):
        assert abs(structured[inside].mean()) < 0.1
        assert structured[inside].std() == pytest.approx(1, abs=0.1)


def test_trees_of_their_own_correct_small_cells(model: Surrogate) -> None:
    _, _, features = some_features()
    vertices = SURROGATE_FEATURE_NAMES.index("vertices")
    features[::2, vertices] = 7
    level = model.predict(features).level
    correction = level - model.mean.predict(features)
    few = features[:, vertices] <= SMALL
    assert 20 < few.sum() < len(features) - 20
    np.testing.assert_array_equal(correction[~few], 0)
    np.testing.assert_allclose(correction[few], model.small.predict(features[few]), atol=1e-12)
    assert (correction[few] != 0).mean() > 0.9


def test_residuals_follow_the_law_of_their_group(model: Surrogate) -> None:
    """Without structure, a group's residuals at a center have the quantiles fitted there."""
    residual = model.residual._replace(share=np.zeros_like(model.residual.share))
    seeds = np.random.default_rng(3).integers(0, 2**64, 60_000, dtype=np.uint64)
    left, common = np.empty(len(seeds)), np.empty(len(seeds))
    for group in range(len(residual.vertices) + 1):
        for region in (3, 12, len(residual.centers) - 1):
            draw_residuals(
                residual,
                np.full(len(seeds), residual.centers[region]),
                np.full(len(seeds), group),
                np.zeros(len(seeds)),
                seeds,
                left,
                common,
            )
            fitted = residual.quantiles[group, region]
            for score in (-1.0, 0.0, 1.0):
                expected = np.interp(score, residual.scores, fitted)
                width = np.interp(1.0, residual.scores, fitted) - np.interp(
                    -1.0, residual.scores, fitted
                )
                found = np.quantile(left, norm_cdf(score))
                assert found == pytest.approx(expected, abs=0.03 * width)
            assert (common == 0).all()


def norm_cdf(score: float) -> float:
    return 0.5 * (1 + math.erf(score / math.sqrt(2)))


def test_failures_follow_their_chances() -> None:
    chances = np.array([[1.0, 0, 0, 0], [0.5, 0.2, 0.2, 0.1], [0, 0, 0, 1.0]])
    seeds = np.random.default_rng(0).integers(0, 2**64, 30_000, dtype=np.uint64)
    expected = np.repeat([0.0, 0.5, 2.9], 10_000)
    out = np.empty(len(seeds), np.int64)
    draw_failures(expected, np.array([0.1, 2.0]), chances, seeds, out)
    for k in range(3):
        counts = np.bincount(out[10_000 * k : 10_000 * (k + 1)], minlength=4) / 10_000
        np.testing.assert_allclose(counts, chances[k], atol=0.02)


def test_structured_field_is_standard_and_smooth(model: Surrogate) -> None:
    _, _, features = some_features(1500)
    fields = np.array(
        [
            structured_field(features, model.mean, 4, np.random.SeedSequence(seed))
            for seed in range(60)
        ]
    )
    # Over seeds, at each cell: mean 0, variance 1.
    assert abs(fields.mean()) < 0.2
    assert fields.var(axis=0).mean() == pytest.approx(1, abs=0.1)
    # Equal features have equal values; cells that differ little are alike, others less so.
    distance = np.abs(features[:, None, :104] - features[None, :200, :104] > 0).sum(axis=2)
    product = (fields.T @ fields[:, :200]) / len(fields)
    near = (distance > 0) & (distance <= 8)
    far = distance >= 30
    assert near.sum() > 20
    assert far.sum() > 20
    assert product[near].mean() > product[far].mean() + 0.15


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


# The cache.


def stub_build(build_seed: int, progress: object, threads: int | None = None) -> Content:
    """A table that is made at once."""
    return small_content()


def test_default_table_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path / "new" / "folder"))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    with messages():
        first = default.default_table_path()
    told = capsys.readouterr().err
    assert "fitted surrogate of NASBench-101" in told
    assert str(first) in told
    stamp = first.stat().st_mtime_ns
    assert default.default_table_path() == first
    assert first.stat().st_mtime_ns == stamp
    assert capsys.readouterr().err == ""


def test_damaged_default_table_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    path = default.default_table_path()
    path.write_bytes(path.read_bytes()[:1000])
    assert default.default_table_path() == path
    Table.open(path)


def test_failed_build_leaves_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Content:
        raise KeyboardInterrupt

    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", fail)
    with pytest.raises(KeyboardInterrupt):
        default.default_table_path()
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    # The lock went with it.
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    assert default.default_table_path().is_file()


def _ask(folder: str, counter: str) -> None:
    os.environ["NPREP_CACHE"] = folder

    def build(build_seed: int, progress: object, threads: int | None = None) -> Content:
        with open(counter, "a") as file:
            file.write("built\n")
        return small_content()

    surrogate.build_content = build  # type: ignore[assignment]
    Table.open(default.default_table_path())


def test_two_processes_at_once_build_one_table(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_ask, args=(str(tmp_path / "cache"), str(counter))) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert counter.read_text() == "built\n"


def _hang_while_writing(folder: str, reached: str) -> None:
    def hang(*_: object) -> None:
        Path(reached).touch()
        time.sleep(600)

    os.environ["NPREP_CACHE"] = folder
    surrogate.build_content = stub_build  # type: ignore[assignment]
    writer._write_metrics = hang
    default.default_table_path()


def test_a_killed_build_blocks_no_other_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, reached = tmp_path / "cache", tmp_path / "reached"
    process = multiprocessing.get_context("spawn").Process(
        target=_hang_while_writing, args=(str(folder), str(reached))
    )
    process.start()
    deadline = time.monotonic() + 120
    while not reached.exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()
    assert list(folder.glob(".*.tmp"))
    monkeypatch.setenv("NPREP_CACHE", str(folder))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    path = default.default_table_path()
    Table.open(path)
    assert sorted(p.name for p in folder.iterdir()) == [path.name, path.with_suffix(".lock").name]


def test_a_table_of_other_weights_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    old = default.default_table_path()
    monkeypatch.setattr(default, "file_digest", lambda path: f"other weights {path.name}")
    new = default.default_table_path()
    assert new != old
    # The older version may still be in use.
    assert old.is_file()
    monkeypatch.undo()
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(nprep, "__version__", "0.0.other")
    assert default.cache_file() not in (old, new)


def test_a_read_only_cache_serves_the_table_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    path = default.default_table_path()
    # Whoever runs the tests may have a table of their own in the other folders.
    monkeypatch.setattr(cache, "candidates", lambda: iter([tmp_path]))
    # Not by the folder's mode, which does not bind the superuser.
    monkeypatch.setattr(cache, "can_write", lambda folder: False)
    assert default.default_table_path() == path
    path.unlink()
    with pytest.raises(OutputError, match="can be written: set NPREP_CACHE"):
        default.default_table_path()


def test_an_unwritable_cache_gives_way_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    assert default.default_table_path().parent == tmp_path / "xdg" / "nprep"
    assert "is used instead" in caplog.text


def test_without_locks_the_table_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    Table.open(default.default_table_path())
    assert not list(tmp_path.glob("*.lock-file"))


def test_building_to_the_cache_waits_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path))
    monkeypatch.setattr(surrogate, "build_content", stub_build)
    entered = []

    @contextlib.contextmanager
    def alone_with(path: Path) -> Iterator[None]:
        entered.append(path)
        yield

    monkeypatch.setattr(default, "alone_with", alone_with)
    assert cli.main(["build", "--source", "surrogate", "--quiet"]) == 0
    assert entered == [default.cache_file()]
    assert default.cache_file().is_file()


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPREP_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert next(cache.candidates()) == Path("/somewhere/nprep")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert next(cache.candidates()) == Path.home() / ".cache/nprep"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert next(cache.candidates()) == Path.home() / "Library/Caches/nprep"
    monkeypatch.setenv("NPREP_CACHE", "/mine")
    assert next(cache.candidates()) == Path("/mine")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("NPREP_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = cache.cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    # What anybody else could have put there is not trusted.
    folder.chmod(0o777)
    assert cache.cache_folder() is None


def test_runtime_needs_no_fitting_library() -> None:
    code = (
        "import sys; import nprep.table.default, nprep.table.sources.surrogate;"
        "nprep.table.sources.surrogate.Surrogate.load();"
        "sys.exit(any(name.startswith('sklearn') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
