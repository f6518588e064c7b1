"""The replay's command line on a synthetic view: ``python -m tests.replay.run_synthetic``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nprep._console import run
from nprep.replays.cli import main
from nprep.search.baselines import RandomSearch
from nprep.search.method import Method
from nprep.search.rules import ReplayProtocol
from nprep.search.trace import Trace
from nprep.table.view import View
from tests.synthetic import SyntheticSource


class Slow(Method):
    """Random search that takes its time and leaves its process number in a folder."""

    name = "slow"

    def settings(self) -> dict[str, object]:
        return {"name": self.name}

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        if "NPREP_TEST_PIDS" in os.environ:
            folder = Path(os.environ["NPREP_TEST_PIDS"])
            (folder / str(os.getpid())).touch()
            time.sleep(0.3)
            deadline = time.monotonic() + 60
            # A test that must find work under way puts this file there, and removes it later.
            while (folder / "hold").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
        return RandomSearch().run_block(view, seeds, samples, protocol)


class Predictor(Slow):
    """Random cells, then the best by test: stands in for a good predictor."""

    name = "predictor"
    train_samples = 20

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        best = np.argsort(-view.test)[: samples - 20].astype(np.int32)

        def combine(trace: Trace) -> Trace:
            positions = np.concatenate([trace.positions, best])
            repeats = np.concatenate(
                [trace.repeats, np.nanargmax(view.validation[best], axis=1).astype(np.uint8)]
            )
            return Trace(
                positions,
                repeats,
                view.validation[positions, repeats],
                view.training_seconds[positions, repeats],
                rounds=np.array([0, 20], np.int32),
            )

        return [combine(t) for t in RandomSearch().run_block(view, seeds, 20, protocol)]


class Crash(Slow):
    """Takes its process down."""

    name = "crash"

    def run_block(self, *args: object) -> list[Trace]:  # type: ignore[override]
        os._exit(3)


class DieOnce(Slow):
    """Takes its process down the first time that each block is run."""

    name = "die-once"

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        marker = Path(os.environ["NPREP_TEST_PIDS"]) / f"died-{seeds[0].spawn_key[-1]}"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return RandomSearch().run_block(view, seeds, samples, protocol)


class Silent(Slow):
    """Returns nothing."""

    name = "silent"

    def run_block(self, *args: object) -> list[Trace]:  # type: ignore[override]
        return []


if __name__ == "__main__":
    # A shell makes commands in the background ignore it, and this process inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run(lambda argv: main(argv, lambda table, view: SyntheticSource())))
