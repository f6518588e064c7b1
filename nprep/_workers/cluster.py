"""Workers on the nodes of a Ray cluster."""

from __future__ import annotations

import functools
import logging
import os
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import nprep
from nprep._optional import need
from nprep._workers.base import Ended, Maker, answer_of, attempt
from nprep.errors import SettingsError, WorkerError

# Tasks given to a cluster for each place in it: one at work, one that waits for it.
_AHEAD = 2
_LOOK_EVERY_SECONDS = 5.0
_CONNECT_SECONDS = 10.0


class RayCluster:
    """Nodes of a Ray cluster (see ``Workers``)."""

    # A lost node takes the tasks of all its workers; machines lent at a discount are lost often.
    retries = 5
    advice = "see that the nodes of the cluster stay up and have enough memory"
    share_disk = False

    def __init__(
        self,
        address: str = "auto",
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        jobs: int | None = None,
        may_grow: bool = False,
    ) -> None:
        """Joins a cluster, or uses the one that this process has joined.

        Args:
            address: "auto": the cluster that this machine is a node of; "HOST:PORT": of the head of
                such a cluster; "local": one that is started here and ends with this object.
            cpus: CPUs of a task.
            gpus: GPUs of a task, such as 0.5 for two tasks on each.
            jobs: CPUs of a "local" cluster; None: all.
            may_grow: Whether to wait for a node with enough of both, where there is none yet.

        Raises:
            MissingDependencyError: If Ray is not installed.
            SettingsError: If no cluster answers, or none of its nodes has that much.
        """
        if not 0 < cpus <= 1024 or not 0 <= gpus <= 1024:
            raise SettingsError(
                f"each task is to have {cpus:g} CPUs and {gpus:g} GPUs: use more than 0 CPUs."
            )
        self._ray: Any = need("ray", "use a cluster", extra="ray")
        self._cpus, self._gpus, self._may_grow = cpus, gpus, may_grow
        self._joined = not self._ray.is_initialized()
        if self._joined:
            self._join(address, jobs)
        if not self.places and not may_grow:
            nodes = [node["Resources"] for node in self._alive()]
            most = {
                kind: max((n.get(kind, 0) for n in nodes), default=0) for kind in ("CPU", "GPU")
            }
            self.close()
            raise SettingsError(
                f"no node of the Ray cluster at {address!r} has {cpus:g} CPUs and {gpus:g} GPUs "
                f"for a task (the largest have {most['CPU']:g} and {most['GPU']:g}): lower "
                "--cpus-per-task or --gpus-per-task, or add a node."
            )

    def _join(self, address: str, jobs: int | None) -> None:
        local = address == "local"
        if address == "auto":
            address = os.environ.get("RAY_ADDRESS") or "auto"
        try:
            if address not in ("auto", "local"):
                _connect(address)
            with warnings.catch_warnings():
                # Ray announces its own future here.
                warnings.simplefilter("ignore")
                self._ray.init(
                    address=address,
                    num_cpus=jobs if local else None,
                    include_dashboard=False if local else None,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            why = " ".join(str(error).split())[:200]
            raise SettingsError(
                f"no Ray cluster answers at {address!r} ({why}): start one with ray start --head, "
                "make this machine a node of it, or use --address local."
            ) from error

    def __enter__(self) -> RayCluster:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the cluster."""
        self.close()

    def close(self) -> None:
        """Leaves the cluster, if it was joined for this object."""
        if self._joined:
            self._ray.shutdown()

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    @property
    def places(self) -> int:
        """The number of tasks that the nodes there are now have room for."""
        places = 0
        for node in self._alive():
            room = node["Resources"].get("CPU", 0) / self._cpus
            if self._gpus:
                room = min(room, node["Resources"].get("GPU", 0) / self._gpus)
            places += int(room)
        return places

    def run(
        self,
        maker: Maker,
        tasks: deque[Any],
        *,
        name: Callable[[Any], str] = str,
        started: Callable[[Any], object] = lambda task: None,
        notice: Callable[[str], object] = lambda text: None,
    ) -> Iterator[Ended[Any, Any]]:
        """Runs tasks (see ``Workers.run``).

        A maker's place is the number of GPUs of a task.
        """
        ray = self._ray
        # Ray would begin lost tasks again by itself, but neither count nor tell.
        remote = ray.remote(
            num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0, scheduling_strategy="SPREAD"
        )(_run_on_node)
        # In a list, so that Ray does not fetch it for every task.
        sent = [ray.put((nprep.__version__, maker, self._gpus))]
        running: dict[Any, Any] = {}
        places, looked = self.places, time.monotonic()
        if not places:
            notice("no node of the Ray cluster has room for a task: waiting for one")
        try:
            while tasks or running:
                while tasks and len(running) < _AHEAD * max(1, places):
                    task = tasks.popleft()
                    started(task)
                    running[remote.remote(sent, task)] = task
                ready, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_EVERY_SECONDS)
                if time.monotonic() - looked > _LOOK_EVERY_SECONDS:
                    before, places, looked = places, self.places, time.monotonic()
                    if before != places:
                        notice(f"the Ray cluster has room for {places} tasks at a time now")
                for reference in ready:
                    task = running.pop(reference)
                    try:
                        answer = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        yield Ended(task, None, self._loss(name(task), error))
                        continue
                    finally:
                        del reference
                    yield Ended(task, answer_of(answer, name(task)))
        finally:
            # Those that wait are given up; by force Ray may bring this process down with them.
            for reference in running:
                ray.cancel(reference, force=False)

    def _loss(self, name: str, error: Exception) -> str:
        """How a task was lost, in words.

        Raises:
            WorkerError: If it was not lost but cannot be run on a node at all.
        """
        if isinstance(error, self._ray.exceptions.RayTaskError):
            why = str(error).strip().splitlines()[-1][:300]
            raise WorkerError(
                f"{name} cannot be run on a node of the Ray cluster ({why}): install the same "
                "nprep, and your own methods, on every node."
            ) from error
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        return f"the Ray cluster lost a worker ({why})"


def _connect(address: str) -> None:
    """Finds out whether anything listens, which Ray itself takes minutes to find out.

    Raises:
        OSError: If nothing does.
        ValueError: If it is no address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("an address is HOST:PORT, auto or local")
    socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()


@functools.lru_cache(maxsize=1)
def _made_on_node(reference: Any) -> Callable[[Any], Any]:
    """What a maker made, kept by a worker from one task to the next."""
    import ray

    version, maker, place = ray.get(reference)
    if version != nprep.__version__:
        raise SettingsError(
            f"node {ray.util.get_node_ip_address()} has nprep {nprep.__version__} and the run was "
            f"started with {version}: install the same version on every node."
        )
    made: Callable[[Any], Any] = maker(place)
    return made


def _run_on_node(references: list[Any], task: Any) -> tuple[str, Any]:
    """Runs a task in a Ray worker."""
    # Ray marks its workers' processes as torchrun does in some setups; each works alone.
    os.environ.pop("WORLD_SIZE", None)
    return attempt(lambda: _made_on_node(references[0]), task)
