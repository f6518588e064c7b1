"""Runs a replay: blocks of trials to results on disk, results to curves, summary and figure."""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np

from nprep import __version__
from nprep._console import log
from nprep._workers import LocalWorkers, Workers
from nprep.errors import RunFolderError
from nprep.plot.files import save_figure
from nprep.plot.run_figure import figure_of
from nprep.replays.preview import Preview
from nprep.replays.progress import JsonLines, Progress
from nprep.replays.workers import Work, load_view, run_blocks
from nprep.results import trials
from nprep.results.curves import Curves, curves_of
from nprep.results.outputs import derive_outputs, write_data
from nprep.runs.blocks import TrialBlock, run_digest
from nprep.runs.concurrent import ConcurrentTrials, read_concurrent, write_concurrent
from nprep.runs.files import FORMAT, write_sums
from nprep.runs.folder import opened
from nprep.runs.protocols import WEN2020
from nprep.runs.settings import (
    ReplaySettings,
    ViewSource,
    view_digest,
)
from nprep.runs.shard import Shard
from nprep.search.method import Method
from nprep.search.rules import trial_seed
from nprep.table.view import View


@dataclass(frozen=True)
class Replay:
    """A finished replay.

    Attributes:
        folder: Where everything was written.
        files: The outputs in it, the blocks of trials apart.
        curves: One for each method.
        summary: The content of ``summary.json``.
    """

    folder: Path
    files: tuple[Path, ...]
    curves: tuple[Curves, ...]
    summary: dict[str, Any]


def describe_run(
    settings: ReplaySettings, methods: dict[str, Method], view: View
) -> dict[str, Any]:
    """What results depend on; a resume must agree with all of it."""
    return {
        "nprep": __version__,
        **settings.to_json(),
        "method_settings": {name: method.settings() for name, method in methods.items()},
        "view": {
            "name": view.name,
            "description": view.description,
            "cells": len(view),
            "digest": view_digest(view),
            "provenance": view.provenance,
            # As runs before there was a second space say it.
            **({} if view.space.name == WEN2020.space else {"space": view.space.name}),
        },
    }


def blocks_of(settings: ReplaySettings) -> list[TrialBlock]:
    """All blocks of a replay, method by method."""
    return trials.blocks_of(settings.names, settings.trials, settings.block)


@dataclass(frozen=True)
class Prepared:
    """A replay that may begin.

    Attributes:
        settings: What to run.
        methods: The methods by their names.
        source: Where the view comes from.
        view: The view, in memory of its own.
        content: What ``settings.json`` will say.
        run: ``run_digest`` of the run.
    """

    settings: ReplaySettings
    methods: dict[str, Method]
    source: ViewSource
    view: View
    content: dict[str, Any]
    run: str

    def trials(self, folder: Path) -> trials.StoredTrials:
        """The trials of this replay that lie in a folder."""
        horizons = {name: self.settings.horizon(each) for name, each in self.methods.items()}
        shape = self.view.validation.shape
        return trials.StoredTrials(folder, self.content["run"], horizons, shape, self.view.budgets)


def prepare(settings: ReplaySettings, source: ViewSource, shard: Shard | None = None) -> Prepared:
    """Loads what a replay needs and checks that it can be run.

    Raises:
        NprepError: If it cannot.
    """
    methods = settings.make_methods()
    source = settings.view_source(source)
    view = load_view(source)
    settings.check_view(view)
    run = describe_run(settings, methods, view)
    content = {
        "format": FORMAT,
        "run": run,
        **({} if shard is None else {"shard": shard.to_json()}),
        "methods": {
            name: {
                "kind": method.kind,
                "train_samples": method.train_samples,
                "horizon": settings.horizon(method),
            }
            for name, method in methods.items()
        },
        "source": source.describe(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
    }
    return Prepared(settings, methods, source, view, content, run_digest(run))


def run_replay(
    settings: ReplaySettings,
    source: ViewSource,
    folder: Path,
    *,
    jobs: int = 1,
    resume: bool = False,
    workers: Workers | None = None,
    lines: JsonLines | None = None,
) -> Replay:
    """Runs a replay, or what is left of it, and writes its outputs.

    Args:
        settings: What to run.
        source: Where the view comes from.
        folder: Where results go; must be new or empty unless resumed.
        jobs: Number of processes, which affects no result; 1 runs the trials in this one.
        resume: Whether to continue a run in ``folder``.
        workers: What runs the trials instead of ``jobs`` processes of this machine.
        lines: Where progress goes, for a program (see ``nprep.replays.progress.Progress``).

    Raises:
        NprepError: If something that the user asked for cannot be done; nothing is left behind
            unless the run had begun.
    """
    prepared = prepare(settings, source)
    with opened(folder, prepared.content, resume):
        _run_missing(prepared, blocks_of(settings), folder, jobs, workers, lines, previews=True)
        return write_outputs(prepared, folder)


def run_shard(
    settings: ReplaySettings,
    source: ViewSource,
    folder: Path,
    shard: Shard,
    *,
    jobs: int = 1,
    resume: bool = False,
    workers: Workers | None = None,
    lines: JsonLines | None = None,
) -> list[TrialBlock]:
    """Runs a part of a replay, for ``nprep.replays.merge.merge``.

    Args:
        settings: Of the whole replay.
        source: See ``run_replay``, as for what follows.
        folder: Where this part's trials go; each part needs its own.
        shard: Which part.
        jobs: Number of processes.
        resume: Whether to continue this part in ``folder``.
        workers: What runs the trials.
        lines: Where progress goes, for a program.

    Returns:
        The blocks of this part, all of them stored.

    Raises:
        NprepError: See ``run_replay``.
    """
    blocks = shard.select(blocks_of(settings))
    prepared = prepare(settings, source, shard)
    with opened(folder, prepared.content, resume):
        _run_missing(prepared, blocks, folder, jobs, workers, lines, previews=False)
    return blocks


def _run_missing(
    prepared: Prepared,
    blocks: list[TrialBlock],
    folder: Path,
    jobs: int,
    workers: Workers | None,
    lines: JsonLines | None,
    previews: bool,
) -> None:
    """Runs the blocks whose results are missing or damaged."""
    view, settings = prepared.view, prepared.settings
    lacking = prepared.trials(folder).lacking(blocks)
    if not lacking:
        return
    missing = in_turns(lacking)
    preview = Preview(folder, view, [block for block in blocks if block not in lacking])
    left = dict.fromkeys((block.method for block in missing), 0)
    for block in missing:
        left[block.method] += block.count
    own: LocalWorkers | None = None
    if workers is None and jobs > 1 and len(missing) > 1:
        own = workers = LocalWorkers(range(min(jobs, len(missing))), one_thread=True)
    progress = Progress(left, 1 if workers is None else workers.places, lines)
    work = Work(
        missing,
        settings,
        view,
        view_digest(view),
        prepared.source,
        folder,
        prepared.run,
        progress.notice,
    )
    try:
        running = run_blocks(work, workers)
        with contextlib.closing(running):  # type: ignore[type-var] # it is a generator
            for done in running:
                progress.add(
                    done.block.method,
                    done.block.count,
                    done.seconds,
                    functools.partial(_final_accuracies, prepared, folder, done.block),
                )
                if previews and progress.state.done < progress.state.total:
                    preview.add(done.block)
    finally:
        if own is not None:
            own.close()
        progress.close()


def in_turns(blocks: Iterable[TrialBlock]) -> list[TrialBlock]:
    """Blocks in an order in which all methods are equally far at any time.

    The time left is known once each method has run a block, and what is shown before the end
    compares all of them.
    """
    by_method: dict[str, list[TrialBlock]] = {}
    for block in blocks:
        by_method.setdefault(block.method, []).append(block)
    shares = [
        (number / len(group), order, block)
        for order, group in enumerate(by_method.values())
        for number, block in enumerate(group)
    ]
    return [block for _, _, block in sorted(shares, key=lambda share: share[:2])]


def _final_accuracies(prepared: Prepared, folder: Path, block: TrialBlock) -> list[float]:
    """The test accuracy in percent of what each trial of a stored block ends with."""
    settings, view = prepared.settings, prepared.view
    method = prepared.methods[block.method]
    try:
        results = prepared.trials(folder).read(block)
    except ValueError:
        # Somebody has damaged it since; the outputs will say so.
        return []
    horizon = settings.horizon(method)
    curves = curves_of(
        block.method, method.train_samples, horizon, results, view, settings.protocol
    )
    return [float(value) for value in curves.test[:, -1]]


def _run_concurrently(prepared: Prepared, folder: Path) -> None:
    """Runs the trials on many machines that are missing or damaged.

    They are those of methods whose choices depend on what has ended when a machine becomes free.
    """
    settings, view = prepared.settings, prepared.view
    for name, method in prepared.methods.items():
        if not method.concurrent:
            continue
        # One machine has done its work already.
        for workers in [each for each in settings.workers if each > 1]:
            shape = view.validation.shape
            try:
                read_concurrent(folder, name, workers, settings.trials, shape, prepared.run)
            except (FileNotFoundError, ValueError):
                seeds = [trial_seed(settings.seed, name, each) for each in range(settings.trials)]
                horizon = settings.horizon(method)
                traces = method.run_concurrently(view, seeds, horizon, settings.protocol, workers)
                found = ConcurrentTrials.of_traces(traces, settings.protocol, workers)
                write_concurrent(folder, name, workers, found, prepared.run)


def write_outputs(prepared: Prepared, folder: Path) -> Replay:
    """Runs what the blocks leave open and writes what a person reads.

    Args:
        prepared: The replay.
        folder: With all its blocks.

    Raises:
        RunFolderError: If a block was damaged, or an output cannot be written.
    """
    _run_concurrently(prepared, folder)
    outputs = derive_outputs(folder, prepared.view)
    files = write_data(folder, outputs)
    try:
        files += save_figure(folder, *figure_of(outputs))
    except RunFolderError:
        raise
    except Exception as error:  # Whatever it is, the run has all its numbers.
        log.warning(
            f"the figure could not be drawn ({type(error).__name__}: {error}); all numbers are in "
            f"{folder}, and python -m nprep.plot draws them"
        )
    write_sums(folder, files)
    return Replay(folder, tuple(files), outputs.curves, outputs.summary)
