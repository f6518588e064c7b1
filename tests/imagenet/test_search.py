from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep.errors import NprepError, RunFolderError, SettingsError
from nprep.imagenet.networks.latency import (
    LatencyTableError,
    Limit,
    Limits,
    load_latency,
    make_limits,
    save_latency,
)
from nprep.imagenet.study.budget import IMAGENET_TRAIN, IMAGENET_VAL, Stage, format_budget
from nprep.imagenet.study.engines import Outcome, Task
from nprep.imagenet.study.ledger import Ledger
from nprep.imagenet.study.ranking import (
    candidate_settings,
    fit_ranker,
    load_ranker,
    save_ranker,
)
from nprep.imagenet.study.report import Cloud, clouds, summarise, write_report
from nprep.imagenet.study.strategies import METHODS
from nprep.imagenet.study.study import Study, StudySettings
from nprep.predictor.agreement import kendall_tau
from nprep.predictor.chains import predict_chains
from nprep.predictor.gcn import train
from nprep.predictor.settings import GcnSettings
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.chains import chain_graphs
from nprep.spaces.proxyless.costs import AdditiveCost
from nprep.spaces.proxyless.space import MobileSpace
from tests.imagenet.helpers import tiny

SPACE = MobileSpace(num_classes=3, image_size=16, width=0.05, depth=2, stem_stride=1)


SHORT = [GcnSettings(layers=2, width=8, head=(8,), epochs=5, initialisation="he")]


def worth(encoding: np.ndarray) -> float:
    """A made-up accuracy: wide and large kernels are good, the more so early."""
    places = np.arange(len(encoding), 0, -1)
    return float(0.5 + 0.4 * (np.where(encoding == 6, -1, encoding) * places).mean() / 40)


class FakeEngine:
    """Trains nothing; may die after some trainings, and remembers what it was asked for."""

    def __init__(self, die_after: int = 10**9, fails: Callable[[str], bool] | None = None) -> None:
        self.left, self.asked, self.fails = die_after, list[str](), fails or (lambda arch: False)

    def run(
        self,
        tasks: Sequence[Task],
        started: Callable[[Task], None],
        ended: Callable[[Task, Outcome], None],
    ) -> None:
        for task in tasks:
            started(task)
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.asked.append(task.settings.arch)
            if self.fails(task.settings.arch):
                ended(task, Outcome(None, "the loss is not a number"))
                continue
            value = worth(SPACE.parse(task.settings.arch))
            result = {"val_top1": value, "test_top1": value - 0.01, "train_seconds": 1.0}
            ended(task, Outcome(result))

    def close(self) -> None:
        pass


def study_settings(**changes: Any) -> StudySettings:
    values: dict[str, Any] = {
        "methods": METHODS, "train_samples": 12, "top_k": 3, "candidates": 300, "seed": 1,
        "proxy": tiny(depth=2), "full": tiny(depth=2), "population": 5, "tournament": 3,
    }  # fmt: skip
    return StudySettings(**{**values, **changes})


def run_study(
    folder: Path, engine: FakeEngine, settings: StudySettings | None = None, resume: bool = False
) -> tuple[dict[str, list[tuple[Any, ...]]], dict[str, Any]]:
    study = Study(folder, settings or study_settings(), Limits(SPACE, ()), engine, resume)
    try:
        study.run()
        found = {
            m: [(p.phase, p.training.encoding, p.predicted) for p in study.ledger.proposals(m)]
            for m in study.settings.methods
        }
        return found, summarise(study)
    finally:
        study.close()


@pytest.fixture(autouse=True)
def quick_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nprep.imagenet.study.ranking.candidate_settings", lambda blocks: SHORT)


def test_every_method_trains_as_many(tmp_path: Path) -> None:
    engine = FakeEngine()
    found, summary = run_study(tmp_path, engine)
    for method in METHODS:
        assert [row[0] for row in found[method]] == ["sample"] * 12 + ["top"] * 3
        assert len({row[1] for row in found[method]}) == 15
    # The random networks are the same, and nothing is trained twice.
    assert found["predictor"][:12] == found["random"][:12]
    assert found["evolution"][:5] == found["random"][:5]
    assert len(engine.asked) == len(set(engine.asked)) == summary["trainings"]
    best = max(worth(SPACE.parse(row[1])) for row in found["predictor"])
    assert summary["methods"]["predictor"]["val_top1"] == best


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    """What a study asks for that nobody kills."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nprep.imagenet.study.ranking.candidate_settings", lambda blocks: SHORT)
        return run_study(tmp_path_factory.mktemp("whole"), FakeEngine())[0]


@pytest.mark.parametrize("die_after", [0, 1, 11, 12, 13, 15, 17, 20, 24])
def test_killed_anywhere_resumes_and_repeats_nothing(
    tmp_path: Path, whole: dict[str, list[tuple[Any, ...]]], die_after: int
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
    engine = FakeEngine()
    found, _ = run_study(tmp_path, engine, settings)
    sampled = [row[1] for row in found["random"][:12]]
    best = sorted(sampled, key=lambda text: -worth(SPACE.parse(text)))[:3]
    assert [row[1] for row in found["random"][12:]] == best
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        stages = dict(db.execute("SELECT stage, count(*) FROM trainings GROUP BY stage"))
    db.close()
    assert stages["full"] <= 9
    assert stages["proxy"] >= 12


def test_failed_trainings_are_left_out(tmp_path: Path) -> None:
    found, summary = run_study(tmp_path, FakeEngine(fails=lambda arch: arch[0] == "0"))
    failed = sum(row[1][0] == "0" for row in found["predictor"])
    assert failed
    assert summary["methods"]["predictor"]["failed"] == failed
    assert summary["methods"]["evolution"]["encoding"][0] != "0"


def test_all_failed_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NprepError, match="all trainings of the study failed"):
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
    # Another method may join, and uses what is trained.
    engine = FakeEngine()
    run_study(tmp_path, engine, study_settings(methods=("random", "predictor")), resume=True)
    assert len(engine.asked) <= 3


def test_other_machines_change_nothing(tmp_path: Path) -> None:
    whole, _ = run_study(tmp_path / "whole", FakeEngine(), study_settings(parallel=2))
    with pytest.raises(KeyboardInterrupt):
        run_study(tmp_path / "parts", FakeEngine(20), study_settings(parallel=2))
    found, _ = run_study(
        tmp_path / "parts", FakeEngine(), study_settings(parallel=4, threads=2), resume=True
    )
    assert found == whole


def test_a_study_in_use_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, study_settings(), Limits(SPACE, ()), FakeEngine(), False)
    with pytest.raises(RunFolderError, match="in use"):
        Study(tmp_path, study_settings(), Limits(SPACE, ()), FakeEngine(), True)
    study.close()


def test_another_latency_table_is_another_study(tmp_path: Path) -> None:
    def limits(fixed: float) -> Limits:
        table = AdditiveCost("latency", "ms", fixed, np.where(SPACE.allowed, 1.0, np.nan))
        return make_limits(SPACE, table, 0, 99, 0, 0)

    Study(tmp_path, study_settings(), limits(1), FakeEngine(), False).close()
    Study(tmp_path, study_settings(), limits(1), FakeEngine(), True).close()
    with pytest.raises(RunFolderError, match="begun with limits"):
        Study(tmp_path, study_settings(), limits(2), FakeEngine(), True)


def test_a_damaged_ledger_is_reported(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.propose("random", "sample", "full", [str(number) * 20 for number in range(900)])
    ledger.close()
    content = bytearray((tmp_path / "ledger.sqlite").read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    (tmp_path / "ledger.sqlite").write_bytes(content)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(RunFolderError, match="ledger"):
        ledger.proposals("random")
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
        ({"methods": ("guessing",)}, "guessing"),
        ({"train_samples": 0}, "train_samples"),
        ({"train_samples": 1}, "at least 2"),
        ({"top_k": 0}, "top_k"),
        ({"candidates": 2}, "fewer than top_k"),
    ],
)
def test_wrong_studies_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        study_settings(**changes)


def test_limits_hold_and_impossible_ones_are_reported() -> None:
    macs = costs.macs(SPACE)
    middle = float(np.median(macs.of(SPACE.sample(np.random.default_rng(0), 500))))
    limits = make_limits(SPACE, None, 0, 0, 2 * middle / 1e6, 0)
    drawn = limits.sample(np.random.default_rng(1), 50)
    assert (macs.of(drawn) <= middle).all()
    assert len({SPACE.format(one) for one in drawn}) == 50
    with pytest.raises(SettingsError, match="widen them"):
        make_limits(SPACE, None, 0, 0, 1e-6, 0).sample(np.random.default_rng(1), 1)
    with pytest.raises(SettingsError, match="--latency-table"):
        make_limits(SPACE, None, 0, 85, 0, 0)
    with pytest.raises(SettingsError, match="above"):
        make_limits(SPACE, macs, 90, 85, 0, 0)


def test_a_space_can_be_used_up() -> None:
    small = MobileSpace(num_classes=2, image_size=8, width=0.05, depth=1)
    only = small.known("smallest")
    cost = costs.macs(small)
    limits = Limits(small, (Limit(cost, 0, float(cost.of(only)[0])),))
    assert np.array_equal(limits.sample(np.random.default_rng(0), 1)[0], only)


def test_evolution_stays_within_limits(tmp_path: Path) -> None:
    macs = costs.macs(SPACE)
    high = float(np.quantile(macs.of(SPACE.sample(np.random.default_rng(0), 500)), 0.3))
    limits = Limits(SPACE, (Limit(macs, 0, high),))
    study = Study(tmp_path, study_settings(methods=METHODS), limits, FakeEngine(), False)
    study.run()
    encodings = np.stack([SPACE.parse(t.encoding) for t in study.ledger.trainings()])
    study.close()
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
def test_wrong_latency_tables_are_reported(
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


def test_predictor_ranks_networks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    encodings, others = SPACE.sample(rng, 60), SPACE.sample(rng, 200)
    labels = np.array([worth(one) for one in encodings])
    settings = [GcnSettings(layers=6, width=24, head=(32,), epochs=150, initialisation="he",
                            learning_rate=1e-3)]  # fmt: skip
    ranker = fit_ranker(encodings, labels, np.random.SeedSequence(0), settings, threads=2)
    tau = kendall_tau(ranker.predict(others), np.array([worth(one) for one in others]))
    assert tau > 0.4
    save_ranker(tmp_path / "predictor.npz", ranker)
    loaded = load_ranker(tmp_path / "predictor.npz")
    assert np.array_equal(loaded.predict(others), ranker.predict(others))
    again = fit_ranker(encodings, labels, np.random.SeedSequence(0), settings, threads=1)
    assert np.array_equal(again.predict(others), ranker.predict(others))


def test_full_space_gets_the_papers_depth() -> None:
    assert max(s.layers for s in candidate_settings(22)) == 18


def test_frontier_holds_the_undominated_networks() -> None:
    cloud = Cloud(np.array([3.0, 1, 2, 1, 4]), np.array([70.0, 60, 65, 61, 69]))
    edge = cloud.frontier()
    assert edge.cost.tolist() == [1, 2, 3]
    assert edge.accuracy.tolist() == [61, 65, 70]


def test_figure_has_all_points(tmp_path: Path) -> None:
    study = Study(tmp_path, study_settings(), Limits(SPACE, ()), FakeEngine(), False)
    study.run()
    points = clouds(study, costs.macs(SPACE))
    summary = write_report(study, None)
    study.close()
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    assert (tmp_path / "pareto.png").stat().st_size > 1000
    assert len(points["predicted"].cost) == 300
    assert {name: len(p.cost) for name, p in points.items() if name != "predicted"} == {
        f"trained, {method}": 15 for method in METHODS
    }


def test_budget_is_trainings_times_images_over_speed() -> None:
    stage = Stage("sample", 119, 30, 1000)
    images = 119 * 30 * (IMAGENET_TRAIN + IMAGENET_VAL / 3)
    assert stage.gpu_hours == pytest.approx(images / 1000 / 3600)
    text = format_budget([stage, Stage("top", 10, 300, 500)], 8, 2.0)
    assert f"{2 * (stage.gpu_hours + Stage('top', 10, 300, 500).gpu_hours):.0f}" in text
    with pytest.raises(SettingsError, match="images_per_second"):
        format_budget([Stage("x", 1, 1, 0)], 1, 1)
    assert math.isfinite(stage.gpu_hours)
