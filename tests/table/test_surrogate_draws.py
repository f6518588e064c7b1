"""The surrogate's model: its features, its file, and the laws that it draws from."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from nprep.model.completion import Completion
from nprep.model.surrogate import CEILING, LOWEST, SMALL, Surrogate, from_scale, to_scale
from nprep.model.surrogate_draws import draw_failures, draw_residuals, standardise, structured_field
from nprep.model.surrogate_features import SURROGATE_FEATURE_NAMES, surrogate_features
from nprep.spaces.nb101.cells import CellBatch, trainable_parameters
from nprep.table.sources import surrogate
from tests.synthetic import synthetic_cells
from tests.table.naive_surrogate_features import naive_features


@pytest.fixture(scope="module")
def model() -> Surrogate:
    return Surrogate.load()


def some_features(cells: int = 500) -> tuple[CellBatch, np.ndarray, np.ndarray]:
    batch, keys = synthetic_cells(cells)
    return batch, keys, surrogate_features(batch, trainable_parameters(batch))


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
