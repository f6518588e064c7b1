"""Replays on several draws: what is stored, and the statistics between draws."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import RunFolderError, SettingsError
from nprep.plot.data import figure_data
from nprep.replays.draws import run_on_draws
from nprep.replays.engine import Replay
from nprep.replays.options import check_draws
from nprep.report.tables.accuracy import accuracy_table
from nprep.report.tables.efficiency import draws_table
from nprep.report.words import with_spread
from nprep.results.draws import folder_of, statistics
from nprep.results.reading import read_run
from nprep.results.text import to_text
from nprep.runs.draws import DrawnSource, draws_of
from nprep.runs.settings import ReplaySettings, TableSource, ViewInMemory
from nprep.table.view import View
from tests.synthetic import SyntheticSource, synthetic_view

SETTINGS = ReplaySettings(
    methods=("random", "evolution", "mlp", "oracle"),
    trials=5,
    samples=90,
    # Neither 22 nor 68 would be a point of the curves but for these numbers.
    train_samples=21,
    top_k=60,
    block=2,
    bootstrap=20,
    workers=(1, 4),
)
PREDICTOR = SETTINGS.methods[2]


@dataclass(frozen=True)
class Drawable(SyntheticSource):
    """Draws validation anew by the number; everything else stays."""

    number: int = 0

    def load(self) -> View:
        view = super().load()
        rng = np.random.default_rng(self.number)
        shift = rng.normal(0, 0.003, view.validation.shape).astype(np.float32)
        return (
            view
            if self.number == 0
            else dataclasses.replace(view, validation=np.clip(view.validation + shift, 0, 1))
        )

    def draw(self, number: int) -> Drawable:
        return dataclasses.replace(self, number=number)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    folder = tmp_path_factory.mktemp("draws") / "run"
    return run_on_draws(SETTINGS, Drawable(), folder, 3, 4)


def test_each_draw_is_a_run_folder(finished: Replay) -> None:
    runs = [read_run(finished.folder)]
    runs += [read_run(folder_of(finished.folder, number)) for number in (1, 2)]
    assert [run.run["trials"] for run in runs] == [5, 4, 4]
    assert [run.run["workers"] for run in runs] == [[1, 4], [], []]
    assert len({run.view["digest"] for run in runs}) == 3
    content = finished.summary["draws"]
    assert content["count"] == 3
    assert content["trials"] == [5, 4, 4]
    assert content["view_digests"] == [run.view["digest"] for run in runs]
    for method in SETTINGS.methods:
        for metric in ("test", "validation"):
            finals = [run.summary["methods"][method]["final"][f"{metric}_mean"] for run in runs]
            found = content["methods"][method]["final"][f"{metric}_mean"]
            assert found["values"] == finals
            assert found["mean"] == pytest.approx(np.mean(finals))
            assert found["std"] == pytest.approx(np.std(finals, ddof=1))
            assert (found["least"], found["most"]) == (min(finals), max(finals))
    for method, entry in content["needed"]["test"].items():
        values = [run.summary["needed"]["test"]["methods"][method]["samples"] for run in runs]
        assert entry["samples"]["values"] == values
        assert entry["samples"]["missed"] == values.count(None)


def test_the_run_itself_is_as_without_draws(finished: Replay, tmp_path: Path) -> None:
    alone = run_on_draws(SETTINGS, Drawable(), tmp_path / "alone", 1)
    for name in ("curves.csv", "curves-seconds.csv", "clock.csv"):
        assert (alone.folder / name).read_bytes() == (finished.folder / name).read_bytes()
    assert "draws" not in alone.summary
    assert not (alone.folder / "curves-draws.csv").exists()
    # Draws can be added later, and come out the same.
    later = run_on_draws(SETTINGS, Drawable(), tmp_path / "alone", 3, 4, resume=True)
    assert later.summary == finished.summary
    name = "curves-draws.csv"
    assert (later.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_curves_between_draws(finished: Replay) -> None:
    runs = [read_run(finished.folder)]
    runs += [read_run(folder_of(finished.folder, number)) for number in (1, 2)]
    with open(finished.folder / "curves-draws.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == set(SETTINGS.methods)
    for place, method in enumerate(SETTINGS.methods):
        series = runs[0].series[place]
        means = np.array([run.series[place].columns["test_mean"] for run in runs])
        mine = [row for row in rows if row["method"] == method]
        assert [float(row["samples"]) for row in mine] == series.x.tolist()
        for name, wanted in (
            ("test_mean_over_draws", means.mean(axis=0)),
            ("test_std_between_draws", means.std(axis=0, ddof=1)),
            ("test_least_of_draws", means.min(axis=0)),
            ("test_most_of_draws", means.max(axis=0)),
        ):
            np.testing.assert_allclose([float(row[name]) for row in mine], wanted, atol=2e-6)
            np.testing.assert_allclose(series.columns[name], wanted, atol=2e-6)
    lines = figure_data(runs[0].series).lines
    assert all(line.between_draws is not None for line in lines)
    svg = (finished.folder / "figure.svg").read_text()
    assert "between 3 draws of the modelled values" in svg


def test_tables_and_text_carry_the_spread(finished: Replay) -> None:
    run = read_run(finished.folder)
    table = draws_table(run)
    assert table is not None
    assert {row[0] for row in table.rows} == {"random", "evolution", PREDICTOR}
    assert all("±" in row[4] for row in table.rows)
    cells = [cell for row in accuracy_table(run, "test").rows for cell in row[1:-1]]
    assert all("±" in cell for cell in cells if cell != "–")
    text = to_text(finished.summary)
    assert "mean ± standard deviation of 3 draws" in text
    without = {key: value for key, value in finished.summary.items() if key != "draws"}
    assert "±" not in to_text(without)


def test_draws_of_another_run_are_refused(finished: Replay, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    other = dataclasses.replace(SETTINGS, seed=7)
    shutil.rmtree(folder_of(folder, 1))
    run_on_draws(dataclasses.replace(other, workers=()), Drawable(), folder_of(folder, 1), 1)
    with pytest.raises(RunFolderError, match="is no draw of the run"):
        run_on_draws(SETTINGS, Drawable(), folder, 1, resume=True)


def test_damaged_curves_between_draws_are_named(finished: Replay, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    path = folder / "curves-draws.csv"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(RunFolderError, match=r"curves-draws.csv is not what the run wrote"):
        read_run(folder)


def test_a_mean_of_those_that_get_there_is_not_shown() -> None:
    some = statistics([197.0, None, 251.0])
    assert with_spread(some, 0) == "on 2 of 3 draws alone: 197 to 251"
    assert with_spread(statistics([1.0, 3.0]), 1) == "2.0 ±\u00a01.4 (1.0 to 3.0)"
    assert with_spread(statistics([None]), 1) == "–"


def test_statistics_count_what_is_missed() -> None:
    found = statistics([3.0, None, 5.0])
    assert (found["mean"], found["missed"], found["least"], found["most"]) == (4.0, 1, 3.0, 5.0)
    assert statistics([None, None])["mean"] is None


@pytest.mark.parametrize(
    ("draws", "trials", "shard", "message"),
    [
        (0, None, False, "draws is 0"),
        (1001, None, False, "draws is 1001"),
        (1, 5, False, "draw-trials is given without"),
        (2, None, True, "leave out --draws"),
    ],
)
def test_senseless_numbers_are_refused(
    draws: int, trials: int | None, shard: bool, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        check_draws(draws, trials, shard)


def test_a_view_that_no_model_draws_has_one_draw() -> None:
    with pytest.raises(SettingsError, match="one draw alone"):
        draws_of(ViewInMemory(synthetic_view()), 2)
    with pytest.raises(SettingsError, match="'measured' has one draw alone"):
        draws_of(TableSource(Path("t.h5"), "measured"), 2)
    drawn = draws_of(TableSource(Path("t.h5"), "completed"), 3)
    assert [each.describe().get("draw") for each in drawn] == [None, 1, 2]


def test_a_draw_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPREP_CACHE", str(tmp_path / "cache"))
    view = synthetic_view()
    monkeypatch.setattr(TableSource, "load", lambda self: view)
    made = []

    def draw(path: Path, number: int) -> View:
        made.append(number)
        return dataclasses.replace(view, validation=view.validation + np.float32(number))

    source = DrawnSource(TableSource(Path("t.h5"), "completed"), 2)
    first, second = source.load_with(draw), source.load_with(draw)
    np.testing.assert_array_equal(first.validation, second.validation)
    np.testing.assert_array_equal(first.validation, view.validation + np.float32(2))
    assert made == [2]
    DrawnSource(source.table, 3).load_with(draw)
    assert made == [2, 3]
    for path in (tmp_path / "cache").glob("draw-*"):
        path.write_bytes(path.read_bytes()[:-100])
    source.load_with(draw)
    assert made == [2, 3, 2]
    assert json.dumps(source.describe()) == '{"table": "t.h5", "view": "completed", "draw": 2}'
