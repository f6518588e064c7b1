"""Short replays in processes of their own, whose surroundings a test chooses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nprep.runs.settings import ReplaySettings
from tests.synthetic import SyntheticSource

ROOT = Path(__file__).parents[2]
HERE = "tests.replay.run_synthetic"
QUICK = ["--methods", "random", "--trials", "2", "--samples", "30", "--bootstrap", "10"]
SETTINGS = ReplaySettings(methods=("random",), trials=2, samples=30, bootstrap=10, block=1)
SOURCE = SyntheticSource()


def replay(out: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", HERE, *QUICK, "--jobs", "1", "--out", str(out), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
    )


def shell(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, timeout=120)
