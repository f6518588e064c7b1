"""What is to be seen of a replay before its end: time left and unfinished outputs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from nprep.errors import RunFolderError
from nprep.replays import preview, progress
from nprep.replays.engine import blocks_of, in_turns, run_replay
from nprep.replays.progress import State
from nprep.results.reading import read_run
from nprep.runs.files import SUMS
from nprep.runs.settings import ReplaySettings
from tests.synthetic import SyntheticSource

METHODS = ("random", "evolution", "oracle")
SETTINGS = ReplaySettings(methods=METHODS, trials=6, samples=40, block=2, bootstrap=20)
SOURCE = SyntheticSource()


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_blocks_run_in_turns() -> None:
    order = in_turns(blocks_of(SETTINGS))
    assert sorted(order, key=str) == sorted(blocks_of(SETTINGS), key=str)
    assert [block.method for block in order] == [*METHODS] * 3


@pytest.mark.parametrize("jobs", [1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_time_left_is_right_after_a_tenth_of_each_method(
    jobs: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    names = ("random", "evolution", "bohb", "np")
    settings = ReplaySettings(methods=names, trials=400, block=10)
    cost = dict(zip(names, (0.002, 0.02, 0.4, 5.0), strict=True))
    state = State(dict.fromkeys(names, settings.trials), jobs)
    waiting = in_turns(blocks_of(settings))
    # Each process loads kernels, and builds what all trials share, with its first block.
    loaded: set[tuple[int, str]] = set()
    running: list[tuple[float, float, int, str]] = []
    told: list[tuple[float, float]] = []
    for place in range(jobs):
        running.append((0.0, 0.0, place, ""))
    while running:
        end, took, place, method = min(running)
        running.remove((end, took, place, method))
        now[0] = end
        if method:
            state.add(method, 10, took)
            left = state.remaining()
            assert left is not None
            if all(m.done >= 0.1 * m.total for m in state.methods.values()):
                told.append((end, left))
        if waiting:
            block = waiting.pop(0)
            took = 10 * cost[block.method] * rng.uniform(0.85, 1.15)
            if (place, block.method) not in loaded:
                loaded.add((place, block.method))
                took += 4.0
            running.append((now[0] + took, took, place, block.method))
    total = now[0]
    assert told[0][0] < 0.2 * total
    for at, left in told:
        # Near the end, what is left is less than a block.
        if total - at > 100.0:
            assert (total - at) / 1.5 <= left <= 1.5 * (total - at)


def test_previews_are_marked_and_leave_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_replay(SETTINGS, SOURCE, tmp_path / "without")
    seen = []
    write = preview.Preview.write

    def watched(self: preview.Preview) -> None:
        write(self)
        folder = tmp_path / "with"
        summary = json.loads((folder / "summary.json").read_text())
        lines = (folder / "curves.csv").read_text().splitlines()
        seen.append((summary["unfinished"], len(lines), (folder / "figure.png").read_bytes()[:4]))
        with pytest.raises(RunFolderError, match="has not finished"):
            read_run(folder)

    monkeypatch.setattr(preview.Preview, "write", watched)
    monkeypatch.setattr(preview, "_FIRST_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(preview, "_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(preview, "_MOST_OF_TIME", 1e9)
    run_replay(SETTINGS, SOURCE, tmp_path / "with")
    # After each block but the last.
    assert len(seen) == 8
    assert seen[0][0] == {"trials": {"random": 2, "evolution": 0, "oracle": 0}, "of": 6}
    assert seen[-1][0] == {"trials": {"random": 6, "evolution": 6, "oracle": 4}, "of": 6}
    assert all(lines > 1 and magic == b"\x89PNG" for _, lines, magic in seen)
    assert everything(tmp_path / "with") == everything(tmp_path / "without")


def test_a_preview_that_fails_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("no picture")

    monkeypatch.setattr(preview, "_FIRST_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(preview, "render_figure", fail)
    run_replay(SETTINGS, SOURCE, tmp_path / "out")
    assert "no picture" in caplog.text
    assert (tmp_path / "out" / SUMS).is_file()
