"""Runs trainings on a Ray cluster, for studies too large for one machine.

Ray places trainings, restarts those whose node was lost, and waits for new nodes. The study folder
must be on a file system that all nodes share: a training that moves to another node resumes from
its checkpoint there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from nprep.errors import SettingsError
from nprep.imagenet._imports import need
from nprep.imagenet.settings import with_fields
from nprep.imagenet.study.engines import MAX_DEATHS, Outcome, Task, execute

# A lost node takes all its trainings; Ray counts each as one try.
RAY_RETRIES = 10


class RayEngine:
    """Trainings as Ray tasks."""

    def __init__(self, address: str, gpus: float, cpus: float) -> None:
        """Joins the cluster.

        Args:
            address: Of the cluster; "auto" finds the one of this machine, "local" starts one.
            gpus: GPUs of one training; 0 trains on CPUs.
            cpus: CPUs of one training.

        Raises:
            SettingsError: If there is no cluster at that address.
        """
        self._ray: Any = need("ray", "train on a cluster")
        try:
            if not self._ray.is_initialized():
                self._ray.init(
                    address=None if address == "local" else address,
                    log_to_driver=False,
                    include_dashboard=False if address == "local" else None,
                )
        except (ConnectionError, ValueError) as error:
            raise SettingsError(
                f"no Ray cluster answers at {address!r} ({error}): start one with `ray start "
                "--head`, or use --engine local"
            ) from error
        offers = [node["Resources"].get("GPU", 0) for node in self._ray.nodes() if node["Alive"]]
        if gpus > max(offers, default=0):
            # No error: a cluster that grows on demand may have none yet.
            print(
                f"no node of the Ray cluster has {gpus:g} GPUs: trainings wait for one "
                "(--ray-gpus 0 trains on CPUs)",
                file=sys.stderr,
                flush=True,
            )
        self._train = self._ray.remote(
            num_gpus=gpus, num_cpus=cpus, max_retries=RAY_RETRIES, scheduling_strategy="SPREAD"
        )(_train_remotely)

    def run(
        self,
        tasks: Sequence[Task],
        started: Callable[[Task], None],
        ended: Callable[[Task, Outcome], None],
    ) -> None:
        """Runs all tasks (see :class:`nprep.imagenet.study.engines.Engine`)."""
        waiting: dict[Any, Task] = {}
        deaths: dict[int, int] = {}

        def submit(task: Task) -> None:
            started(task)
            device = "cuda:0" if self._uses_gpus() else "cpu"
            moved = Task(task.number, with_fields(task.settings, device=device), task.folder)
            waiting[self._train.remote(moved)] = task

        for task in tasks:
            submit(task)
        while waiting:
            (ready,), _ = self._ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(ready)
            try:
                outcome = self._ray.get(ready)
            except self._ray.exceptions.RayError as error:
                deaths[task.number] = deaths.get(task.number, 0) + 1
                if deaths[task.number] < MAX_DEATHS:
                    submit(task)
                    continue
                outcome = Outcome(None, f"Ray lost training {task.folder}: {str(error)[:200]}")
            ended(task, outcome)

    def _uses_gpus(self) -> bool:
        return bool(self._train._default_options.get("num_gpus"))

    def close(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()


def _train_remotely(task: Task) -> Outcome:
    """Runs in a Ray worker."""
    # Ray marks its workers' processes like torchrun does in some setups; each trains alone.
    os.environ.pop("WORLD_SIZE", None)
    return execute(task)
