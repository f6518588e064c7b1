"""Figures under a matplotlib that another program has set up, or that cannot draw."""

from __future__ import annotations

from pathlib import Path

import pytest

from nprep.plot.cli import main as plot
from nprep.replays import engine
from nprep.replays.engine import run_replay
from nprep.results.reading import read_run
from tests.environments.replays import SETTINGS, SOURCE, replay


def test_figures_do_not_depend_on_a_matplotlibrc(tmp_path: Path) -> None:
    import matplotlib

    run_replay(SETTINGS, SOURCE, tmp_path / "plain")
    # LaTeX may not be there, and nobody asked for its fonts here.
    with matplotlib.rc_context(
        {"text.usetex": True, "lines.linewidth": 9, "savefig.bbox": "tight", "font.size": 30}
    ):
        run_replay(SETTINGS, SOURCE, tmp_path / "own")
        assert matplotlib.rcParams["text.usetex"]
    plain, own = ((tmp_path / name / "figure.svg").read_bytes() for name in ("plain", "own"))
    assert plain == own


@pytest.mark.parametrize("backend", ["module://no_such_module", "nonsense"])
def test_a_backend_of_another_program(tmp_path: Path, backend: str) -> None:
    done = replay(tmp_path / "out", MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "figure.png").is_file()


def test_a_run_is_finished_without_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(engine, "save_figure", fail)
    made = run_replay(SETTINGS, SOURCE, tmp_path / "out")
    assert "the figure could not be drawn (RuntimeError: no fonts)" in caplog.text
    assert not (tmp_path / "out" / "figure.png").exists()
    assert {path.name for path in made.files} >= {"curves.csv", "summary.json"}
    assert read_run(tmp_path / "out").methods == ("random",)
    assert plot([str(tmp_path / "out"), "--out", str(tmp_path / "f.png")]) == 0
