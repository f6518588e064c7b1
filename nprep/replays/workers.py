"""Runs blocks of trials in this process, or in others (see ``nprep._workers``)."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nprep._workers import Workers
from nprep.errors import NprepError, RunFolderError, SettingsError, WorkerError
from nprep.runs.blocks import Results, TrialBlock, write_block
from nprep.runs.files import to_json
from nprep.runs.folder import differences_of
from nprep.runs.predictions import write_predictions
from nprep.runs.settings import ReplaySettings, ViewInMemory, ViewSource, view_digest
from nprep.search.method import Method
from nprep.search.rules import trial_seed
from nprep.search.trace import Predictions, within_limits
from nprep.table.view import View


@dataclass(frozen=True)
class Done:
    """A finished block.

    Attributes:
        block: The block, whose results are on disk.
        seconds: How long it took.
    """

    block: TrialBlock
    seconds: float


@dataclass(frozen=True)
class Work:
    """What is to be run.

    Attributes:
        blocks: The blocks whose results are missing.
        settings: Of the replay.
        view: The architectures.
        digest: ``view_digest`` of the view.
        source: Where other processes get the view from.
        folder: The run's folder.
        run: ``run_digest`` of the run.
        notice: Is told, in a sentence, what a user may want to know, such as a worker's death.
    """

    blocks: Sequence[TrialBlock]
    settings: ReplaySettings
    view: View
    digest: str
    source: ViewSource
    folder: Path
    run: str
    notice: Callable[[str], None]


def load_view(source: ViewSource) -> View:
    """The view of a source, copied out of a mapped file.

    A table that is overwritten in place would change, or end, under whoever has it mapped.
    """
    return copy.deepcopy(source.load())


def compute_block(
    view: View, method: Method, block: TrialBlock, settings: ReplaySettings
) -> tuple[Results, Predictions | None]:
    """Runs a block of trials.

    Args:
        view: The cells.
        method: The method of the block.
        block: Which trials.
        settings: Of the replay.

    Returns:
        The results, and what the predictor of the run's first trial predicts if that is among them.

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
    results = Results.of_traces(
        [within_limits(trace, settings.protocol) for trace in traces], view.full_epochs
    )
    return results, traces[0].predictions if block.first == 0 else None


def _store(
    work: Work, block: TrialBlock, results: Results, predictions: Predictions | None
) -> None:
    """Writes what came of a block."""
    if predictions is not None:
        # First, so that a stored first block has them.
        write_predictions(work.folder, block.method, predictions, work.run)
    write_block(work.folder, block, results, work.run)


def name_of(block: TrialBlock) -> str:
    """A block, in words."""
    last = block.first + block.count - 1
    return f"trials {block.first} to {last} of method {block.method!r}"


@dataclass(frozen=True)
class BlockRunner:
    """Makes what runs blocks in another process.

    Attributes:
        source: Where the view comes from.
        digest: ``view_digest`` of the view.
        settings: Of the replay.
        methods: Settings of its methods, as they are where the replay was started.
    """

    source: ViewSource
    digest: str
    settings: ReplaySettings
    methods: dict[str, Any]

    def __call__(
        self, place: object
    ) -> Callable[[TrialBlock], tuple[Results, Predictions | None, float]]:
        """Loads the view and makes the methods.

        Args:
            place: Not used: a block runs anywhere.

        Raises:
            NprepError: If the view is another one by now, or the methods differ on this machine.
        """
        view = load_view(self.source)
        if view_digest(view) != self.digest:
            raise RunFolderError(
                "the table was replaced while the replay ran: put the former one back and continue "
                "with --resume, or choose another --out."
            )
        made = self.settings.make_methods()
        # What is found on a machine, such as a GPU, is part of them.
        differences = list(differences_of(to_jsonable(made), self.methods))
        if differences:
            raise SettingsError(
                f"a node would run the methods with {'; '.join(differences[:3])}: name what all "
                "machines have, such as with --backend, or use machines of one kind."
            )

        def run(block: TrialBlock) -> tuple[Results, Predictions | None, float]:
            start = time.perf_counter()
            results, predictions = compute_block(view, made[block.method], block, self.settings)
            return results, predictions, time.perf_counter() - start

        return run


def to_jsonable(methods: dict[str, Method]) -> dict[str, Any]:
    """The settings of methods, as JSON gives them back."""
    return dict(json.loads(to_json({name: made.settings() for name, made in methods.items()})))


def run_blocks(work: Work, workers: Workers | None) -> Iterator[Done]:
    """Runs blocks and stores their results, reporting each as it ends, in any order.

    Args:
        work: What to run.
        workers: Where; None: in this process.

    Raises:
        NprepError: What a block raised, or that its worker keeps dying.
        RuntimeError: If a method has a bug.
    """
    methods = work.settings.make_methods()
    if workers is None:
        for block in work.blocks:
            start = time.perf_counter()
            found = compute_block(work.view, methods[block.method], block, work.settings)
            _store(work, block, *found)
            yield Done(block, time.perf_counter() - start)
        return
    source = work.source if workers.share_disk else ViewInMemory(work.view)
    runner = BlockRunner(source, work.digest, work.settings, to_jsonable(methods))
    waiting = deque(work.blocks)
    deaths: Counter[TrialBlock] = Counter()
    running = workers.run(runner, waiting, name=name_of, notice=work.notice)
    with contextlib.closing(running):  # type: ignore[type-var] # it is a generator
        for ended in running:
            block = ended.task
            if ended.answer is not None:
                results, predictions, seconds = ended.answer
                _store(work, block, results, predictions)
                yield Done(block, seconds)
                continue
            deaths[block] += 1
            if deaths[block] > workers.retries:
                raise WorkerError(
                    f"{ended.died} in {name_of(block)}, {deaths[block]} times by now: "
                    f"{workers.advice}, then continue with --resume."
                )
            work.notice(f"{ended.died} in {name_of(block)}, which starts again")
            waiting.appendleft(block)
