"""Worker processes that run blocks of trials and store their results.

Each worker hangs on a pipe whose other end only the parent holds, so that it ends when the parent
does, however that happens.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path

from nprep.errors import NprepError, RunFolderError
from nprep.replay.folder import Block, Results, write_block
from nprep.replay.settings import ReplaySettings, ViewSource, view_digest
from nprep.search.base import Method, trial_seed
from nprep.table.view import View

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


def run_block(
    view: View, method: Method, block: Block, settings: ReplaySettings, folder: Path
) -> Done:
    """Runs a block of trials and stores the results.

    Args:
        view: The cells.
        method: The method of the block.
        block: Which trials.
        settings: Of the replay.
        folder: The run's folder.
    """
    start = time.perf_counter()
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
    write_block(folder, block, Results.of_traces(traces))
    return Done(block, time.perf_counter() - start)


def _worker(
    pipe: connection.Connection,
    source: ViewSource,
    digest: str,
    settings: ReplaySettings,
    folder: Path,
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
                    view = source.load()
                    if view_digest(view) != digest:
                        raise RunFolderError(
                            "the table was replaced while the replay began: start it again."
                        )
                    methods = settings.make_methods()
                answer: object = run_block(view, methods[block.method], block, settings, folder)
            except NprepError as error:
                answer = error
            except Exception:
                answer = RuntimeError(
                    f"trials {block.first} to {block.first + block.count - 1} of method "
                    f"{block.method!r} failed:\n{traceback.format_exc()}"
                )
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


def run_in_processes(
    blocks: Sequence[Block],
    source: ViewSource,
    digest: str,
    settings: ReplaySettings,
    folder: Path,
    jobs: int,
) -> Iterator[Done]:
    """Runs blocks in processes, reporting each as it ends, in any order.

    Args:
        blocks: What to run.
        source: Where workers get the view from.
        digest: :func:`~nprep.replay.settings.view_digest` of the view that they must get.
        settings: Of the replay.
        folder: The run's folder.
        jobs: Number of processes.

    Raises:
        NprepError: What a block raised.
        RuntimeError: If a worker dies or a method has a bug.
    """
    context = get_context("spawn")
    waiting = deque(blocks)
    running: dict[connection.Connection, tuple[SpawnProcess, Block]] = {}
    processes: list[SpawnProcess] = []
    pipes: list[connection.Connection] = []
    try:
        with _single_threaded():
            for _ in range(min(jobs, len(blocks))):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_worker, args=(theirs, source, digest, settings, folder), daemon=True
                )
                process.start()
                # With our copy of their end closed, a dead worker shows as the end of the stream.
                theirs.close()
                processes.append(process)
                pipes.append(ours)
                running[ours] = (process, waiting.popleft())
                # One that died at once is found out below.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    ours.send(running[ours][1])
        while running:
            for ready in connection.wait(list(running)):
                assert isinstance(ready, connection.Connection)
                process, block = running.pop(ready)
                try:
                    answer = ready.recv()
                    following = waiting[0] if waiting else None
                    if following and not isinstance(answer, BaseException):
                        ready.send(following)
                except (EOFError, BrokenPipeError, ConnectionResetError):
                    process.join()
                    raise NprepError(
                        f"a worker died (exit status {process.exitcode}) in trials {block.first} "
                        f"to {block.first + block.count - 1} of {block.method}: free memory or "
                        "use fewer --jobs, then continue with --resume."
                    ) from None
                if isinstance(answer, BaseException):
                    raise answer
                if following:
                    running[ready] = (process, waiting.popleft())
                yield answer
    finally:
        # Whatever is still at work has not stored its block, and those at rest wait for nothing.
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        for pipe in pipes:
            pipe.close()
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
