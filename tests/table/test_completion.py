"""The completion model: what its draws must satisfy whatever was fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.model.completion import Completion, cell_seeds
from nprep.model.expectation import split_failures
from nprep.model.known_runs import IMAGES, Known
from nprep.spaces.nb101.cells import CellBatch, cell_keys, trainable_parameters
from nprep.spaces.nb101.features import structure_features
from tests.synthetic import synthetic_cells

CELLS = 600


@pytest.fixture(scope="module")
def cells() -> CellBatch:
    return synthetic_cells(CELLS, seed=5)[0]


@pytest.fixture(scope="module")
def features(cells: CellBatch) -> np.ndarray:
    return structure_features(cells, trainable_parameters(cells))


@pytest.fixture(scope="module")
def model() -> Completion:
    return Completion.load()


@pytest.fixture(scope="module")
def total(model: Completion, features: np.ndarray) -> np.ndarray:
    """Sums of test images near the accuracy predicted from structure; some runs fail."""
    rng = np.random.default_rng(1)
    runs = model.guess.predict(features)[:, None] + rng.normal(0, 0.003, (CELLS, 3))
    images = np.rint(runs * IMAGES).astype(np.int64)
    failed = rng.random((CELLS, 3)) < 0.1
    images[failed] = model.noise.failed[1]
    return images.sum(axis=1)


@pytest.fixture(scope="module")
def drawn(
    model: Completion, cells: CellBatch, features: np.ndarray, total: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    seeds = cell_seeds(cell_keys(cells), 0)
    return model.draw(model.expect(features, total), total, Known.nothing(CELLS), seeds)


def test_tests_add_up_to_the_known_sum(
    drawn: tuple[np.ndarray, np.ndarray], total: np.ndarray
) -> None:
    np.testing.assert_array_equal(drawn[1].sum(axis=1), total)


def test_values_are_plausible(drawn: tuple[np.ndarray, np.ndarray], model: Completion) -> None:
    validation, test = drawn
    assert validation.min() >= model.noise.failed[0] - 2
    assert validation.max() < 0.97 * IMAGES
    assert test.min() > 0
    assert test.max() < 0.97 * IMAGES


def test_a_failed_run_fails_in_both(
    drawn: tuple[np.ndarray, np.ndarray],
    model: Completion,
    features: np.ndarray,
    total: np.ndarray,
) -> None:
    """A low mean test accuracy must not come with three good validation accuracies."""
    validation, test = drawn
    failures = model.expect(features, total).failures
    assert (np.bincount(failures, minlength=4)[:3] > 5).all()
    np.testing.assert_array_equal((validation < 0.3 * IMAGES).sum(axis=1), failures)
    one = failures == 1
    worst = validation[one].argmin(axis=1)
    assert (test[one, worst] == test[one].min(axis=1)).all()
    assert (test[one].min(axis=1) < 0.3 * IMAGES).all()


def test_validation_follows_test_in_the_same_run(
    drawn: tuple[np.ndarray, np.ndarray], model: Completion, features: np.ndarray, total: np.ndarray
) -> None:
    whole = model.expect(features, total).failures == 0
    a, b = (x[whole] - x[whole].mean(axis=1, keepdims=True) for x in drawn)
    assert 0.6 < np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.97


def test_draws_do_not_depend_on_order_or_threads(
    drawn: tuple[np.ndarray, np.ndarray],
    model: Completion,
    cells: CellBatch,
    features: np.ndarray,
    total: np.ndarray,
) -> None:
    order = np.random.default_rng(0).permutation(CELLS)[:100]
    seeds = cell_seeds(cell_keys(cells.take(order)), 0)
    expectation = model.expect(features[order], total[order], threads=3)
    again = model.draw(expectation, total[order], Known.nothing(100), seeds, threads=3)
    for mine, theirs in zip(again, drawn, strict=True):
        np.testing.assert_array_equal(mine, theirs[order])


def test_another_build_seed_gives_other_draws(
    drawn: tuple[np.ndarray, np.ndarray],
    model: Completion,
    cells: CellBatch,
    features: np.ndarray,
    total: np.ndarray,
) -> None:
    seeds = cell_seeds(cell_keys(cells), 1)
    other, _ = model.draw(model.expect(features, total), total, Known.nothing(CELLS), seeds)
    assert (other != drawn[0]).mean() > 0.8


def test_a_known_best_run_stays_the_best(
    drawn: tuple[np.ndarray, np.ndarray],
    model: Completion,
    cells: CellBatch,
    features: np.ndarray,
    total: np.ndarray,
) -> None:
    best = drawn[0].max(axis=1)
    seeds = cell_seeds(cell_keys(cells), 2)
    known = Known.nothing(CELLS)
    known.best[:] = best
    validation, test = model.draw(model.expect(features, total), total, known, seeds)
    np.testing.assert_array_equal(validation.max(axis=1), best)
    np.testing.assert_array_equal(test.sum(axis=1), total)
    # Its place among the repeats is random.
    alive = best > 0.5 * IMAGES
    assert (np.bincount(validation[alive].argmax(axis=1), minlength=3) > alive.sum() / 5).all()


@pytest.mark.parametrize("seed", [0, 17])
@pytest.mark.parametrize("kinds", range(1, 16))
def test_draws_agree_with_whatever_is_known(
    model: Completion,
    cells: CellBatch,
    features: np.ndarray,
    total: np.ndarray,
    kinds: int,
    seed: int,
) -> None:
    """Best, sum and one or two single runs of another draw, in every combination."""
    expectation = model.expect(features, total)
    keys = cell_keys(cells)
    truth, _ = model.draw(expectation, total, Known.nothing(CELLS), cell_seeds(keys, seed))
    known = Known.nothing(CELLS)
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(truth, axis=1)
    if kinds & 1:
        known.best[:] = truth.max(axis=1)
    if kinds & 2:
        known.total[:] = truth.sum(axis=1)
    runs = (kinds >> 2) & 3
    known.runs[:, :runs] = -np.sort(-shuffled[:, :runs], axis=1)
    drawn, test = model.draw(expectation, total, known, cell_seeds(keys, seed + 1))
    np.testing.assert_array_equal(test.sum(axis=1), total)
    whole = expectation.failures == 0
    assert whole.sum() > 100
    if kinds & 1:
        np.testing.assert_array_equal(drawn.max(axis=1), known.best)
    if kinds & 2:
        np.testing.assert_array_equal(drawn.sum(axis=1), known.total)
    for k in range(runs):
        # As often among the drawn runs as it is known.
        count = (known.runs[:, :runs] == known.runs[:, k, None]).sum(axis=1)
        found = (drawn == known.runs[:, k, None]).sum(axis=1)
        assert (found >= count)[whole].all()
    if kinds < 4:
        other = (np.sort(drawn, axis=1) != np.sort(truth, axis=1)).any(axis=1)
        # Where two facts are known few donors agree, the one behind the truth among them.
        assert other[whole].mean() > (0.3 if kinds == 3 else 0.8)


def test_a_known_mean_tells_of_the_runs(
    model: Completion, cells: CellBatch, features: np.ndarray, total: np.ndarray
) -> None:
    """Runs drawn under a higher mean keep their spread: the whole cell moves."""
    expectation = model.expect(features, total)
    keys = cell_keys(cells)
    spreads = []
    for shift in (0.0, 0.002):
        known = Known.nothing(CELLS)
        known.total[:] = np.rint(3 * IMAGES * (expectation.validation + shift))
        drawn, _ = model.draw(expectation, total, known, cell_seeds(keys, 1))
        whole = expectation.failures == 0
        np.testing.assert_array_equal(drawn.sum(axis=1)[whole], known.total[whole])
        spreads.append(np.median(drawn[whole].std(axis=1)))
    assert spreads[1] == pytest.approx(spreads[0], rel=0.3)


def test_parameters_are_part_of_a_draw(
    model: Completion, features: np.ndarray, total: np.ndarray
) -> None:
    fitted = model.parameters(None)
    one, again, other = (model.parameters(seed) for seed in (3, 3, 4))
    for name in ("offset", "slope", "effect", "donors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert (getattr(one, name) != getattr(other, name)).any()
    expected = model.expect_many(features, total, [fitted, one, other])
    np.testing.assert_array_equal(expected[0].validation, model.expect(features, total).validation)
    good = expected[0].level > 0.9
    shifts = [one.validation - expected[0].validation for one in expected[1:]]
    # Less uncertain than a run is noisy, but not certain.
    for shift in shifts:
        assert 1e-5 < np.abs(shift[good]).mean() < 1e-3
    # What is drawn is centred on what was fitted.
    many = np.mean([model.parameters(seed).offset for seed in range(400)], axis=0)
    one_sd = np.std([model.parameters(seed).offset for seed in range(400)], axis=0)
    assert (np.abs(many - fitted.offset) <= 5 * one_sd / 20 + 1e-12).mean() > 0.99


def test_failures_are_counted_from_the_sum() -> None:
    failed = np.array([949, 999])
    good = round(0.92 * IMAGES)
    totals = np.array([3 * good, 2 * good + 999, good + 2 * 999, 3 * 999, 3 * round(0.8 * IMAGES)])
    failures, level = split_failures(totals, np.full(5, 0.917), failed)
    np.testing.assert_array_equal(failures, [0, 1, 2, 3, 0])
    np.testing.assert_allclose(level, [0.92, 0.92, 0.92, 0.917, 0.8], atol=1e-4)


def test_training_time_grows_with_the_network(
    model: Completion, cells: CellBatch, features: np.ndarray
) -> None:
    seconds = model.draw_seconds(features, cell_seeds(cell_keys(cells), 0))
    assert seconds.shape == (CELLS, 3)
    assert 100 < seconds.min() < seconds.max() < 20_000
    spread = seconds.std(axis=1) / seconds.mean(axis=1)
    assert 0 < spread.mean() < 0.05


def test_a_model_comes_back_from_its_file(
    model: Completion, features: np.ndarray, total: np.ndarray, tmp_path: Path
) -> None:
    model.save(tmp_path / "model.npz")
    again = Completion.load(tmp_path / "model.npz")
    a, b = model.expect(features, total), again.expect(features, total)
    np.testing.assert_array_equal(a.validation, b.validation)
    np.testing.assert_array_equal(a.spread, b.spread)
    assert again.statistics == model.statistics


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "other"])
def test_a_damaged_model_is_one_clear_error(model: Completion, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.npz"
    if damage == "text":
        path.write_text("no model")
    elif damage == "other":
        np.savez(path, a=np.zeros(3))
    elif damage == "cut":
        model.save(path)
        path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(TableError, match="is not a completion model"):
        Completion.load(path)


def test_the_model_is_small() -> None:
    from importlib import resources

    shipped = resources.files("nprep.data").joinpath("completion.npz")
    assert len(shipped.read_bytes()) < 2_000_000
