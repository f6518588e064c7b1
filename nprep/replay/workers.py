"""What runs blocks of trials: this process, or worker processes on this machine.

Each worker hangs on a pipe whose other end only the parent holds, so that it ends when the parent
does, however that happens.
"""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Protocol

from nprep.errors import NprepError, RunFolderError
from nprep.runs.folder import Block, Results, write_block
from nprep.runs.settings import ReplaySettings, ViewSource, view_digest
from nprep.search.method import Method
from nprep.search.rules import trial_seed
from nprep.search.trace import within_limits
from nprep.table.view import View

# How often a block is begun again after its process died.
MAX_RETRIES = 2

_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True)
class Done:
    """A finished block.

    Attributes:
        block: The block, whose results are on disk.
        seconds: How long it took.
    """

    block: Block
    seconds: float


@dataclass(frozen=True)
class Work:
    """What an engine is to run.

    Attributes:
        blocks: The blocks whose results are missing.
        settings: Of the replay.
        view: The cells.
        digest: :func:`~nprep.runs.settings.view_digest` of the view.
        source: Where other processes of this machine get the view from.
        folder: The run's folder.
        run: :func:`~nprep.runs.folder.run_digest` of the run.
        notice: Is told, in a sentence, what a user may want to know, such as a worker's death.
    """

    blocks: Sequence[Block]
    settings: ReplaySettings
    view: View
    digest: str
    source: ViewSource
    folder: Path
    run: str
    notice: Callable[[str], None]


class Engine(Protocol):
    """Runs blocks somewhere; where does not bear on results."""

    @property
    def workers(self) -> int:
        """The number of blocks that it runs at a time, for estimates."""

    def run(self, work: Work) -> Iterator[Done]:
        """Runs blocks and stores their results, reporting each as it ends, in any order.

        Raises:
            NprepError: What a block raised, or that its worker keeps dying.
            RuntimeError: If a method has a bug.
        """


def load_view(source: ViewSource) -> View:
    """The view of a source, copied out of a mapped file.

    A table that is overwritten in place would change, or end, under whoever has it mapped.
    """
    return copy.deepcopy(source.load())


def compute_block(view: View, method: Method, block: Block, settings: ReplaySettings) -> Results:
    """Runs a block of trials.

    Args:
        view: The cells.
        method: The method of the block.
        block: Which trials.
        settings: Of the replay.

    Raises:
        NprepError: If the method breaks its contract.
    """
    seeds = [
        trial_seed(settings.seed, block.method, trial)
        for trial in range(block.first, block.first + block.count)
    ]
    traces = method.run_block(view, seeds, settings.horizon(method), settings.protocol)
    if len(traces) != len(seeds) or not all(len(trace) for trace in traces):
        raise NprepError(
            f"method {block.method!r} returned {len(traces)} traces for {len(seeds)} trials or an "
            "empty one: each trial must ask for at least one cell."
        )
    return Results.of_traces([within_limits(trace, settings.protocol) for trace in traces])


def bug_in(block: Block) -> RuntimeError:
    """The error to hand on for the one that a method just raised."""
    return RuntimeError(f"{name_of(block)} failed:\n{traceback.format_exc()}")


def name_of(block: Block) -> str:
    """A block, in words."""
    last = block.first + block.count - 1
    return f"trials {block.first} to {last} of method {block.method!r}"


class LocalEngine:
    """Processes of this machine, or this process alone."""

    def __init__(self, jobs: int) -> None:
        """Remembers the number of processes; 1 runs the trials in this one."""
        self._jobs = jobs

    @property
    def workers(self) -> int:
        """The number of processes."""
        return self._jobs

    def run(self, work: Work) -> Iterator[Done]:
        """Runs blocks (see :class:`Engine`)."""
        if self._jobs > 1 and len(work.blocks) > 1:
            yield from _run_in_processes(work, self._jobs)
            return
        methods = work.settings.make_methods()
        for block in work.blocks:
            start = time.perf_counter()
            results = compute_block(work.view, methods[block.method], block, work.settings)
            write_block(work.folder, block, results, work.run)
            yield Done(block, time.perf_counter() - start)


def _worker(
    pipe: connection.Connection,
    source: ViewSource,
    digest: str,
    settings: ReplaySettings,
    folder: Path,
    run: str,
) -> None:
    """Runs the blocks that come through the pipe until it closes."""
    # Ctrl-C goes to the whole group of processes; the parent decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    view: View | None = None
    methods: dict[str, Method] = {}
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            block = pipe.recv()
            try:
                if view is None:
                    view = load_view(source)
                    if view_digest(view) != digest:
                        raise RunFolderError(
                            "the table was replaced while the replay ran: put the former one back "
                            "and continue with --resume, or choose another --out."
                        )
                    methods = settings.make_methods()
                start = time.perf_counter()
                results = compute_block(view, methods[block.method], block, settings)
                write_block(folder, block, results, run)
                answer: object = Done(block, time.perf_counter() - start)
            except NprepError as error:
                answer = error
            except Exception:
                answer = bug_in(block)
            pipe.send(answer)


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Lets processes started inside use one thread each: the cores are shared out already."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# What a pipe raises whose other end has died.
_HUNG_UP = (EOFError, BrokenPipeError, ConnectionResetError)


class _Pool:
    """Worker processes, each with a pipe, and the block that each is at."""

    def __init__(self, work: Work) -> None:
        """Starts nothing yet."""
        self._work = work
        self._context = get_context("spawn")
        self._processes: dict[connection.Connection, SpawnProcess] = {}
        self.running: dict[connection.Connection, Block] = {}

    def start(self, block: Block) -> None:
        """Starts a worker with its first block."""
        work = self._work
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_worker,
            args=(theirs, work.source, work.digest, work.settings, work.folder, work.run),
            daemon=True,
        )
        with _single_threaded():
            process.start()
        # With our copy of their end closed, a dead worker shows as the end of the stream.
        theirs.close()
        self._processes[ours] = process
        self.give(ours, block)

    def give(self, pipe: connection.Connection, block: Block) -> None:
        """Hands a worker its next block; should it have died, its silence tells."""
        self.running[pipe] = block
        with contextlib.suppress(*_HUNG_UP):
            pipe.send(block)

    def bury(self, pipe: connection.Connection) -> int:
        """Forgets a dead worker and returns its exit status, or minus the signal."""
        process = self._processes.pop(pipe)
        process.join()
        pipe.close()
        assert process.exitcode is not None
        return process.exitcode

    def close(self) -> None:
        """Ends all workers."""
        # Whatever is still at work has not stored its block, and those at rest wait for nothing.
        for process in self._processes.values():
            process.terminate()
        for pipe, process in self._processes.items():
            process.join()
            pipe.close()
        for leftover in self._work.folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)


def how_it_ended(status: int) -> str:
    """An exit status in words; a signal is told as minus its number."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {-status}, {signal.Signals(-status).name}"
    return f"signal {-status}"


def _run_in_processes(work: Work, jobs: int) -> Iterator[Done]:
    """Runs blocks in processes; a block whose process dies is begun again in a new one."""
    waiting = deque(work.blocks)
    deaths: Counter[Block] = Counter()
    pool = _Pool(work)
    try:
        for _ in range(min(jobs, len(work.blocks))):
            pool.start(waiting.popleft())
        while pool.running:
            for ready in connection.wait(list(pool.running)):
                assert isinstance(ready, connection.Connection)
                block = pool.running.pop(ready)
                try:
                    answer = ready.recv()
                except (*_HUNG_UP, OSError):
                    ended = how_it_ended(pool.bury(ready))
                    deaths[block] += 1
                    if deaths[block] > MAX_RETRIES:
                        raise NprepError(
                            f"a worker died ({ended}) in {name_of(block)}, {deaths[block]} times "
                            "by now: free memory or use fewer --jobs, then continue with --resume."
                        ) from None
                    work.notice(f"a worker died ({ended}) in {name_of(block)}, which starts again")
                    pool.start(block)
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                if waiting:
                    pool.give(ready, waiting.popleft())
                yield answer
    finally:
        pool.close()
