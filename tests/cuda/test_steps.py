"""The steps of the script for machines with a GPU: one that fails or hangs is written down."""

from __future__ import annotations

from pathlib import Path

from bench.cuda.device import Step, about, as_text, run_step, steps_of

SLEEP = ("timeit", "-n", "1", "import time; print('begun', flush=True); time.sleep(600)")


def test_a_step_that_fails_or_hangs_is_written_down(tmp_path: Path) -> None:
    steps = [
        Step("fails", "a module that is not there", ("nprep.nowhere",), 60),
        Step("hangs", "a sleep", SLEEP, 3),
        Step("works", "a line of JSON", ("timeit", "-n", "1", """print('{"a": 1}')"""), 60),
    ]
    found = {step.name: run_step(step, tmp_path) for step in steps}
    assert found["fails"]["status"] == 1
    assert "nowhere" in found["fails"]["last_line"]
    assert found["hangs"]["status"] == "stopped after 3 s"
    assert found["works"]["status"] == 0
    assert found["works"]["measured"] == {"a": 1}
    text = as_text({"about": about(None), "steps": found})
    assert "Rehearsal, no GPU" in text
    assert text.count("\n| ") == 4


def test_the_steps_take_eight_minutes_with_a_gpu(tmp_path: Path) -> None:
    assert sum(step.limit for step in steps_of(tmp_path, gpu=True)) <= 480
    names = [step.name for step in steps_of(tmp_path, gpu=False)]
    assert names == [step.name for step in steps_of(tmp_path, gpu=True)]
