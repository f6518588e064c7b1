"""Trials per second of a Ray cluster of two local nodes beside a pool of two processes.

``python bench/replay_scale_out.py --table table.h5``: the same blocks run under both engines, the
files are compared byte by byte, and only then are times printed. The cluster is up before its run
begins; what starts workers, loads kernels and moves the view counts on both sides.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from nprep._workers import LocalWorkers, RayCluster, Workers
from nprep.replays.engine import run_replay
from nprep.runs.settings import ReplaySettings, TableSource


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--view", default="completed")
    parser.add_argument("--methods", default="random,evolution,np")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--block", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    settings = ReplaySettings(
        methods=tuple(options.methods.split(",")), trials=options.trials, block=options.block
    )
    source = TableSource(options.table, options.view)
    trials = settings.trials * len(settings.methods)

    def timed(workers: Workers, folder: Path) -> float:
        start = time.perf_counter()
        run_replay(settings, source, folder, workers=workers)
        return time.perf_counter() - start

    # Ray's workers give way to everything else by default, those of the pool do not.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray spells it so
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        seconds: dict[str, list[float]] = {"pool": [], "ray": []}
        for k in range(options.rounds):
            seconds["pool"].append(
                timed(LocalWorkers(range(2), one_thread=True), base / f"pool-{k}")
            )
            start = time.perf_counter()
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
            try:
                cluster.add_node(num_cpus=1)
                cluster.wait_for_nodes()
                with RayCluster(cluster.address) as nodes:
                    up = time.perf_counter() - start
                    seconds["ray"].append(timed(nodes, base / f"ray-{k}"))
            finally:
                cluster.shutdown()
            if files_of(base / f"pool-{k}") != files_of(base / f"ray-{k}"):
                raise SystemExit("the files differ")
        print(f"{trials} trials of {options.methods} on {options.view}, files equal byte by byte")
        for engine_name, times in seconds.items():
            best = min(times)
            print(
                f"{engine_name}: {best:.1f} s, {trials / best:.2f} trials/s "
                f"(rounds: {', '.join(f'{t:.1f}' for t in times)} s)"
            )
        print(f"starting the cluster of two nodes took {up:.1f} s, not counted above")


if __name__ == "__main__":
    main()
