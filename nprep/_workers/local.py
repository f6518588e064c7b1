"""Worker processes of this machine."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NoReturn

from nprep._workers.base import Ended, Maker, answer_of, attempt
from nprep.errors import SettingsError, WorkerError

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Pipe
else:
    from multiprocessing.connection import Connection as Pipe

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
            pipe.send(attempt(made, pipe.recv()))


def _made_once(maker: Maker, place: Any) -> Callable[[], Callable[[Any], Any]]:
    """Calls a maker when it is first needed, and hands out the same ever after."""
    return functools.lru_cache(maxsize=1)(lambda: maker(place))


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
        """Runs tasks (see ``Workers.run``).

        Processes stay for more of the same maker.
        """
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
        return Ended(task, answer_of(received[0], name(task)))

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
