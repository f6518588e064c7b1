"""Runs independent trainings: in worker processes here, or (``ray_engine``) on a cluster."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from nprep.errors import NprepError
from nprep.imagenet.settings import TrainSettings, with_fields

# A training whose process dies (killed, out of memory) is resumed so many times.
MAX_DEATHS = 3
# Seconds to wait for a run folder: what worked there for a search that was killed, or on a node
# that left, ends by itself, on a busy machine not at once.
PATIENCE = 120.0


@dataclass(frozen=True)
class Task:
    """A training to run.

    Attributes:
        number: Its number in the ledger.
        settings: The training.
        folder: Its run folder; what is there is gone on with.
    """

    number: int
    settings: TrainSettings
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        result: What it gave; None if it failed.
        error: Why it failed.
        hopeless: Whether the reason (data, settings, disk) would fail the others too.
    """

    result: dict[str, Any] | None
    error: str = ""
    hopeless: bool = False


class Engine(Protocol):
    """Something that runs trainings."""

    def run(
        self,
        tasks: Sequence[Task],
        started: Callable[[Task], None],
        ended: Callable[[Task, Outcome], None],
    ) -> None:
        """Runs all tasks, in any order.

        Args:
            tasks: The trainings.
            started: Called, in this thread, when a training is handed out (again, after a death).
            ended: Called, in this thread, when it is done or failed for good; may raise, which
                ends the run.
        """

    def close(self) -> None:
        """Ends everything that the engine started."""


def execute(task: Task) -> Outcome:
    """Runs a training in this process and turns its errors into an outcome.

    A network that does not fit in memory is trained with half the batch and twice the passes a
    step, and again, as long as the batch can be halved; then it has failed, and it alone.
    """
    from nprep.imagenet.training.loop import DivergedError
    from nprep.imagenet.training.run import OutOfMemoryError, run_training

    settings = task.settings
    try:
        while True:
            try:
                return Outcome(
                    run_training(settings, task.folder, resume=True, patience=PATIENCE, alone=True)
                )
            except (OutOfMemoryError, MemoryError):
                batch, odd = divmod(settings.batch_size, 2)
                # Batch norm needs two images of a forward pass.
                if odd or batch < 2:
                    raise
                settings = with_fields(
                    settings, batch_size=batch, accumulate=2 * settings.accumulate
                )
            # Out of the handler, which keeps the failed step's tensors alive.
            _free_memory()
    except DivergedError as error:
        return Outcome(None, str(error))
    except OutOfMemoryError as error:
        return Outcome(None, str(error))
    except NprepError as error:
        return Outcome(None, str(error), hopeless=True)
    except MemoryError:
        return Outcome(None, f"training {task.folder} ran out of memory")
    except RuntimeError as error:
        # torch's own: out of GPU memory, an operation that the device lacks.
        first = str(error).splitlines()[0]
        return Outcome(None, f"training {task.folder} failed in torch: {first}", hopeless=True)


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _watch_parent(parent: int) -> None:
    """Ends this process when its parent is gone, however that went."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work(channel: Connection, parent: int) -> None:
    """The life of a worker: takes tasks, sends outcomes."""
    import signal

    # Ctrl-C reaches the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    while True:
        try:
            task = channel.recv()
        except EOFError:
            return
        if task is None:
            return
        channel.send(execute(task))


@dataclass
class _Worker:
    process: Any
    channel: Connection
    device: str
    task: Task | None = None


class LocalEngine:
    """Worker processes on this machine, each with a device of its own."""

    def __init__(self, devices: Sequence[str]) -> None:
        """Prepares one worker a device; they start with the first task.

        Args:
            devices: For example ["cuda:0", "cuda:1"], or ["cpu", "cpu"].
        """
        self._context = mp.get_context("spawn")
        self._devices = list(devices)
        self._workers: list[_Worker] = []

    def _spawn(self, device: str) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, os.getpid()))
        process.start()
        theirs.close()
        return _Worker(process, ours, device)

    def run(
        self,
        tasks: Sequence[Task],
        started: Callable[[Task], None],
        ended: Callable[[Task, Outcome], None],
    ) -> None:
        """Runs all tasks (see :class:`Engine`)."""
        waiting = deque(tasks)
        deaths: dict[int, int] = {}
        wanted = min(len(self._devices), len(waiting))
        while len(self._workers) < wanted:
            self._workers.append(self._spawn(self._devices[len(self._workers)]))
        while waiting or any(worker.task for worker in self._workers):
            for worker in self._workers:
                if waiting and worker.task is None:
                    self._hand_out(worker, waiting.popleft(), started)
            busy = [worker for worker in self._workers if worker.task]
            ready = wait([w.channel for w in busy] + [w.process.sentinel for w in busy])
            for worker in busy:
                if worker.channel in ready or worker.process.sentinel in ready:
                    task, outcome = self._collect(worker)
                    if outcome is not None:
                        ended(task, outcome)
                        continue
                    deaths[task.number] = deaths.get(task.number, 0) + 1
                    if deaths[task.number] < MAX_DEATHS:
                        waiting.appendleft(task)
                    else:
                        text = f"the process of training {task.folder} died {MAX_DEATHS} times"
                        ended(task, Outcome(None, text))

    @staticmethod
    def _hand_out(worker: _Worker, task: Task, started: Callable[[Task], None]) -> None:
        started(task)
        worker.task = task
        settings = with_fields(task.settings, device=worker.device)
        try:
            worker.channel.send(Task(task.number, settings, task.folder))
        except OSError:
            # It died idle; its sentinel tells, and the task goes to the next one.
            return

    def _collect(self, worker: _Worker) -> tuple[Task, Outcome | None]:
        """What a worker has to say; None and a new process in its place, if it died."""
        task = worker.task
        assert task is not None
        worker.task = None
        try:
            outcome: Outcome = worker.channel.recv()
        except (EOFError, OSError):
            worker.process.join()
            worker.channel.close()
            fresh = self._spawn(worker.device)
            worker.process, worker.channel = fresh.process, fresh.channel
            return task, None
        return task, outcome

    def close(self) -> None:
        """Ends the workers; what they were at can be resumed."""
        for worker in self._workers:
            if worker.task is None and worker.process.is_alive():
                # It may die between the question and this.
                with contextlib.suppress(OSError):
                    worker.channel.send(None)
            else:
                worker.process.terminate()
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.channel.close()
        self._workers = []
