"""``python -m nprep.plot``, and reading runs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nprep._console import run as run_command
from nprep.errors import NprepError, RunFolderError, SettingsError
from nprep.plot.cli import best_for_regret, chosen, main
from nprep.plot.data import figure_data
from nprep.results.comparable import check_comparable, labels_of
from nprep.results.curves import curve_rows, curves_of, to_csv
from nprep.results.reading import read_run
from nprep.results.series import Series, read_series, series_of
from nprep.runs.protocols import PROTOCOLS
from nprep.table.table import Table
from tests.report.runs import FREE, SETTINGS, make_run, rewrite


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
@pytest.mark.parametrize("x", ["samples", "seconds"])
def test_single_figures(kind: str, x: str, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / f"figure.{kind}"
    arguments = [str(run_folder), "--x", x, "--metric", "validation", "--band", "quartiles"]
    assert main([*arguments, "--out", str(out)]) == 0
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert out.read_bytes().startswith(starts[kind])
    if kind == "svg":
        content = out.read_text()
        for words in ("Median and quartiles over trials", "Modelled, not measured", "wen2020"):
            assert words in content
        assert ("training time (seconds)" in content) == (x == "seconds")


def test_several_runs_in_one_figure(run_folder: Path, other_n: Path, tmp_path: Path) -> None:
    out = tmp_path / "figure.svg"
    assert main([str(run_folder), str(other_n), "--methods", "mlp", "--out", str(out)]) == 0
    content = out.read_text()
    assert "mlp (first)" in content
    assert "mlp (second)" in content
    assert "N = 30" in content
    assert "N = 60" in content
    labels = ["--methods", "mlp", "--labels", "thirty,sixty"]
    assert main([str(run_folder), str(other_n), *labels, "--out", str(out)]) == 0
    assert "sixty" in out.read_text()


def test_files_hold_what_is_in_memory(run_folder: Path, run_table: Path) -> None:
    """Curves, from the stored trials, from the file, and drawn: the same numbers."""
    run = read_run(run_folder)
    view = run.open_view()
    for series in run.series:
        curves = run.curves(series.method, view)
        again = series_of(curves)
        for name in ("test_mean", "validation_std", "test_q75", "seconds_mean"):
            common = np.isin(again.x, series.x)
            np.testing.assert_allclose(
                again.columns[name][common],
                series.columns[name][np.isin(series.x, again.x)],
                atol=1e-6,
            )
        rules = SETTINGS.protocol
        direct = curves_of(
            series.method,
            series.train_samples,
            curves.horizon,
            run.results(series.method, view),
            Table.open(run_table).view("completed"),
            rules,
        )
        np.testing.assert_array_equal(direct.test, curves.test)
    data = figure_data(run.by("seconds"), x_axis="seconds")
    timed = {series.method: series for series in run.timed}
    assert [line.label for line in data.lines] == ["random", "evolution", "mlp"]
    for line in data.lines:
        series = timed[line.label]
        np.testing.assert_array_equal(line.x[-5:], series.x[-5:])
        np.testing.assert_array_equal(line.middle[-5:], series.columns["test_mean"][-5:])
    # The dotted line is where the predictor has trained its N cells, on average.
    mlp = next(series for series in run.series if series.method == "mlp")
    at = mlp.columns["seconds_mean"][list(mlp.samples).index(30)]
    assert data.training == (("N = 30", pytest.approx(at)),)
    assert {(series.method, series.workers) for series in run.clock} == {
        (method, workers) for method in ("random", "evolution", "mlp") for workers in (1, 10)
    }


def test_regret_is_the_distance_to_the_best(run_folder: Path) -> None:
    run = read_run(run_folder)
    view = run.open_view()
    best = best_for_regret([run], "test", "regret")
    assert best == pytest.approx(100 * float(view.test.max()), abs=1e-4)
    accuracy, regret = figure_data(run.series), figure_data(run.series, best=best)
    assert best is not None
    for one, other in zip(accuracy.lines, regret.lines, strict=True):
        np.testing.assert_allclose(other.middle, np.maximum(best - one.middle, 1e-3))
        np.testing.assert_allclose(other.low, np.maximum(best - one.high, 1e-3))
    assert best_for_regret([run], "test", None) is None
    lone = dataclasses.replace(run, summary={})
    with pytest.raises(SettingsError, match="regret needs"):
        best_for_regret([lone], "test", "regret")


def test_curves_without_settings_are_drawn(run_folder: Path, tmp_path: Path) -> None:
    shutil.copy(run_folder / "curves.csv", tmp_path / "mine.csv")
    run = read_run(tmp_path / "mine.csv")
    assert run.content == {}
    out = tmp_path / "figure.svg"
    assert main([str(tmp_path / "mine.csv"), "--out", str(out)]) == 0
    assert "view and protocol unknown" in out.read_text()
    # Beside its settings it is known.
    assert read_run(run_folder / "curves.csv").protocol["name"] == "wen2020"


def test_different_protocols_are_refused(
    run_folder: Path, run_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    free = make_run(tmp_path / "free", run_table, protocol=FREE, methods=("random",), workers=())
    out = tmp_path / "figure.svg"
    arguments = [str(run_folder), str(free), "--out", str(out)]
    assert run_command(main, arguments) == 2
    error = capsys.readouterr().err
    assert "differ in protocol (duplicates 'charged' and 'free')" in error
    assert "--mixed" in error
    assert not out.exists()
    assert main([*arguments, "--mixed"]) == 0
    assert "warning: Not comparable" in capsys.readouterr().err
    assert "Not comparable" in out.read_text()


def test_runs_on_other_values_give_a_warning(run_folder: Path) -> None:
    run = read_run(run_folder)
    content = json.loads(json.dumps(run.content))
    content["run"]["view"]["digest"] = "0" * 32
    other = dataclasses.replace(run, content=content)
    [warning] = check_comparable([run, other], mixed=False)
    assert "searched other values" in warning
    lone = dataclasses.replace(run, content={}, summary={})
    assert check_comparable([run, lone], mixed=False) == ["Protocol unknown: first."]
    assert labels_of([run, lone])[:2] == ["random (first, run 1)", "evolution (first, run 1)"]
    assert chosen([run], "mlp,random", "a,b")[1] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{tmp}/none", "does not exist"),
        ("{tmp}", "is no run"),
        ("{run} --methods np", "'np' was not run: use some of evolution, mlp, oracle, random"),
        ("{run} --labels one", "1 labels for 4 lines"),
        ("{run} --out {tmp}/figure.jpeg", "has no ending that says what to write"),
        ("{run} --out {tmp}/none/of/it/figure", "has no ending"),
        ("{run} --size big", "size is 'big'"),
        ("{run} --size 1x200", "size is '1x200'"),
        ("{run} --x days", "invalid choice: 'days'"),
        ("{run}/curves.csv --y regret", ""),
    ],
)
def test_mistakes_are_named(
    arguments: str,
    message: str,
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = arguments.format(tmp=tmp_path, run=run_folder).split()
    status = run_command(main, filled)
    captured = capsys.readouterr()
    if not message:  # Beside its summary a curves.csv knows the best cell.
        assert status == 0
        return
    assert status == 2
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_unfinished_run_says_how_to_resume(run_folder: Path, tmp_path: Path) -> None:
    shutil.copy(run_folder / "settings.json", tmp_path / "settings.json")
    with pytest.raises(RunFolderError, match="has not finished: continue it with"):
        read_run(tmp_path)
    shutil.copy(run_folder / "curves.csv", tmp_path / "curves.csv")
    with pytest.raises(RunFolderError, match="no SHA256SUMS"):
        read_run(tmp_path)
    rewrite(tmp_path, "curves.csv", (run_folder / "curves.csv").read_text())
    with pytest.raises(RunFolderError, match=r"summary\.json is missing"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["curves.csv", "curves-seconds.csv", "clock.csv", "summary.json"])
def test_changed_outputs_are_noticed(name: str, run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("trials"))
    content = (copy / name).read_text()
    assert "3" in content
    (copy / name).write_text(content.replace("3", "4", 1))
    with pytest.raises(RunFolderError, match=f"{name} is not what the run wrote"):
        read_run(copy)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "has no column 'method'"),
        (lambda text: text.replace("test_q25", "test_q26"), "has no column 'test_q25'"),
        (lambda text: text.replace("epochs_mean", "samples"), "names a column twice"),
        (lambda text: text.splitlines()[0] + "\n", "holds no curve"),
        (lambda text: text[:-5], "ends in the middle of a line"),
        (lambda text: text.replace("\nrandom,2,", "\nrandom,two,"), "samples is 'two'"),
        (lambda text: text.replace("\nrandom,2,", "\nrandom,2.5,"), "samples is '2.5'"),
        (lambda text: text.replace("\nrandom,2,", "\nrandom,1,"), "do not go up"),
        (lambda text: text.replace("\nrandom,2,4", "\nrandom,2,5"), "its trials change"),
        (lambda text: text.replace("\nrandom,2,", "\nrandom,2,4,"), "line 3, has"),
        (lambda text: text.replace("\nrandom,2,4,", "\nrandom,2,4,-"), "seconds_mean is '-"),
    ],
)
def test_damaged_curves_are_named(
    damage: object, message: str, run_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(damage((run_folder / "curves.csv").read_text()))  # type: ignore[operator]
    with pytest.raises(RunFolderError, match="with --resume writes a run's outputs again") as info:
        read_series(path)
    assert message in str(info.value)


def test_accuracies_are_percentages(run_folder: Path, tmp_path: Path) -> None:
    lines = (run_folder / "curves.csv").read_text().splitlines()
    place = lines[0].split(",").index("test_mean")
    for wrong in ("100.5", "-1", "nan", "inf", ""):
        cells = lines[4].split(",")
        cells[place] = wrong
        path = tmp_path / "curves.csv"
        path.write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:], ""]))
        with pytest.raises(RunFolderError, match=f"line 5: test_mean is {wrong!r}"):
            read_series(path)


def test_unknown_times_and_new_columns_are_kept(run_folder: Path, tmp_path: Path) -> None:
    lines = (run_folder / "curves.csv").read_text().splitlines()
    place = lines[0].split(",").index("seconds_mean")
    rows = [line.split(",") for line in lines]
    for row in rows[1:]:
        row[place] = "nan"
    path = tmp_path / "curves.csv"
    extra = ["later", *("0.5" if i % 2 else "?" for i in range(1, len(rows)))]
    path.write_text("".join(",".join([*r, e]) + "\n" for r, e in zip(rows, extra, strict=True)))
    series = read_series(path)
    assert not series[0].timed
    assert series[0].columns["later"][0] == 0.5
    assert math.isnan(series[0].columns["later"][1])
    with pytest.raises(SettingsError, match="no training times"):
        figure_data(series, x_axis="seconds")


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_found_or_harmless(data: st.DataObject, run_folder: Path, tmp_path: Path) -> None:
    """Flipped bytes and cuts end in a sentence, or in curves that could have been written."""
    content = bytearray((run_folder / "curves.csv").read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(1, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "curves.csv"
    path.write_bytes(content)
    found: tuple[Series, ...] = ()
    with contextlib.suppress(NprepError):
        found = read_series(path)
    for series in found:
        assert (np.diff(series.x) > 0).all()
        assert all(
            ((values >= 0) & (values <= 100)).all()
            for name, values in series.columns.items()
            if name.startswith(("test_", "validation_"))
        )


def test_csv_is_read_as_written(run_folder: Path, tmp_path: Path) -> None:
    run = read_run(run_folder)
    view = run.open_view()
    path = tmp_path / "curves.csv"
    path.write_bytes(to_csv(curve_rows(run.curves("mlp", view))))
    assert path.read_bytes().splitlines()[1:] == [
        line
        for line in (run_folder / "curves.csv").read_bytes().splitlines()
        if line.startswith(b"mlp,")
    ]


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_trials_are_read_under_every_protocol(name: str, run_table: Path, tmp_path: Path) -> None:
    """What is read back from the stored trials is what the run has written."""
    rules = dataclasses.replace(PROTOCOLS[name].rules, report="mean")
    if rules.seconds is not None:
        rules = dataclasses.replace(rules, seconds=50_000.0)
    folder = make_run(
        tmp_path / name, run_table, protocol=rules, workers=(), methods=("random", "mlp")
    )
    run = read_run(folder)
    assert run.rules == rules
    assert name in run.captions()[1]
    view = run.open_view()
    for series in run.series:
        curves = series_of(run.curves(series.method, view))
        assert curves.columns["test_mean"][-1] == pytest.approx(series.columns["test_mean"][-1])
        assert curves.x[-1] == series.x[-1]
    out = tmp_path / "figure.svg"
    assert main([str(folder), "--x", rules.axis, "--out", str(out)]) == 0
    assert (rules.shows == "regret") == ("regret (percentage points)" in out.read_text())
