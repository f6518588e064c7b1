"""A page about runs, for all tests of the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nprep.quality.experiment import QualitySettings, SplitPredictions, run_quality
from nprep.quality.splits import KINDS
from nprep.report.cli import main
from nprep.runs.settings import TableSource


@pytest.fixture(scope="session")
def quality_folder(tmp_path_factory: pytest.TempPathFactory, run_table: Path) -> Path:
    folder = tmp_path_factory.mktemp("quality") / "quality"
    settings = QualitySettings(train_samples=(20, 40), splits=2, test_samples=30)

    def predictor(view: object, known: object, labels: object, seed: object) -> object:
        rng = np.random.default_rng(seed)  # type: ignore[arg-type]
        mean = np.nanmean(view.validation, axis=1)  # type: ignore[attr-defined]
        scores = (mean + rng.normal(0, 0.05, len(mean))).astype(np.float32)
        return SplitPredictions(dict.fromkeys(KINDS, scores), mean > 0.8)

    run_quality(settings, TableSource(run_table, "completed"), folder, predictor=predictor)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def page_path(
    tmp_path_factory: pytest.TempPathFactory, run_folder: Path, other_n: Path, quality_folder: Path
) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    folders = [str(run_folder), str(other_n), str(quality_folder)]
    assert main([*folders, "--out", str(path), "--quiet"]) == 0
    return path
