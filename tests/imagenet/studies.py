"""Studies of trainings that are made up, to be quick."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep.imagenet.study.engines import Outcome, Task
from nprep.imagenet.study.limits import Limits
from nprep.imagenet.study.report import summarise
from nprep.imagenet.study.settings import StudySettings
from nprep.imagenet.study.study import Study
from nprep.predictor.defaults import SpaceDefaults
from nprep.predictor.settings import GcnSettings
from nprep.search import registry
from nprep.search.baselines import RegularizedEvolution
from nprep.spaces.proxyless.chains import ProxylessSpace
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


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpaceDefaults, "settings", lambda self, base, width: tuple(SHORT))
    small = functools.partial(RegularizedEvolution, population=5, tournament=3)
    monkeypatch.setitem(registry._SEQUENTIAL, "evolution", small)
