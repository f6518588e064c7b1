"""Runs tasks in other processes: of this machine, or of a Ray cluster.

Both take a *maker*, an object that can be pickled: each process calls it once with its place, and
then calls what it made with task after task. Both report each task as it ends, and hand back those
whose process died, which the caller may give in again.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import nprep
from nprep._optional import need
from nprep.errors import NprepError, SettingsError, WorkerError

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Pipe
else:
    from multiprocessing.connection import Connection as Pipe

Task = TypeVar("Task")
Answer = TypeVar("Answer")
Maker = Callable[[Any], Callable[[Any], Any]]

# Set for worker processes, so that a script which starts some without a guard is recognised.
_MARK = "NPREP_WORKER"
# The exit status of a worker that was about to run its parent's script once more.
_UNGUARDED = 97
_GUARD = (
    'put what the script does under `if __name__ == "__main__":`, since each worker process '
    "imports it, or use jobs=1"
)
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# What a pipe raises whose other end has died.
_CLOSED = (EOFError, BrokenPipeError, ConnectionResetError, OSError)
_JOIN_SECONDS = 10.0
# Tasks given to a cluster for each place in it: one at work, one that waits for it.
_AHEAD = 2
_LOOK_EVERY_SECONDS = 5.0
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Ended(Generic[Task, Answer]):
    """A task that has ended.

    Attributes:
        task: The task.
        answer: What it gave; None if its process died.
        died: How its process ended, in words; empty if it did not.
    """

    task: Task
    answer: Answer | None
    died: str = ""


class Workers(Protocol):
    """Processes that run tasks somewhere; where does not affect results.

    Attributes:
        retries: How often a task is worth giving in again after its process died.
        advice: What a user can do where processes keep dying.
        share_disk: Whether they see the files of this machine.
    """

    retries: int
    advice: str
    share_disk: bool

    @property
    def places(self) -> int:
        """The number of tasks that run at a time."""

    def run(
        self,
        maker: Maker,
        tasks: deque[Any],
        *,
        name: Callable[[Any], str] = str,
        started: Callable[[Any], object] = lambda task: None,
        notice: Callable[[str], object] = lambda text: None,
    ) -> Iterator[Ended[Any, Any]]:
        """Runs tasks and reports each as it ends, in any order.

        Args:
            maker: See the module.
            tasks: The tasks; more may be added, or given in again, while it runs.
            name: What to call a task in messages.
            started: Is called when a task is handed out.
            notice: Is told, in a sentence, what a user may want to know.

        Raises:
            NprepError: What a task raised, or that processes cannot be started.
            RuntimeError: If a task raised something else, which is a bug.
        """

    def close(self) -> None:
        """Ends all processes; what they were at is lost."""


def how_it_ended(status: int) -> str:
    """An exit status in words; a signal is told as minus its number."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {-status}, {signal.Signals(-status).name}"
    return f"signal {-status}"


def leave_unguarded_script() -> None:
    """Ends a worker process that is about to run the script of its parent once more.

    Call it first of all in what such a script calls.

    Raises:
        SettingsError: If another program's worker is about to do so.
    """
    if not getattr(multiprocessing.process.current_process(), "_inheriting", False):
        return
    if os.environ.get(_MARK):
        # The parent says why; no traceback says it better.
        os._exit(_UNGUARDED)
    raise SettingsError(f"this script is being imported by a worker process: {_GUARD}.")


def check_can_start() -> None:
    """Finds out whether this process may start others.

    Raises:
        SettingsError: If it may not.
    """
    leave_unguarded_script()
    if multiprocessing.current_process().daemon:
        raise SettingsError(
            "this is a daemonic process, such as a worker of multiprocessing.Pool, which may start "
            "no processes: use jobs=1, or concurrent.futures.ProcessPoolExecutor outside."
        )
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    if script and getattr(main, "__spec__", None) is None and not Path(script).exists():
        raise SettingsError(
            f"the script was read from {script}, so worker processes cannot import it: save it in "
            "a file, or use jobs=1."
        )


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets variables of the environment, for processes that are started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    """Ends this process when its parent is gone, however that went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(pipe: Pipe, maker: Maker, place: Any) -> None:
    """The life of a worker: takes tasks, sends answers."""
    # Ctrl-C goes to the whole group of processes; the parent decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    made = _made_once(maker, place)
    with contextlib.suppress(*_CLOSED):
        pipe.send(None)
        while True:
            pipe.send(_attempt(made, pipe.recv()))


def _made_once(maker: Maker, place: Any) -> Callable[[], Callable[[Any], Any]]:
    """Calls a maker when it is first needed, and hands out the same ever after."""
    return functools.lru_cache(maxsize=1)(lambda: maker(place))


def _attempt(made: Callable[[], Callable[[Any], Any]], task: Any) -> tuple[str, Any]:
    """Runs a task: what became of it, and its answer, error or traceback."""
    try:
        return "answer", made()(task)
    except NprepError as error:
        return "refused", error
    except Exception:
        return "failed", traceback.format_exc()


def _answer_of(sent: tuple[str, Any], name: str) -> Any:
    """The answer of a task.

    Raises:
        NprepError: What the task raised.
        RuntimeError: If it raised anything else.
    """
    kind, content = sent
    if kind == "refused":
        raise content
    if kind == "failed":
        raise RuntimeError(f"{name} failed:\n{content}")
    return content


@dataclass
class _Worker:
    """A worker process.

    Attributes:
        process: The process.
        pipe: To it.
        place: What its maker is told.
        task: What it is at, in a tuple; None at rest.
        began: Whether it was ever ready to take a task.
    """

    process: SpawnProcess
    pipe: Pipe
    place: Any
    task: tuple[Any] | None = None
    began: bool = False


class LocalWorkers:
    """Processes of this machine (see ``Workers``)."""

    retries = 2
    advice = "free memory or use fewer --jobs"
    share_disk = True

    def __init__(
        self, places: Sequence[Any], one_thread: bool = False, daemon: bool = True
    ) -> None:
        """Starts nothing yet.

        Args:
            places: What each process is told of its place, such as the name of its GPU.
            one_thread: Whether each is to use one thread, the cores being shared out already.
            daemon: Whether they end with this process at the latest, and start none themselves.
        """
        self._daemon = daemon
        self._places = list(places)
        self._variables = {_MARK: "1", **(dict.fromkeys(_ONE_THREAD, "1") if one_thread else {})}
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._maker: Maker | None = None

    @property
    def places(self) -> int:
        """The number of processes."""
        return len(self._places)

    def _start(self, maker: Maker, place: Any) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, maker, place), daemon=self._daemon
        )
        try:
            with _environment(self._variables):
                process.start()
        except OSError as error:
            raise WorkerError(
                f"a worker process cannot be started ({error.strerror}): use fewer --jobs."
            ) from error
        finally:
            # With our copy of their end closed, a dead worker shows as the end of the stream.
            theirs.close()
        return _Worker(process, ours, place)

    def run(
        self,
        maker: Maker,
        tasks: deque[Any],
        *,
        name: Callable[[Any], str] = str,
        started: Callable[[Any], object] = lambda task: None,
        notice: Callable[[str], object] = lambda text: None,
    ) -> Iterator[Ended[Any, Any]]:
        """Runs tasks (see ``Workers.run``); processes stay for more of the same maker."""
        check_can_start()
        if maker is not self._maker:
            self.close()
            self._maker = maker
        finished = False
        try:
            while True:
                self._hand_out(maker, tasks, started)
                busy = {worker.pipe: worker for worker in self._workers if worker.task}
                if not busy:
                    finished = True
                    return
                for pipe in connection.wait(list(busy)):
                    assert isinstance(pipe, Pipe)
                    ended = self._heard(busy[pipe], name)
                    if ended is not None:
                        yield ended
        finally:
            if not finished:
                self.close()

    def _hand_out(self, maker: Maker, tasks: deque[Any], started: Callable[[Any], object]) -> None:
        """Gives tasks to workers at rest, and starts workers for the others."""
        while tasks:
            free = next((worker for worker in self._workers if worker.task is None), None)
            if free is None:
                taken = [worker.place for worker in self._workers]
                left = list(self._places)
                for place in taken:
                    left.remove(place)
                if not left:
                    return
                free = self._start(maker, left[0])
                self._workers.append(free)
            task = tasks.popleft()
            started(task)
            free.task = (task,)
            # If it has died at rest, the end of its pipe tells.
            with contextlib.suppress(*_CLOSED):
                free.pipe.send(task)

    def _heard(self, worker: _Worker, name: Callable[[Any], str]) -> Ended[Any, Any] | None:
        """What a worker has to say; None if it only says that it is ready."""
        assert worker.task is not None
        (task,) = worker.task
        received = _received(worker.pipe)
        if received is None:
            self._workers.remove(worker)
            worker.process.join()
            worker.pipe.close()
            status = worker.process.exitcode
            assert status is not None
            if not worker.began:
                _refuse_start(status)
            return Ended(task, None, f"a worker died ({how_it_ended(status)})")
        if not worker.began:
            worker.began = True
            return None
        worker.task = None
        return Ended(task, _answer_of(received[0], name(task)))

    def close(self) -> None:
        """Ends all processes; what they were at is lost."""
        for worker in self._workers:
            # One at rest ends by itself when its pipe does.
            if worker.task is not None:
                worker.process.terminate()
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(_JOIN_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []


def _received(pipe: Pipe) -> tuple[Any] | None:
    """What a worker has sent, in a tuple; None if it is gone."""
    try:
        return (pipe.recv(),)
    except _CLOSED:
        return None


def _refuse_start(status: int) -> NoReturn:
    """Says why a worker ended before it could take a task."""
    if status == _UNGUARDED:
        raise SettingsError(f"worker processes would run this script once more: {_GUARD}.")
    raise WorkerError(
        f"a worker process ended before it began ({how_it_ended(status)}): see what it printed; in "
        f"a script, {_GUARD}."
    )


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
        """Runs tasks (see ``Workers.run``); a maker's place is the number of GPUs of a task."""
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
                    yield Ended(task, _answer_of(answer, name(task)))
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
    return _attempt(lambda: _made_on_node(references[0]), task)
