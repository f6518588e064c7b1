"""The examples, run as a reader would run them, on small made-up tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nprep.table.writer import write_table
from tests.table.small import small_content

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "small.h5"
    write_table(path, small_content(400))
    return path


def run(example: str, *arguments: str, folder: Path) -> str:
    """What an example prints; it must print no warning and no error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / example), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr, done.stderr
    return done.stdout


def test_first_replay(table: Path, tmp_path: Path) -> None:
    arguments = ["--trials", "3", "--samples", "100", "--train-samples", "20", "--top-k", "40"]
    arguments += ["--out", "out"]
    printed = run("first_replay.py", "--table", str(table), *arguments, folder=tmp_path)
    assert "np reaches" in printed
    assert "share above 93.5 %" in printed
    assert (tmp_path / "out" / "first_replay.png").stat().st_size > 10_000
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The best cells found" in page
    assert "Modelled, not measured" in page


def test_own_predictor(table: Path, tmp_path: Path) -> None:
    arguments = ("--table", str(table), "--trials", "2", "--top-k", "50")
    printed = run("own_predictor.py", *arguments, folder=tmp_path)
    assert "kernel-ridge" in printed
    assert "kernel-ridge reaches" in printed


def test_own_method(table: Path, tmp_path: Path) -> None:
    arguments = ("--table", str(table), "--trials", "4", "--samples", "60")
    printed = run("own_method.py", *arguments, folder=tmp_path)
    assert "annealing" in printed


def test_own_method_on_the_command_line(table: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "nprep.replay", "--table", str(table)]
    command += ["--methods", "random,own_method:Annealing", "--trials", "4", "--samples", "60"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT / "examples",
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'examples'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "own_method:Annealing" in done.stdout
    settings = (tmp_path / "out" / "settings.json").read_text()
    assert '"searcher": "own_method:Annealing"' in settings


@pytest.mark.slow
@pytest.mark.parametrize("space", ["nb101", "proxyless"])
def test_own_method_by_real_trainings(tmp_path: Path, space: str) -> None:
    """The same class, unchanged, asks for networks that are trained."""
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    command = [sys.executable, "-m", "nprep", "search", "--space", space, "--preset", "tiny"]
    command += ["--methods", "own_method:Annealing", "--train-samples", "3", "--top-k", "1"]
    command += ["--synthetic-data", "48", "--num-classes", "3", "--image-size", "16", "--epochs"]
    command += ["1", "--batch-size", "16", "--width", "0.0625", "--depth", "1", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "study")],
        cwd=ROOT / "examples",
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'examples'}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "own_method:Annealing" in done.stdout
    rows = (tmp_path / "study" / "results.csv").read_text().splitlines()[1:]
    assert len(rows) == 4
    assert all(",done," in row for row in rows)
