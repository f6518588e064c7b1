"""What a person, or a program, sees while a replay runs."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from nprep import _console
from nprep._console import duration, messages
from nprep.replays import cli
from nprep.replays.progress import JsonLines, Progress, State, table_of
from tests.synthetic import SyntheticSource

ROOT = Path(__file__).parents[2]
ARGUMENTS = ["--trials", "4", "--samples", "40", "--methods", "random,evolution", "--block", "2"]


def test_estimates_come_from_each_methods_own_pace(capsys: pytest.CaptureFixture[str]) -> None:
    with messages():
        shown = Progress({"fast": 10, "slow": 4}, jobs=2)
        assert shown.remaining() is None
        shown.add("fast", 5, 5.0)
        # Time goes by between two calls.
        assert shown.remaining() == pytest.approx((5 * 1 + 4 * 1) / 2, rel=0.01)
        shown.add("slow", 1, 20.0)
        assert shown.remaining() == pytest.approx((5 * 1 + 3 * 20) / 2, rel=0.01)
        shown.add("fast", 5, 5.0, lambda: [93.0, 94.0])
        shown.add("slow", 3, 60.0, lambda: [94.5])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "replay: 0/14 trials,   0%"
    assert lines[-1].startswith("replay: 14/14 trials, 100%, took ")
    assert lines[-1].endswith("; mean test accuracy (%): fast 93.50, slow 94.50")


def test_quiet_shows_nothing_and_asks_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with messages(quiet=True):
        shown = Progress({"m": 1}, 1)
        shown.add("m", 1, 1.0, lambda: pytest.fail("nobody sees it"))
        shown.notice("something")
        shown.close()
    assert capsys.readouterr().err == ""


def test_a_program_that_logs_gets_messages_its_own_way(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "nprep")
    shown = Progress({"m": 1}, 1)
    shown.notice("a worker died")
    shown.close()
    assert caplog.messages == ["replay: 0/1 trials,   0%", "a worker died"]
    assert {record.name for record in caplog.records} == {"nprep"}
    assert capsys.readouterr().err == ""


def test_json_lines_are_json() -> None:
    stream = io.StringIO()
    shown = Progress({"a": 2, "b": 1}, 1, JsonLines(stream))
    shown.notice("a worker died")
    shown.add("a", 2, 1.0, lambda: [90.0, 92.0])
    shown.add("b", 1, 1.0)
    shown.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["progress", "notice", "progress"]
    assert lines[0]["seconds_left"] is None
    assert lines[-1]["done"] == lines[-1]["total"] == 3
    assert lines[-1]["methods"] == {
        "a": {"done": 2, "total": 2, "test_mean": 91.0},
        "b": {"done": 1, "total": 1, "test_mean": None},
    }


def test_live_table_has_a_row_for_each_method() -> None:
    state = State({"random": 10, "my[bold]:Own": 5}, 1)
    state.add("random", 4, 2.0)
    state.methods["random"].known = 4
    state.methods["random"].accuracy = 4 * 93.456
    stream = io.StringIO()
    Console(file=stream, width=80, force_terminal=True, color_system=None).print(table_of(state))
    rows = stream.getvalue().splitlines()
    assert re.search(r"random .*4/10 +93\.46 +0\.50", rows[1])
    # A name is text, not markup.
    assert re.search(r"my\[bold\]:Own .*0/5", rows[2])
    assert re.match(r"4/15 trials,  27%, about [56] s left", rows[3])
    assert all(len(row.rstrip()) <= 80 for row in rows)


def test_lines_come_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(_console.time, "monotonic", lambda: now[0])
    with messages():
        shown = Progress({"m": 100}, 1)
        for _ in range(99):
            now[0] += 1.0
            shown.add("m", 1, 1.0)
    assert len(capsys.readouterr().err.splitlines()) == 1 + 9


def test_command_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*ARGUMENTS, "--jobs", "1", "--json", "--out", str(tmp_path / "out")]
    assert cli.main(arguments, lambda table, view: SyntheticSource()) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [line["event"] for line in lines[-2:]] == ["progress", "summary"]
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert lines[-1]["summary"] == stored
    assert str(tmp_path / "out" / "curves.csv") in lines[-1]["files"]
    # What trials end with, over all of them, is what the summary has.
    for name, method in lines[-2]["methods"].items():
        assert method["test_mean"] == pytest.approx(stored["methods"][name]["final"]["test_mean"])


def test_quiet_json_is_the_result_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*ARGUMENTS, "--jobs", "1", "--json", "--quiet", "--out", str(tmp_path / "out")]
    assert cli.main(arguments, lambda table, view: SyntheticSource()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["summary"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_live_view_on_a_real_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tests.replay.run_synthetic", *ARGUMENTS]
    process = subprocess.Popen(
        [*command, "--jobs", "1", "--out", str(tmp_path / "out")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # The other end is closed.
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen).decode()
    assert "test % so far" in text
    assert re.search(r"evolution .*4/4 +\d\d\.\d\d", text)
    assert "8/8 trials, 100%, took" in text
    # The cursor is given back.
    assert seen.rstrip().endswith(b"\x1b[?25h")


def test_durations_are_readable() -> None:
    assert duration(3.6) == "4 s"
    assert duration(125) == "2 min 05 s"
    assert duration(11220) == "3 h 07 min"
