"""The predictions of a first trial are stored beside the trials, and are what it acted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nprep.replays.engine import Replay, prepare, run_replay, run_shard
from nprep.replays.merge import merge
from nprep.results.trials import StoredTrials
from nprep.runs.predictions import read_predictions
from nprep.runs.settings import ReplaySettings
from nprep.runs.shard import Shard
from nprep.search.predicting import best_new
from nprep.search.trace import Predictions
from tests.synthetic import SyntheticSource

METHODS = ("np", "mlp", "random")
SETTINGS = ReplaySettings(
    methods=METHODS, trials=2, samples=40, train_samples=20, top_k=15, block=1, bootstrap=10
)


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    return run_replay(SETTINGS, SyntheticSource(), tmp_path_factory.mktemp("run") / "out")


def stored(folder: Path, method: str) -> Predictions | None:
    trials = trials_of(folder)
    return read_predictions(folder, method, trials.shape[0], trials.digest)


def trials_of(folder: Path) -> StoredTrials:
    return prepare(SETTINGS, SyntheticSource()).trials(folder)


@pytest.mark.parametrize("method", ["np", "mlp"])
def test_the_first_trial_trained_what_its_predictions_rank_first(
    replay: Replay, method: str
) -> None:
    found = stored(replay.folder, method)
    assert found is not None
    assert found.unit
    results = trials_of(replay.folder).results(method)
    positions = results.positions[0]
    assert set(found.known) == set(positions[:20])
    accepted = found.accepted
    assert (accepted is None) == (method == "mlp")
    accepts = None if accepted is None else lambda asked: accepted[asked]
    np.testing.assert_array_equal(positions[20:], best_new(found.scores, found.known, 15, accepts))
    # Another trial's predictor ranks otherwise, so the comparison could fail.
    assert not np.array_equal(
        results.positions[1][20:], best_new(found.scores, found.known, 15, accepts)
    )


def test_methods_without_predictors_store_nothing(replay: Replay) -> None:
    assert stored(replay.folder, "random") is None
    names = sorted(path.name for path in (replay.folder / "predictions").iterdir())
    assert names == ["mlp.npz", "np.npz"]


def test_processes_and_shards_store_the_same(replay: Replay, tmp_path: Path) -> None:
    shards = []
    for number in (1, 2):
        shards.append(tmp_path / str(number))
        run_shard(SETTINGS, SyntheticSource(), shards[-1], Shard(number, 2), jobs=2)
    merged = merge(shards, tmp_path / "merged", source=SyntheticSource())
    for path in (replay.folder / "predictions").iterdir():
        assert (merged.folder / "predictions" / path.name).read_bytes() == path.read_bytes()
