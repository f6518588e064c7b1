"""What a study says in the end: frontier, figure, table, page, budget."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import RunFolderError, SettingsError
from nprep.imagenet.study.budget import IMAGENET_TRAIN, IMAGENET_VAL, Stage, format_budget
from nprep.imagenet.study.report import Cloud, clouds, cost_of, write_report
from nprep.imagenet.study.study import Study
from nprep.report.cli import main as report_main
from nprep.report.study import write_study_page
from tests.imagenet.helpers import tiny
from tests.imagenet.studies import METHODS, NO_LIMITS, FakeEngine, study_settings, worth_of

pytestmark = pytest.mark.usefixtures("quick")


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


def test_budget_is_trainings_times_images_over_speed() -> None:
    stage = Stage("sample", 119, 30, 1000)
    images = 119 * 30 * (IMAGENET_TRAIN + IMAGENET_VAL / 3)
    assert stage.gpu_hours == pytest.approx(images / 1000 / 3600)
    text = format_budget([stage, Stage("top", 10, 300, 500)], 8, 2.0)
    assert f"{2 * (stage.gpu_hours + Stage('top', 10, 300, 500).gpu_hours):.0f}" in text
    with pytest.raises(SettingsError, match="images_per_second"):
        format_budget([Stage("x", 1, 1, 0)], 1, 1)
    assert math.isfinite(stage.gpu_hours)
