"""Runs everything that wants a GPU, step by step, and writes down what came out.

``bash bench/cuda/device.sh [OUT]`` is the way to start it. Every step is a process of its own with
a limit of time, so that one that hangs or fails leaves the others standing; together the limits are
8 minutes. The steps that time something compare its results first, and give no time where they are
wrong. Without a GPU they run as a rehearsal (see the script): smaller, and with four times the
limits, since a machine without a GPU may have other work.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nprep.errors import MissingDependencyError
from nprep.kernels.cuda.device import CupyDevice

TRIALS = 500
# What the project aims at on one H200: seconds of 500 trials, milliseconds of a whole space.
AIMS = {"trials": 60.0, "inference": 5.0}
REHEARSAL = "rehearsal, no GPU: no time here is one of a GPU"
_PACKAGES = (
    "cupy-cuda12x",
    "cupy-cuda13x",
    "cupy",
    "numba",
    "numpy",
    "h5py",
    "torch",
    "torchvision",
)

# One test of each CUDA source, and of what the compiler says of a wrong one.
_REHEARSED = (
    "tests/cuda/test_train.py::test_orders_are_followed",
    "tests/cuda/test_gcn.py::test_bad_requests_are_refused",
    "tests/cuda/test_gcn.py::test_groups_and_chunks_change_nothing",
    "tests/cuda/test_cells_on_device.py::test_hashes_keys_and_parameters",
    "tests/cuda/test_compile.py::test_the_compiler_reports_errors",
)


@dataclass(frozen=True)
class Step:
    """One process.

    Attributes:
        name: Of its output file.
        title: What it shows.
        command: Arguments after ``python -m``.
        limit: Seconds.
    """

    name: str
    title: str
    command: tuple[str, ...]
    limit: int


def steps_of(out: Path, gpu: bool) -> list[Step]:
    """The steps, most telling first.

    Args:
        out: Folder for results.
        gpu: Whether there is a GPU; otherwise they are small, and take what stands in for it.
    """
    pytest = ("pytest", "-q", "-p", "no:cacheprovider")
    if gpu:
        tests: tuple[str, ...] = ("-m", "gpu", "tests/cuda", "tests/predictor/test_backends.py")
    else:
        tests = ("-k", "not cupy", *_REHEARSED)
    trials, backend = (TRIALS, "cupy") if gpu else (2, "numba")
    samples = () if gpu else ("--samples", "100")
    patience = 1 if gpu else 4
    return [
        Step(
            "tests",
            "tests of the CUDA kernels" if gpu else "some tests of the CUDA sources on the CPU",
            (*pytest, *tests),
            120 * patience,
        ),
        Step(
            "inference",
            "whole space, one predictor" if gpu else "2,000 cells, one predictor",
            ("bench.cuda.paths", "inference"),
            60 * patience,
        ),
        Step(
            "trials",
            f"{trials} trials of np on --backend {backend}",
            (
                "nprep", "run", "--methods", "np", "--trials", str(trials), "--backend", backend,
                *samples, "--seed", "0", "--jobs", "1", "--quiet", "--out", str(out / "np"),
            ),
            120 * patience,
        ),
        Step(
            "imagenet",
            "full-size training steps" if gpu else "training steps on small images",
            ("bench.cuda.paths", "imagenet"),
            90 * patience,
        ),
        Step(
            "report",
            "registers, and times of every kernel" if gpu else "registers of every kernel",
            ("bench.cuda.report",),
            90 * patience,
        ),
    ]  # fmt: skip


def run_step(step: Step, out: Path) -> dict[str, Any]:
    """Runs a step; its output goes to a file, and its last line of JSON into the record."""
    begin = time.perf_counter()
    path = out / f"{step.name}.txt"
    with path.open("w") as log:
        # A session of its own: what the step has started ends with it.
        process = subprocess.Popen(
            [sys.executable, "-m", *step.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | str = process.wait(step.limit)
        except subprocess.TimeoutExpired:
            status = f"stopped after {step.limit} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    record: dict[str, Any] = {
        "title": step.title,
        "command": "python -m " + " ".join(step.command),
        "status": status,
        "seconds": round(time.perf_counter() - begin, 2),
    }
    lines = path.read_text(errors="replace").splitlines()
    record["last_line"] = next((line for line in reversed(lines) if line.strip()), "")
    for line in reversed(lines):
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                record["measured"] = json.loads(line)
            break
    return record


def about(gpu: CupyDevice | None) -> dict[str, Any]:
    """The machine and the packages."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    found: dict[str, Any] = {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": packages,
        "device": None,
    }
    if gpu is not None:
        runtime = gpu.cupy.cuda.runtime
        found["device"] = gpu.name
        found["driver"] = runtime.driverGetVersion()
        found["runtime"] = runtime.runtimeGetVersion()
    return found


def as_text(record: dict[str, Any]) -> str:
    """The record in Markdown."""
    machine = record["about"]
    if machine["device"] is None:
        head = f"**{REHEARSAL[0].upper()}{REHEARSAL[1:]}.**"
    else:
        head = f"{machine['device']}, driver {machine['driver']}, runtime {machine['runtime']}"
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    lines = [
        f"# GPU run of {machine['date']}", "", head, "",
        f"{machine['system']}, Python {machine['python']}, {packages}", "",
        "| step | status | seconds | outcome |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, step in record["steps"].items():
        measured = step.get("measured")
        outcome = step["last_line"]
        if measured is not None:
            outcome = ", ".join(f"{key} {value}" for key, value in measured.items())
        lines.append(
            f"| {name}: {step['title']} | {step['status']} | {step['seconds']} | {outcome} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Runs the steps; the exit status is 1 if one failed."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(arguments[0])
    out.mkdir(parents=True, exist_ok=True)
    try:
        gpu: CupyDevice | None = CupyDevice()
    except MissingDependencyError as error:
        gpu = None
        print(f"rehearsal: {error}")
    record: dict[str, Any] = {"about": about(gpu), "aims": AIMS, "steps": {}}
    if gpu is None:
        record["rehearsal"] = REHEARSAL
    for step in steps_of(out, gpu is not None):
        print(f"{step.name}: {step.title} ...", flush=True)
        record["steps"][step.name] = run_step(step, out)
        # Written after every step: whatever ends this process, what is known stays.
        (out / "report.json").write_text(json.dumps(record, indent=1) + "\n")
        (out / "report.md").write_text(as_text(record))
    print(as_text(record))
    return int(any(step["status"] != 0 for step in record["steps"].values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
