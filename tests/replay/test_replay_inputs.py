"""What a user can get wrong: one sentence, exit status 2, nothing left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from nprep._console import run
from nprep.replays import cli
from nprep.runs.settings import ViewSource
from nprep.runs.source import open_source
from nprep.table.view import View
from nprep.table.writer import write_table
from tests.synthetic import SyntheticSource
from tests.table.small import small_content

QUICK = ["--trials", "2", "--samples", "30", "--methods", "random", "--jobs", "1", "--quiet"]


def source(table: Path | None, view: str) -> ViewSource:
    return SyntheticSource()


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str], find=source) -> str:  # type: ignore[no-untyped-def]
    status = run(lambda argv: cli.main(argv, find), arguments)
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("--trials 0", "trials is 0"),
        ("--trials -3", "trials is -3"),
        ("--trials many", "invalid int value: 'many'"),
        ("--trials 1.5", "invalid int value: '1.5'"),
        ("--samples 0", "samples is 0"),
        ("--samples 99999999999", "samples is 99999999999"),
        ("--train-samples 0", "train-samples is 0"),
        ("--top-k 0", "top-k is 0"),
        ("--seed -1", "seed is -1"),
        ("--jobs 0", "jobs is 0"),
        ("--jobs 5000", "jobs is 5000"),
        ("--block 0", "block is 0"),
        ("--bootstrap 3", "bootstrap is 3"),
        ("--methods ,", "no method is named"),
        ("--methods random,random", "'random' is named twice"),
        ("--methods simulated-annealing", "'simulated-annealing' is unknown"),
        ("--methods no_such_module:Method", "cannot be imported"),
        ("--methods json:Nothing", "has no 'Nothing'"),
        ("--repeats all", "repeats is 'all'"),
        ("--duplicates no", "duplicates is 'no'"),
        ("--sampling some", "sampling is 'some'"),
        ("--repeats query --duplicates free", "free extra training runs"),
        ("--protocol nas", "'nas' is unknown: use wen2020, ying2019, bananas"),
        ("--invalid kept", "invalid is 'kept'"),
        ("--report best", "report is 'best'"),
        ("--shows error", "shows is 'error'"),
        ("--axis epochs", "axis is 'epochs'"),
        ("--seconds 0", "seconds is 0.0"),
        ("--seconds never", "seconds is nan"),
        ("--workers 0", "workers is 0"),
        ("--workers 1,10,1", "workers is 1"),
        ("--workers many", "workers is 'many'"),
        ("--predictor-seconds -1", "predictor-seconds is -1"),
        ("--predictor-seconds inf", "predictor-seconds is inf"),
        ("--tabel x.h5", "unrecognized arguments: --tabel"),
        ("--out", "expected one argument"),
        (
            "--methods tests.replay.run_synthetic:Predictor --top-k 590",
            "needs 610 cells (train-samples + top-k) and view 'completed' has 600",
        ),
    ],
)
def test_bad_arguments(
    wrong: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named in failure([*QUICK, *wrong.split()], capsys)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "small.h5"
    write_table(path, small_content())
    return path


@pytest.mark.parametrize("view", ["completed", "measured"])
def test_a_real_table_is_replayed(
    view: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    arguments = [*QUICK[:-1], "--table", str(table), "--view", view, "--out", str(folder)]
    assert run(cli.main, arguments) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("protocol wen2020: ")
    assert "\ntest accuracy (%) after" in captured.out
    assert f"wrote {folder / 'settings.json'}" in captured.out
    assert "2/2 trials, 100%" in captured.err
    stored = json.loads((folder / "settings.json").read_text())
    assert stored["source"] == {"table": str(table), "view": view}
    assert stored["run"]["view"]["cells"] == {"completed": 120, "measured": 40}[view]
    assert ("Modelled" in (folder / "figure.svg").read_text()) == (view == "completed")
    assert "nothing here is measured" not in captured.out


def test_the_last_line_says_how_to_have_measured_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The made-up view has modelled values alone.
    arguments = [*QUICK[:-1], "--out", str(tmp_path / "out")]
    assert run(lambda argv: cli.main(argv, source), arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("nothing here is measured: nprep run --table nb201-cifar10 fetches")


@pytest.mark.parametrize(
    ("name", "view", "named"),
    [
        ("small.h5", "best", "has no view 'best'"),
        ("nothing.h5", "completed", "nothing.h5"),
        ("text.h5", "completed", "text.h5"),
        ("", "completed", "table"),
    ],
)
def test_bad_tables(
    name: str,
    view: str,
    named: str,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (table.parent / "text.h5").write_text("not a table")
    monkeypatch.chdir(tmp_path)
    arguments = [*QUICK, "--table", str(table.parent / name), "--view", view]
    assert named in failure(arguments, capsys, open_source)
    assert not list(tmp_path.iterdir())


def test_missing_default_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "nprep.table.default", None)
    message = failure(QUICK, capsys, open_source)
    assert "python -m nprep.table build" in message
    assert not list(tmp_path.iterdir())


def test_folder_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    message = failure([*QUICK, "--out", str(tmp_path)], capsys)
    assert "is not empty" in message
    message = failure([*QUICK, "--out", str(tmp_path), "--resume"], capsys)
    assert "no settings.json" in message
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_folder_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    assert "is a file" in failure([*QUICK, "--out", str(path)], capsys)
    assert path.read_text() == "mine"
    assert "cannot be written" in failure([*QUICK, "--out", str(path / "inside")], capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_folder_is_read_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "cannot be written" in failure([*QUICK, "--out", str(tmp_path / "out")], capsys)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"run": 3}'])
def test_damaged_settings(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "settings.json").write_text(content)
    message = failure([*QUICK, "--out", str(folder), "--resume"], capsys)
    assert "choose another --out" in message
    assert (folder / "settings.json").read_text() == content


@pytest.mark.parametrize("metric", ["validation", "test"])
def test_view_with_gaps(metric: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Gaps(SyntheticSource):
        def load(self) -> View:
            view = super().load()
            values = getattr(view, metric).copy()
            values[5] = np.nan
            return dataclasses.replace(view, **{metric: values})

    message = failure([*QUICK, "--out", str(tmp_path / "out")], capsys, lambda t, v: Gaps())
    assert f"has no {metric} accuracy for 1 of its 600 cells" in message
    assert not list(tmp_path.iterdir())
