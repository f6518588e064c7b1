"""Small runs to report on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from nprep.replays.engine import run_replay
from nprep.runs.files import SUMS, write_sums
from nprep.runs.settings import ReplaySettings, TableSource
from nprep.search.rules import ReplayProtocol
from nprep.table.schema import Metric
from nprep.table.writer import write_table
from tests.table.small import small_content

SETTINGS = ReplaySettings(
    methods=("random", "evolution", "mlp", "oracle"),
    trials=4,
    samples=120,
    train_samples=30,
    top_k=40,
    block=2,
    bootstrap=20,
    workers=(1, 10),
)


def make_table(folder: Path) -> Path:
    path = folder / "small.h5"
    content = small_content(300)
    # Every training time is known, which the clock needs.
    seconds = np.random.default_rng(1).uniform(300, 3000, (300, 4, 3))
    metrics = {
        **content.metrics,
        ("final", "training_seconds"): Metric.measured(seconds.astype(np.float32)),
    }
    write_table(path, dataclasses.replace(content, metrics=metrics))
    return path


def make_run(folder: Path, table: Path, **changes: object) -> Path:
    """A finished run on a small made-up table."""
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    run_replay(settings, TableSource(table, "completed"), folder)
    return folder


FREE = ReplayProtocol(duplicates="free")


def rewrite(folder: Path, name: str, content: str) -> None:
    """Puts other content into a run's output, as if the run had written it."""
    (folder / name).write_text(content)
    written = [path for path in sorted(folder.iterdir()) if path.name != SUMS and path.is_file()]
    write_sums(folder, [path for path in written if not path.name.startswith(".")])
