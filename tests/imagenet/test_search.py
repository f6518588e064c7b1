"""Studies: the project's methods on real trainings (here made up, to be quick)."""

from __future__ import annotations

import csv
import functools
import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep.errors import NprepError, RunFolderError, SettingsError
from nprep.imagenet.networks.latency import LatencyTableError, load_latency, save_latency
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.study.budget import IMAGENET_TRAIN, IMAGENET_VAL, Stage, format_budget
from nprep.imagenet.study.engines import Outcome, Task
from nprep.imagenet.study.ledger import Ledger
from nprep.imagenet.study.limits import Limit, Limits, make_limits
from nprep.imagenet.study.pool import DrawnPool, ListedPool, make_pool
from nprep.imagenet.study.report import Cloud, clouds, cost_of, summarise, write_report
from nprep.imagenet.study.settings import StudySettings, best_of
from nprep.imagenet.study.study import Study
from nprep.predictor.agreement import kendall_tau
from nprep.predictor.chains import predict_chains
from nprep.predictor.defaults import SpaceDefaults, chain_settings
from nprep.predictor.gcn import train
from nprep.predictor.scoring import plan_for
from nprep.predictor.settings import GcnSettings
from nprep.predictor.tuning import compare_settings
from nprep.report.cli import main as report_main
from nprep.report.study import write_study_page
from nprep.search import registry
from nprep.search.baselines import RegularizedEvolution
from nprep.search.pool import Pool
from nprep.spaces.base import Members
from nprep.spaces.choices import Codes
from nprep.spaces.nb101.space import NB101
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.chains import ProxylessSpace, chain_graphs
from nprep.spaces.proxyless.costs import AdditiveCost
from nprep.spaces.proxyless.space import MobileSpace
from tests.imagenet.helpers import tiny

METHODS = ("np", "random", "evolution")
SPACE = MobileSpace(num_classes=3, image_size=16, width=0.05, depth=2, stem_stride=1)
CHAINS = ProxylessSpace(SPACE)
NO_LIMITS = Limits(CHAINS)


SHORT = [GcnSettings(layers=2, width=8, head=(8,), epochs=5, initialisation="he")]


def worth(encoding: np.ndarray) -> float:
    """A made-up accuracy: wide and large kernels are good, the more so early."""
    places = np.arange(len(encoding), 0, -1)
    return float(0.5 + 0.4 * (np.where(encoding == 6, -1, encoding) * places).mean() / 40)


def worth_of(arch: str) -> float:
    """Of any network: cells count by the ones in their matrix."""
    if arch.startswith("nb101:"):
        return 0.3 + 0.05 * arch.split(":")[1].count("1")
    return worth(SPACE.parse(arch))


class FakeEngine:
    """Trains nothing; may die after some trainings, and remembers what it was asked for."""

    def __init__(
        self,
        die_after: int = 10**9,
        fails: Callable[[str], bool] | None = None,
        parallel: int = 1,
    ) -> None:
        self.left, self.asked, self.fails = die_after, list[str](), fails or (lambda arch: False)
        self.parallel = parallel
        self.rounds: list[int] = []

    def run(
        self,
        tasks: Sequence[Task],
        started: Callable[[Task], None],
        ended: Callable[[Task, Outcome], None],
    ) -> None:
        self.rounds.append(len(tasks))
        for task in tasks:
            started(task)
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.asked.append(task.settings.arch)
            if self.fails(task.settings.arch):
                ended(task, Outcome(None, "the loss is not a number."))
                continue
            value = worth_of(task.settings.arch)
            result = {"val_top1": value, "test_top1": value - 0.01, "train_seconds": 1.0}
            ended(task, Outcome(result))

    def close(self) -> None:
        pass


def study_settings(**changes: Any) -> StudySettings:
    values: dict[str, Any] = {
        "methods": METHODS, "train_samples": 12, "top_k": 3, "candidates": 300, "seed": 1,
        "proxy": tiny(depth=2), "full": tiny(depth=2),
    }  # fmt: skip
    return StudySettings(**{**values, **changes})


Found = dict[str, list[tuple[Any, ...]]]


def run_study(
    folder: Path,
    engine: FakeEngine,
    settings: StudySettings | None = None,
    resume: bool = False,
    limits: Limits = NO_LIMITS,
) -> tuple[Found, dict[str, Any]]:
    settings = settings or study_settings(parallel=engine.parallel)
    study = Study(folder, settings, limits, engine, resume)
    try:
        study.run()
        found = {
            m: [(q.phase, q.training.encoding, q.predicted) for q in study.ledger.queries(m)]
            for m in study.settings.methods
        }
        return found, summarise(study)
    finally:
        study.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predictor of five epochs, and an evolution whose population fits these small studies."""
    _make_quick(monkeypatch)


def _make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpaceDefaults, "settings", lambda self, base, width: tuple(SHORT))
    small = functools.partial(RegularizedEvolution, population=5, tournament=3)
    monkeypatch.setitem(registry._SEQUENTIAL, "evolution", small)


def test_every_method_trains_as_many(tmp_path: Path) -> None:
    engine = FakeEngine()
    found, summary = run_study(tmp_path, engine)
    for method in METHODS:
        assert len({row[1] for row in found[method]}) == len(found[method]) == 15
    assert [row[0] for row in found["np"]] == ["search"] * 15
    # The last candidates, and they alone, were predicted.
    assert all(row[2] is not None for row in found["np"][12:])
    # Nothing is trained twice.
    assert len(engine.asked) == len(set(engine.asked)) == summary["trainings"]
    best = max(worth_of(row[1]) for row in found["np"])
    assert summary["methods"]["np"]["val_top1"] == best


class Walk:
    """A method of one's own: steps to random neighbours of the best so far."""

    name = "walk"

    def __init__(self, pool: Pool, rng: np.random.Generator) -> None:
        self.pool, self.rng = pool, rng
        self.best = (-1.0, 0)

    def ask(self) -> np.ndarray:
        if self.best[0] < 0:
            return self.pool.sample(2, self.rng)
        return self.pool.mutate(np.array([self.best[1]], np.int32), self.rng)

    def tell(self, positions: np.ndarray, values: np.ndarray) -> None:
        for position, value in zip(positions.tolist(), values.tolist(), strict=True):
            self.best = max(self.best, (value, position))


METHODS_OF_TABLES = [
    "np-best",
    "local-search",
    "npenas",
    "tests.imagenet.test_search:Walk",
    "own_method:Annealing",
]


@pytest.mark.parametrize("method", METHODS_OF_TABLES)
def test_methods_of_tables_search_by_training(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    found, summary = run_study(tmp_path, FakeEngine(), study_settings(methods=(method,)))
    assert len(found[method]) == 15
    assert summary["methods"][method]["val_top1"] == max(worth_of(row[1]) for row in found[method])


def test_cells_are_searched_too(tmp_path: Path) -> None:
    settings = study_settings(methods=("np", "evolution"), train_samples=8, top_k=2)
    found, _ = run_study(tmp_path, FakeEngine(), settings, limits=Limits(NB101))
    for rows in found.values():
        assert len({row[1] for row in rows}) == 10
        assert all(row[1].startswith("nb101:") for row in rows)
    # Everything is ranked, not a sample of it.
    with np.load(tmp_path / "predictions" / "np.npz") as kept:
        assert len(kept["codes"]) == 423_624


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What a study asks for that nobody kills."""
    with pytest.MonkeyPatch.context() as patch:
        _make_quick(patch)
        return run_study(tmp_path_factory.mktemp("whole"), FakeEngine())[0]


@pytest.mark.parametrize("die_after", [0, 1, 11, 12, 13, 15, 17, 20, 24])
def test_killed_anywhere_resumes_and_repeats_nothing(
    tmp_path: Path, whole: Found, die_after: int
) -> None:
    first, second = FakeEngine(die_after), FakeEngine()
    with pytest.raises(KeyboardInterrupt):
        run_study(tmp_path / "parts", first)
    found, summary = run_study(tmp_path / "parts", second, resume=True)
    assert found == whole
    assert not set(first.asked) & set(second.asked)
    assert summary["starts"] == summary["trainings"] + 1


def test_proxy_and_full_trainings(tmp_path: Path) -> None:
    settings = study_settings(full=tiny(depth=2, epochs=9))
    found, summary = run_study(tmp_path, FakeEngine(), settings)
    # Predictors name their last candidates; of the others the study takes the best K.
    assert [row[0] for row in found["np"]] == ["search"] * 12 + ["final"] * 3
    for method in ("random", "evolution"):
        assert [row[0] for row in found[method]] == ["search"] * 12 + ["promoted"] * 3
        sampled = [row[1] for row in found[method][:12]]
        best = sorted(sampled, key=lambda text: -worth_of(text))[:3]
        assert [row[1] for row in found[method][12:]] == best
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        stages = dict(db.execute("SELECT stage, count(*) FROM trainings GROUP BY stage"))
    db.close()
    assert stages["full"] <= 9
    assert summary["proxy_and_full"]["networks"] >= 6
    # This fake's proxies are perfect.
    assert summary["proxy_and_full"]["kendall_tau"] == pytest.approx(1)


def test_failed_trainings_are_left_out(tmp_path: Path) -> None:
    found, summary = run_study(tmp_path, FakeEngine(fails=lambda arch: arch[0] == "0"))
    failed = sum(row[1][0] == "0" for row in found["np"])
    assert failed
    assert summary["methods"]["np"]["failed"] == failed
    assert summary["methods"]["evolution"]["encoding"][0] != "0"


def test_all_failed_is_told(tmp_path: Path) -> None:
    with pytest.raises(NprepError, match="all trainings of method np failed"):
        run_study(tmp_path, FakeEngine(fails=lambda arch: True))


def test_a_study_is_not_mixed_up_with_another(tmp_path: Path) -> None:
    run_study(tmp_path, FakeEngine(), study_settings(methods=("random",)))
    with pytest.raises(RunFolderError, match="holds a study"):
        run_study(tmp_path, FakeEngine())
    with pytest.raises(RunFolderError, match="seed 1 and is resumed with 2"):
        run_study(tmp_path, FakeEngine(), study_settings(seed=2), resume=True)
    with pytest.raises(RunFolderError, match="epochs"):
        run_study(
            tmp_path, FakeEngine(), study_settings(proxy=tiny(depth=2, epochs=7)), resume=True
        )
    # Another method may join.
    engine = FakeEngine()
    run_study(tmp_path, engine, study_settings(methods=("random", "np")), resume=True)
    assert len(engine.asked) == 15


def test_a_program_that_asks_for_others_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = study_settings(methods=("tests.imagenet.test_search:Walk",))
    run_study(tmp_path, FakeEngine(), settings)

    def other(walk: Walk) -> np.ndarray:
        return walk.pool.sample(3, walk.rng)

    monkeypatch.setattr(Walk, "ask", other)
    with pytest.raises(RunFolderError, match="resume with the program that began it"):
        run_study(tmp_path, FakeEngine(), settings, resume=True)


def test_a_lost_ledger_costs_no_training_and_takes_no_others(tmp_path: Path) -> None:
    """Run folders are named by what is trained in them."""

    def folders(seed: int) -> dict[str, str]:
        settings = study_settings(
            methods=("random",), seed=seed, proxy=tiny(depth=2, seed=seed),
            full=tiny(depth=2, seed=seed),
        )  # fmt: skip
        study = Study(tmp_path, settings, NO_LIMITS, FakeEngine(), True)
        study.run()
        names = {t.encoding: study.folder_of(t).name for t in study.ledger.trainings()}
        study.close()
        (tmp_path / "ledger.sqlite").unlink()
        return names

    first, again, other = folders(1), folders(1), folders(2)
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_settings_of_a_later_version_change_nothing_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of before know fewer settings; what they leave out is the default."""

    def fewer(settings: TrainSettings) -> dict[str, Any]:
        return {k: v for k, v in identity(settings).items() if k not in ("drop_path", "erase")}

    identity = TrainSettings.identity
    settings = study_settings(methods=("random",))
    with monkeypatch.context() as patch:
        patch.setattr(TrainSettings, "identity", fewer)
        run_study(tmp_path, FakeEngine(), settings)
        digest = settings.full.digest()
    engine = FakeEngine()
    run_study(tmp_path, engine, settings, resume=True)
    assert engine.asked == []
    assert settings.full.digest() == digest
    other = study_settings(methods=("random",), full=tiny(depth=2, erase=0.5))
    with pytest.raises(RunFolderError, match="erase"):
        run_study(tmp_path, engine, other, resume=True)


def test_evolution_asks_for_as_many_children_as_there_is_room(tmp_path: Path) -> None:
    engine = FakeEngine(parallel=4)
    run_study(tmp_path, engine, study_settings(methods=("evolution",), parallel=4))
    # A population of 5 first; children that are known already cost nothing.
    assert engine.rounds[:2] == [4, 1]
    assert max(engine.rounds[2:]) == 4
    assert sum(engine.rounds) == 15


def test_other_machines_change_nothing(tmp_path: Path) -> None:
    whole, _ = run_study(tmp_path / "whole", FakeEngine(parallel=2))
    with pytest.raises(KeyboardInterrupt):
        run_study(tmp_path / "parts", FakeEngine(20, parallel=2))
    settings = study_settings(parallel=4, threads=2)
    found, _ = run_study(tmp_path / "parts", FakeEngine(parallel=4), settings, resume=True)
    assert found == whole


def test_a_study_in_use_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, study_settings(), NO_LIMITS, FakeEngine(), False)
    with pytest.raises(RunFolderError, match="in use"):
        Study(tmp_path, study_settings(), NO_LIMITS, FakeEngine(), True)
    study.close()


def test_another_latency_table_is_another_study(tmp_path: Path) -> None:
    def limits(fixed: float) -> Limits:
        table = AdditiveCost("latency", "ms", fixed, np.where(SPACE.allowed, 1.0, np.nan))
        return make_limits(CHAINS, table, 0, 99, 0, 0)

    Study(tmp_path, study_settings(), limits(1), FakeEngine(), False).close()
    Study(tmp_path, study_settings(), limits(1), FakeEngine(), True).close()
    with pytest.raises(RunFolderError, match="begun with limits"):
        Study(tmp_path, study_settings(), limits(2), FakeEngine(), True)


def test_a_refused_study_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with pytest.raises(SettingsError, match="widen them"):
        run_study(folder, FakeEngine(), limits=make_limits(CHAINS, flops_max=1e-6))
    assert not folder.exists()
    run_study(folder, FakeEngine(), study_settings(methods=("random",)))


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.ask("random", 0, "search", "full", [str(number) * 20 for number in range(900)])
    ledger.close()
    content = bytearray((tmp_path / "ledger.sqlite").read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    (tmp_path / "ledger.sqlite").write_bytes(content)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(RunFolderError, match="ledger"):
        ledger.queries("random")
    ledger.close()


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(RunFolderError, match="ledger"):
        Ledger(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ()}, "methods"),
        ({"methods": ("np", "np")}, "each once"),
        ({"methods": ("guessing",)}, "guessing"),
        ({"methods": ("oracle",)}, "bound"),
        ({"methods": ("hyperband",)}, "4, 12, 36"),
        ({"train_samples": 0}, "train_samples"),
        ({"train_samples": 1}, "at least 2"),
        ({"threads": 0}, "threads"),
        ({"seed": -1}, "seed"),
        ({"top_k": 0}, "top_k"),
        ({"candidates": 2}, "fewer than top_k"),
    ],
)
def test_senseless_studies_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    engine = FakeEngine()
    with pytest.raises(SettingsError, match=message):
        Study(tmp_path / "study", study_settings(**changes), NO_LIMITS, engine, False)
    assert not (tmp_path / "study").exists()


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


def test_chain_predictions_equal_the_formulas() -> None:
    rng = np.random.default_rng(0)
    encodings = SPACE.sample(rng, 37)
    settings = GcnSettings(
        layers=3, width=8, head=(6, 5), epochs=3, initialisation="he", layer_bias=True
    )
    labels = rng.uniform(0.5, 0.9, 37)
    weights = train(chain_graphs(encodings), labels, settings, np.random.SeedSequence(1))
    length = SPACE.num_blocks
    forward = np.eye(length) + np.eye(length, k=1)
    backward = forward.T / forward.T.sum(1, keepdims=True)
    forward /= forward.sum(1, keepdims=True)
    wanted = []
    for encoding in encodings:
        states = np.eye(7)[encoding]
        for layer in range(3):
            matrix, bias = weights.layer(layer)
            ahead = np.maximum(forward @ states @ matrix[:, :8] + bias[:8], 0)
            behind = np.maximum(backward @ states @ matrix[:, 8:] + bias[8:], 0)
            states = (ahead + behind) / 2
        values = states.mean(0)
        for number, (matrix, bias) in enumerate(weights.head()):
            values = values @ matrix + bias
            if number < 2:
                values = np.maximum(values, 0)
        wanted.append(values[0])
    expected = weights.scale.predictions(np.array(wanted, np.float32))
    for threads in (1, 2):
        got = predict_chains(weights, encodings, threads)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_predictor_ranks_networks() -> None:
    rng = np.random.default_rng(0)
    encodings, others = SPACE.sample(rng, 60), SPACE.sample(rng, 200)
    labels = np.array([worth(one) for one in encodings])
    settings = GcnSettings(
        layers=6, width=24, head=(32,), epochs=150, initialisation="he", learning_rate=1e-3
    )
    weights = train(chain_graphs(encodings), labels, settings, np.random.SeedSequence(0))
    predicted = plan_for(Members(CHAINS, Codes(others)), settings).predict(weights)
    tau = kendall_tau(predicted, np.array([worth(one) for one in others]))
    assert tau > 0.4


def test_the_reported_tau_did_not_choose_the_settings() -> None:
    """On labels without a pattern the best of many settings looks better than it is."""
    rng = np.random.default_rng(0)
    settings = [
        GcnSettings(layers=2, width=8, head=(8,), epochs=3, initialisation="he", learning_rate=rate)
        for rate in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    ]
    flattered, nested = [], []
    for number in range(12):
        members = Members(CHAINS, Codes(SPACE.sample(rng, 20)))
        labels, seed = rng.random(20), np.random.SeedSequence(number)
        tuning = compare_settings(members, labels, settings, seed, threads=2, judge=True)
        assert tuning.tau is not None
        flattered.append(tuning.choices[0].tau)
        nested.append(tuning.tau)
        # Neither depends on the other's being asked for, nor on threads.
        if number == 0:
            alone = compare_settings(members, labels, settings, seed)
            assert (alone.choices, alone.tau) == (tuning.choices, None)
    assert np.mean(flattered) > np.mean(nested) + 0.05
    few = Members(CHAINS, Codes(SPACE.sample(rng, 4)))
    seed = np.random.SeedSequence(0)
    assert compare_settings(few, rng.random(4), settings, seed, judge=True).tau is None
    # One setting is not chosen, so its tau is honest.
    only = compare_settings(few, rng.random(4), settings[:1], seed, judge=True)
    assert only.tau == only.choices[0].tau


def test_full_space_gets_the_papers_depth() -> None:
    assert max(s.layers for s in chain_settings(GcnSettings(), 22)) == 18


def test_frontier_keeps_what_nothing_beats() -> None:
    cloud = Cloud(np.array([3.0, 1, 2, 1, 4]), np.array([70.0, 60, 65, 61, 69]))
    edge = cloud.frontier()
    assert edge.cost.tolist() == [1, 2, 3]
    assert edge.accuracy.tolist() == [61, 65, 70]


def test_figure_and_table_have_all_points(tmp_path: Path) -> None:
    study = Study(tmp_path, study_settings(), NO_LIMITS, FakeEngine(), False)
    study.run()
    points = clouds(study, cost_of(NO_LIMITS, None)[0])
    summary = write_report(study, None)
    study.close()
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    assert (tmp_path / "pareto.png").stat().st_size > 1000
    assert len(points["predicted"].cost) == 300
    assert {name: len(p.cost) for name, p in points.items() if name != "predicted"} == {
        f"trained, {method}": 15 for method in METHODS
    }
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == summary["trainings"]
    assert [float(row["val_top1"]) for row in rows] == [worth_of(row["network"]) for row in rows]
    # The last candidates of the predictor.
    assert sum(row["predicted"] != "" and row["asked_by"] == "np" for row in rows) == 3


def test_a_study_has_a_page(tmp_path: Path) -> None:
    settings = study_settings(full=tiny(depth=2, epochs=9), methods=("np", "random"))
    study = Study(tmp_path / "study", settings, NO_LIMITS, FakeEngine(), False)
    study.run()
    with pytest.raises(RunFolderError, match=r"has no report\.json yet"):
        write_study_page(study.folder, tmp_path / "page.html")
    write_report(study, None)
    trainings = study.ledger.trainings()
    study.close()
    assert report_main([str(study.folder), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    best = max((t for t in trainings if t.stage == "full"), key=lambda t: t.accuracy or 0)
    assert f"The best network of all methods is {best.encoding}" in page
    assert all(t.encoding in page for t in trainings)
    assert "data:image/png;base64," in page
    assert "trained both ways" in page
    (study.folder / "report.json").write_text("[]")
    with pytest.raises(RunFolderError, match="cannot be read"):
        write_study_page(study.folder, tmp_path / "page.html")


def test_the_best_of_all_methods_is_deployed(tmp_path: Path) -> None:
    study = Study(tmp_path, study_settings(), NO_LIMITS, FakeEngine(), False)
    study.run()
    queries = [query for m in METHODS for query in study.ledger.queries(m)]
    study.close()
    best = best_of(study_settings(), queries)
    assert best is not None
    assert best.training.accuracy == max(q.training.accuracy or 0 for q in queries)


def test_budget_is_trainings_times_images_over_speed() -> None:
    stage = Stage("sample", 119, 30, 1000)
    images = 119 * 30 * (IMAGENET_TRAIN + IMAGENET_VAL / 3)
    assert stage.gpu_hours == pytest.approx(images / 1000 / 3600)
    text = format_budget([stage, Stage("top", 10, 300, 500)], 8, 2.0)
    assert f"{2 * (stage.gpu_hours + Stage('top', 10, 300, 500).gpu_hours):.0f}" in text
    with pytest.raises(SettingsError, match="images_per_second"):
        format_budget([Stage("x", 1, 1, 0)], 1, 1)
    assert math.isfinite(stage.gpu_hours)
