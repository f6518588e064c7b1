"""Studies: the project's methods on real trainings (here made up, to be quick)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep.errors import NprepError, RunFolderError, SettingsError
from nprep.imagenet.study.limits import Limits
from nprep.imagenet.study.settings import best_of
from nprep.imagenet.study.study import Study
from nprep.search.pool import Pool
from nprep.spaces.nb101.space import NB101
from tests.imagenet.helpers import tiny
from tests.imagenet.studies import (
    METHODS,
    NO_LIMITS,
    FakeEngine,
    run_study,
    study_settings,
    worth_of,
)

pytestmark = pytest.mark.usefixtures("quick")


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


def test_evolution_asks_for_as_many_children_as_there_is_room(tmp_path: Path) -> None:
    engine = FakeEngine(parallel=4)
    run_study(tmp_path, engine, study_settings(methods=("evolution",), parallel=4))
    # A population of 5 first; children that are known already cost nothing.
    assert engine.rounds[:2] == [4, 1]
    assert max(engine.rounds[2:]) == 4
    assert sum(engine.rounds) == 15


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


def test_the_best_of_all_methods_is_deployed(tmp_path: Path) -> None:
    study = Study(tmp_path, study_settings(), NO_LIMITS, FakeEngine(), False)
    study.run()
    queries = [query for m in METHODS for query in study.ledger.queries(m)]
    study.close()
    best = best_of(study_settings(), queries)
    assert best is not None
    assert best.training.accuracy == max(q.training.accuracy or 0 for q in queries)
