"""Runs blocks of trials on a Ray cluster: for the day when one machine is not enough.

The process that was started holds the table and the run folder: the view goes into the cluster's
object store once, results come back as arrays and are written here, so nodes share no disk. Nodes
need the same nprep, and the user's own methods, installed. What a node or worker was at when it was
lost is begun again elsewhere.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import nprep
from nprep.errors import MissingDependencyError, NprepError, SettingsError
from nprep.replay.workers import Done, Work, bug_in, compute_block, load_view, name_of
from nprep.runs.folder import Block, Results, differences_of, to_json, write_block
from nprep.runs.settings import ReplaySettings
from nprep.search.method import Method
from nprep.table.view import View

# A lost node takes the blocks of all its workers; machines lent at a discount are lost often.
MAX_LOSSES = 5
# Blocks submitted for each place in the cluster: one at work, one that waits for it.
AHEAD = 2
_LOOK_EVERY_SECONDS = 5.0
_KNOCK_SECONDS = 10.0


@dataclass(frozen=True)
class _Parcel:
    """What workers need beside the block; serves as a source of itself.

    Attributes:
        version: Of nprep where the replay was started.
        view: The cells.
        settings: Of the replay.
        methods: Settings of its methods, as they are where it was started.
    """

    version: str
    view: View
    settings: ReplaySettings
    methods: dict[str, Any]

    def load(self) -> View:
        """The view (see :class:`~nprep.runs.settings.ViewSource`)."""
        return self.view

    def describe(self) -> dict[str, object]:
        """Nothing: this source is never written down."""
        return {}


@functools.lru_cache(maxsize=1)
def _unpacked(reference: Any) -> tuple[View, ReplaySettings, dict[str, Method]]:
    """What is in a parcel, kept by a worker from one block to the next."""
    import ray

    parcel: _Parcel = ray.get(reference)
    node = ray.util.get_node_ip_address()
    if parcel.version != nprep.__version__:
        raise SettingsError(
            f"node {node} has nprep {nprep.__version__} and the replay was started with "
            f"{parcel.version}: install the same version on every node."
        )
    methods = parcel.settings.make_methods()
    # What is found on a machine, such as a GPU, is part of them.
    differences = list(differences_of(to_jsonable(methods), parcel.methods))
    if differences:
        raise SettingsError(
            f"node {node} would run the methods with {'; '.join(differences[:3])}: name what all "
            "machines have, such as with --backend, or use machines of one kind."
        )
    # Ray hands out arrays that can't be written to, for which no kernel is compiled.
    return load_view(parcel), parcel.settings, methods


def to_jsonable(methods: dict[str, Method]) -> dict[str, Any]:
    """The settings of methods, as JSON gives them back."""
    return dict(json.loads(to_json({name: made.settings() for name, made in methods.items()})))


def _run_remotely(references: list[Any], block: Block) -> tuple[Results, float] | Exception:
    """Runs a block in a Ray worker.

    Args:
        references: To the parcel; in a list, so that Ray doesn't fetch it for every block.
        block: The block.
    """
    start = time.perf_counter()
    try:
        view, settings, methods = _unpacked(references[0])
        results = compute_block(view, methods[block.method], block, settings)
    except NprepError as error:
        return error
    except Exception:
        return bug_in(block)
    return results, time.perf_counter() - start


def _need_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "the engine ray needs the package ray: pip install 'nprep[ray]', or use --engine local."
        ) from error
    return ray


def _knock(address: str) -> None:
    """Finds out whether anything listens, which Ray itself takes minutes to find out.

    Raises:
        OSError: If nothing does.
        ValueError: If it is no address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("an address is HOST:PORT, auto or local")
    socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()


class RayEngine:
    """Blocks as Ray tasks (see :class:`nprep.replay.workers.Engine`); close it in the end."""

    def __init__(
        self,
        address: str = "auto",
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        jobs: int | None = None,
    ) -> None:
        """Joins a cluster, or uses the one that this process has joined.

        Args:
            address: "auto": the cluster that this machine is a node of; "HOST:PORT": of the head of
                such a cluster; "local": one that is started here and ends with the engine.
            cpus: CPUs that each block is given.
            gpus: GPUs that each block is given, such as 0.5 for two blocks on each.
            jobs: CPUs of a "local" cluster; None: all.

        Raises:
            MissingDependencyError: If Ray is not installed.
            SettingsError: If no cluster answers, or none of its nodes has that much.
        """
        if not 0 < cpus <= 1024 or not 0 <= gpus <= 1024:
            raise SettingsError(
                f"each block is to have {cpus:g} CPUs and {gpus:g} GPUs: use more than 0 CPUs."
            )
        self._ray = _need_ray()
        self._cpus, self._gpus = cpus, gpus
        self._joined = not self._ray.is_initialized()
        if self._joined:
            self._join(address, jobs)
        if not self.workers:
            nodes = [node["Resources"] for node in self._alive()]
            most = {
                kind: max((n.get(kind, 0) for n in nodes), default=0) for kind in ("CPU", "GPU")
            }
            self.close()
            raise SettingsError(
                f"no node of the Ray cluster at {address!r} has {cpus:g} CPUs and {gpus:g} GPUs "
                f"for a block (the largest have {most['CPU']:g} and {most['GPU']:g}): lower "
                "--cpus-per-task or --gpus-per-task, or add a node."
            )

    def _join(self, address: str, jobs: int | None) -> None:
        local = address == "local"
        if address == "auto":
            address = os.environ.get("RAY_ADDRESS") or "auto"
        try:
            if address not in ("auto", "local"):
                _knock(address)
            with warnings.catch_warnings():
                # Ray announces its own future here.
                warnings.simplefilter("ignore")
                self._ray.init(
                    address="local" if local else address,
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

    def __enter__(self) -> RayEngine:
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
        """Leaves the cluster, if it was joined for this engine."""
        if self._joined:
            self._ray.shutdown()

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    @property
    def workers(self) -> int:
        """The number of blocks that the nodes there are now have room for."""
        places = 0
        for node in self._alive():
            room = node["Resources"].get("CPU", 0) / self._cpus
            if self._gpus:
                room = min(room, node["Resources"].get("GPU", 0) / self._gpus)
            places += int(room)
        return places

    def run(self, work: Work) -> Iterator[Done]:
        """Runs blocks and stores their results (see :class:`nprep.replay.workers.Engine`)."""
        ray = self._ray
        # Ray would begin lost blocks again by itself, but neither count nor tell.
        task = ray.remote(
            num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0, scheduling_strategy="SPREAD"
        )(_run_remotely)
        methods = to_jsonable(work.settings.make_methods())
        parcel = [ray.put(_Parcel(nprep.__version__, work.view, work.settings, methods))]
        waiting = deque(work.blocks)
        losses: Counter[Block] = Counter()
        running: dict[Any, Block] = {}
        places, looked = self.workers, time.monotonic()
        try:
            while waiting or running:
                while waiting and len(running) < AHEAD * max(1, places):
                    block = waiting.popleft()
                    running[task.remote(parcel, block)] = block
                ready, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_EVERY_SECONDS)
                if time.monotonic() - looked > _LOOK_EVERY_SECONDS:
                    before, places, looked = places, self.workers, time.monotonic()
                    if before != places:
                        work.notice(f"the Ray cluster has room for {places} blocks at a time now")
                for reference in ready:
                    block = running.pop(reference)
                    try:
                        answer = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        self._mourn(block, losses, error, work)
                        waiting.appendleft(block)
                        continue
                    finally:
                        del reference
                    if isinstance(answer, Exception):
                        raise answer
                    results, seconds = answer
                    write_block(work.folder, block, results, work.run)
                    yield Done(block, seconds)
        finally:
            # Those that wait are given up; by force Ray may bring this process down with them.
            for reference in running:
                ray.cancel(reference, force=False)

    def _mourn(self, block: Block, losses: Counter[Block], error: Exception, work: Work) -> None:
        """Counts that a block was lost.

        Raises:
            NprepError: If it was lost too often, or was not lost but can't be run on a node at all.
        """
        if isinstance(error, self._ray.exceptions.RayTaskError):
            why = str(error).strip().splitlines()[-1][:300]
            raise NprepError(
                f"{name_of(block)} can't be run on a node of the Ray cluster ({why}): install the "
                "same nprep, and your own methods, on every node."
            ) from error
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        losses[block] += 1
        if losses[block] > MAX_LOSSES:
            raise NprepError(
                f"the Ray cluster lost {name_of(block)} {losses[block]} times ({why}): see that "
                "its nodes stay up and have enough memory, then continue with --resume."
            ) from error
        work.notice(f"the Ray cluster lost {name_of(block)}, which starts again ({why})")
