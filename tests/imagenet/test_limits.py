"""Limits on cost and latency, the pools within them, and latency tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.imagenet.networks.latency import LatencyTableError, load_latency, save_latency
from nprep.imagenet.study.limits import Limit, Limits, make_limits
from nprep.imagenet.study.pool import DrawnPool, ListedPool, make_pool
from nprep.spaces.choices import Codes
from nprep.spaces.nb101.space import NB101
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.chains import ProxylessSpace
from nprep.spaces.proxyless.costs import AdditiveCost
from nprep.spaces.proxyless.space import MobileSpace
from tests.imagenet.studies import CHAINS, SPACE, FakeEngine, run_study

pytestmark = pytest.mark.usefixtures("quick")


def test_limits_hold_and_impossible_ones_are_told() -> None:
    macs = costs.macs(SPACE)
    middle = float(np.median(macs.of(SPACE.sample(np.random.default_rng(0), 500))))
    pool = make_pool(make_limits(CHAINS, flops_max=2 * middle / 1e6), num_candidates=50)
    assert isinstance(pool, DrawnPool)
    rng = np.random.default_rng(1)
    drawn = pool.candidates(rng)
    assert len(set(drawn.tolist())) == 50
    children = pool.mutate(drawn, rng)
    near = pool.neighbours(0)
    assert len(near)
    for positions in (drawn, children, near, pool.sample(30, rng)):
        assert (macs.of(pool.take(positions).values) <= middle).all()
    # What is outside is not found, what is inside has the same place again.
    assert pool.find(Codes(SPACE.known("largest")[None])).tolist() == [-1]
    assert np.array_equal(pool.find(pool.take(drawn)), drawn)
    with pytest.raises(SettingsError, match="widen them"):
        make_pool(make_limits(CHAINS, flops_max=1e-6)).sample(1, rng)
    with pytest.raises(SettingsError, match="--latency-table"):
        make_limits(CHAINS, None, 0, 85)
    with pytest.raises(SettingsError, match="above"):
        make_limits(CHAINS, macs, 90, 85)
    with pytest.raises(SettingsError, match="does not know that cost"):
        make_limits(NB101, flops_max=1.0)


def test_a_space_can_be_used_up() -> None:
    small = ProxylessSpace(MobileSpace(num_classes=2, image_size=8, width=0.05, depth=1))
    only = small.mobile.known("smallest")
    cost = costs.macs(small.mobile)
    limits = Limits(small, (Limit.additive(cost, 0, float(cost.of(only)[0])),))
    pool = make_pool(limits, num_candidates=5)
    assert np.array_equal(pool.take(pool.candidates(np.random.default_rng(0))).values, only[None])


def test_a_small_space_is_listed() -> None:
    small = ProxylessSpace(MobileSpace(num_classes=2, image_size=8, width=0.05, depth=1))
    pool = make_pool(Limits(small), num_candidates=10**6)
    assert isinstance(pool, ListedPool)
    assert pool.closed
    assert len(pool) == small.size == len(pool.candidates(np.random.default_rng(0)))
    some = np.array([5, 77, 1234], np.int32)
    assert np.array_equal(pool.find(pool.take(some)), some)


def test_evolution_stays_within_limits(tmp_path: Path) -> None:
    macs = costs.macs(SPACE)
    high = float(np.quantile(macs.of(SPACE.sample(np.random.default_rng(0), 500)), 0.3))
    limits = Limits(CHAINS, (Limit.additive(macs, 0, high),))
    engine = FakeEngine()
    run_study(tmp_path, engine, limits=limits)
    encodings = np.stack([SPACE.parse(arch) for arch in engine.asked])
    assert (macs.of(encodings) <= high).all()


def test_latency_table_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = np.where(SPACE.allowed, rng.uniform(0, 2, SPACE.allowed.shape), np.nan)
    cost = AdditiveCost("latency", "ms", 3.5, blocks)
    save_latency(tmp_path / "table.json", SPACE, cost, {"device": "test"})
    again = load_latency(tmp_path / "table.json", SPACE)
    drawn = SPACE.sample(rng, 100)
    np.testing.assert_allclose(again.of(drawn), cost.of(drawn), atol=1e-4)
    naive = [3.5 + sum(blocks[i, c] for i, c in enumerate(one)) for one in drawn]
    np.testing.assert_allclose(cost.of(drawn), naive)
    with pytest.raises(LatencyTableError, match="depth 2"):
        load_latency(tmp_path / "table.json", MobileSpace(3, 16, 0.05, 3, 1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: {**t, "format": "other"}, "damaged"),
        (lambda t: {**t, "blocks": "none"}, "damaged"),
        (lambda t: {**t, "blocks": t["blocks"][:-1]}, "shape"),
        (lambda t: {**t, "fixed": -1}, "negative"),
        (lambda t: {**t, "blocks": [[None] * 7, *t["blocks"][1:]]}, "lacks"),
        (lambda t: {k: v for k, v in t.items() if k != "space"}, "damaged"),
        (lambda t: [1, 2], "damaged"),
    ],
)
def test_wrong_latency_tables_are_told(
    tmp_path: Path, spoil: Callable[[Any], Any], message: str
) -> None:
    path = tmp_path / "table.json"
    ones = np.where(SPACE.allowed, 1.0, np.nan)
    save_latency(path, SPACE, AdditiveCost("latency", "ms", 1.0, ones), {})
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(LatencyTableError, match=message):
        load_latency(path, SPACE)
    path.unlink()
    with pytest.raises(LatencyTableError, match="measure-latency"):
        load_latency(path, SPACE)
