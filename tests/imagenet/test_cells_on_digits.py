"""The example that trains cells and judges predictors: its pool of trainings, and its judgement."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("scipy", reason="SciPy is not installed")

FOLDER = Path(__file__).parents[2] / "examples" / "cells_on_digits"
DATA = "digits/folder"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The two scripts as modules."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("train_pool", "judge"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("train_pool"), importlib.import_module("judge")


def convolutions(arch: str) -> int:
    return arch.count("conv3x3")


def write_pool(train_pool: Any, path: Path, cells: int) -> None:
    """Trainings that never were: accuracy grows with the 3x3 convolutions of a cell."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for row, arch in train_pool.draw_cells(cells):
            for seed in (0, 1):
                value = 0.2 + 0.1 * convolutions(arch) + rng.normal(0, 0.001)
                line = {"row": row, "arch": arch, "seed": seed, "validation": value,
                        "test": value, "parameters": row, "seconds": 1.0}  # fmt: skip
                file.write(json.dumps(line) + "\n")


def test_an_interrupted_pool_is_resumed(scripts: tuple[Any, Any], tmp_path: Path) -> None:
    train_pool, judge = scripts
    path = tmp_path / "pool.jsonl"
    assert len(list(train_pool.missing_jobs(path, DATA, 5))) == 10
    write_pool(train_pool, path, 5)
    assert not list(train_pool.missing_jobs(path, DATA, 5))
    # Killed while it wrote the last line.
    path.write_text(path.read_text()[:-20])
    (job,) = train_pool.missing_jobs(path, DATA, 5)
    (row, arch) = train_pool.draw_cells(5)[-1]
    assert job == (row, arch, DATA, 1)
    # A cell counts when both of its trainings are there.
    assert len(judge.load(path)[0]) == 4


@pytest.mark.slow
def test_the_judgement_tells_what_matters_from_what_does_not(
    scripts: tuple[Any, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    train_pool, judge = scripts
    path, figure = tmp_path / "pool.jsonl", tmp_path / "figure.png"
    write_pool(train_pool, path, 48)
    monkeypatch.setattr(
        sys, "argv",
        ["judge.py", str(path), "--repetitions", "4", "--figure", str(figure)],
    )  # fmt: skip
    judge.main()
    lines = capsys.readouterr().out.splitlines()
    start = next(n for n, line in enumerate(lines) if "95 % interval" in line) + 1
    tau = {line[:34].strip(): float(line[34:40]) for line in lines[start : start + 5]}
    assert tau["ridge on operation counts"] > 0.6
    assert tau["predictor"] > 0.5
    assert abs(tau["parameter count"]) < 0.3
    assert abs(tau["random"]) < 0.3
    assert figure.stat().st_size > 10_000
    rows, accuracy, _ = judge.load(path)
    assert len(rows) == 48
    start = next(n for n, line in enumerate(lines) if line.startswith("trainings")) + 1
    found = [float(line[24:].split()[0]) for line in lines[start : start + 3]]
    # Under the other seed, no better than the best there is.
    assert max(found) <= accuracy.max()
    assert min(found) > accuracy.mean()
