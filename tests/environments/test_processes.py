"""Worker processes of scripts, of daemons, and those that die."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nprep import _workers
from nprep.errors import SettingsError
from tests.environments.replays import ROOT

_SCRIPT = """
import sys
import nprep
from tests.synthetic import synthetic_view
print("begins", flush=True)
result = nprep.run(2, "random", synthetic_view(), samples=20, bootstrap=10, block=1, jobs=2)
print("ends", flush=True)
"""


def _view_script() -> str:
    return _SCRIPT.replace(
        "from tests.synthetic import synthetic_view", "from tests.synthetic import SyntheticSource"
    ).replace("synthetic_view()", "SyntheticSource().load()")


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(_view_script())
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("nprep.errors.SettingsError: worker processes would run this script")
    assert '`if __name__ == "__main__":`' in last
    # Workers say nothing: one traceback, that of the script itself.
    assert done.stderr.count("Traceback") == 1
    assert "memory" not in done.stderr


def test_a_script_with_a_guard_runs(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    head, body = _view_script().split('print("begins"')
    body = textwrap.indent(f'print("begins"{body}', "    ")
    path.write_text(f'{head}\nif __name__ == "__main__":\n{body}')
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begins", "ends"]


def test_a_script_from_standard_input_is_told() -> None:
    done = subprocess.run(
        [sys.executable],
        input=_view_script(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "SettingsError: the script was read from" in last
    assert "jobs=1" in last


def _in_a_daemon(queue: Any) -> None:
    try:
        _workers.check_can_start()
        queue.put("")
    except SettingsError as error:
        queue.put(str(error))


def test_a_daemonic_process_is_told() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_in_a_daemon, args=(queue,), daemon=True)
    process.start()
    process.join(60)
    assert "daemonic process" in queue.get()


def _boom(place: object) -> Callable[[int], int]:
    def task(number: int) -> int:
        if number == 3:
            os._exit(7)
        if number == 5:
            raise ValueError("a bug")
        return number * number

    return task


def test_workers_report_answers_deaths_and_bugs() -> None:
    from collections import deque

    pool = _workers.LocalWorkers(range(2))
    try:
        ended = list(pool.run(_boom, deque([1, 2, 3, 4])))
        assert sorted(each.answer for each in ended if not each.died) == [1, 4, 16]
        (lost,) = [each for each in ended if each.died]
        assert (lost.task, lost.died) == (3, "a worker died (exit status 7)")
        # Processes stay for more of the same.
        assert [each.answer for each in pool.run(_boom, deque([6]))] == [36]
        with pytest.raises(RuntimeError, match=r"number 5 failed:[\s\S]*a bug"):
            list(pool.run(_boom, deque([5]), name=lambda task: f"number {task}"))
    finally:
        pool.close()
