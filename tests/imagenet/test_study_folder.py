"""Folders of studies: resumed after any end, never mixed up with others, damage told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep.errors import RunFolderError, SettingsError
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.study.ledger import Ledger
from nprep.imagenet.study.limits import Limits, make_limits
from nprep.imagenet.study.study import Study
from nprep.spaces.proxyless.costs import AdditiveCost
from tests.imagenet.helpers import tiny
from tests.imagenet.studies import (
    CHAINS,
    NO_LIMITS,
    SPACE,
    FakeEngine,
    Found,
    make_quick,
    run_study,
    study_settings,
)

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What a study asks for that nobody kills."""
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
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
