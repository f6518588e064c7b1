"""Runs a replay: blocks of trials to results on disk, results to curves, summary and figure."""

from __future__ import annotations

import contextlib
import functools
import platform
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np

from nprep import __version__
from nprep.errors import RunFolderError
from nprep.plot.figure import BANDS, figure_data, save_figure
from nprep.replay.progress import Progress
from nprep.replay.workers import Engine, LocalEngine, Work, load_view
from nprep.results.clock import all_by_training_time, clock_csv, seconds_csv, timeline
from nprep.results.curves import Curves, curve_rows, curves_of, to_csv
from nprep.results.summary import best_of, summarize
from nprep.runs.folder import (
    FORMAT,
    SETTINGS,
    Block,
    Results,
    opened,
    read_block,
    run_digest,
    to_json,
    write_file,
    write_sums,
)
from nprep.runs.protocols import in_words, label
from nprep.runs.settings import (
    ReplaySettings,
    ViewSource,
    is_timed,
    train_samples_of,
    view_digest,
)
from nprep.runs.shard import Shard
from nprep.search.base import Method
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
        },
    }


def blocks_of(settings: ReplaySettings) -> list[Block]:
    """All blocks of a replay, method by method."""
    return [
        Block(name, first, min(settings.block, settings.trials - first))
        for name in settings.methods
        for first in range(0, settings.trials, settings.block)
    ]


@dataclass(frozen=True)
class Prepared:
    """A replay that may begin.

    Attributes:
        settings: What to run.
        methods: The methods by their names.
        source: Where the view comes from.
        view: The view, in memory of its own.
        content: What ``settings.json`` will say.
        run: :func:`~nprep.runs.folder.run_digest` of the run.
    """

    settings: ReplaySettings
    methods: dict[str, Method]
    source: ViewSource
    view: View
    content: dict[str, Any]
    run: str


def prepare(settings: ReplaySettings, source: ViewSource, shard: Shard | None = None) -> Prepared:
    """Loads what a replay needs and checks that it can be run.

    Raises:
        NprepError: If it can't.
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
    quiet: bool = True,
    engine: Engine | None = None,
    progress_mode: str = "person",
) -> Replay:
    """Runs a replay, or what is left of it, and writes its outputs.

    Args:
        settings: What to run.
        source: Where the view comes from.
        folder: Where results go; must be new or empty unless resumed.
        jobs: Number of processes; 1 runs the trials in this one. Does not bear on results.
        resume: Whether to continue a run in ``folder``.
        quiet: Whether to hide the progress.
        engine: What runs the trials instead of ``jobs`` processes of this machine.
        progress_mode: How progress is shown (see :class:`nprep.replay.progress.Progress`).

    Raises:
        NprepError: If something that the user asked for cannot be done; nothing is left behind
            unless the run had begun.
    """
    prepared = prepare(settings, source)
    with opened(folder, prepared.content, resume):
        engine = engine or LocalEngine(jobs)
        _run_blocks(prepared, blocks_of(settings), folder, engine, quiet, progress_mode)
        return write_outputs(prepared, folder)


def run_shard(
    settings: ReplaySettings,
    source: ViewSource,
    folder: Path,
    shard: Shard,
    *,
    jobs: int = 1,
    resume: bool = False,
    quiet: bool = True,
    engine: Engine | None = None,
    progress_mode: str = "person",
) -> list[Block]:
    """Runs a part of a replay, for :func:`nprep.replay.merge.merge`.

    Args:
        settings: Of the whole replay.
        source: See :func:`run_replay`, as for what follows.
        folder: Where this part's trials go; each part needs its own.
        shard: Which part.
        jobs: Number of processes.
        resume: Whether to continue this part in ``folder``.
        quiet: Whether to hide the progress.
        engine: What runs the trials.
        progress_mode: How progress is shown.

    Returns:
        The blocks of this part, all of them stored.

    Raises:
        NprepError: See :func:`run_replay`.
    """
    blocks = shard.select(blocks_of(settings))
    prepared = prepare(settings, source, shard)
    with opened(folder, prepared.content, resume):
        engine = engine or LocalEngine(jobs)
        _run_blocks(prepared, blocks, folder, engine, quiet, progress_mode)
    return blocks


def _run_blocks(
    prepared: Prepared,
    blocks: list[Block],
    folder: Path,
    engine: Engine,
    quiet: bool,
    progress_mode: str,
) -> None:
    """Runs the blocks whose results are missing or damaged."""
    view, settings = prepared.view, prepared.settings
    missing = []
    for block in blocks:
        horizon = settings.horizon(prepared.methods[block.method])
        try:
            read_block(folder, block, horizon, view.validation.shape, prepared.run)
        except ValueError:
            missing.append(block)
    if not missing:
        return
    trials = dict.fromkeys((block.method for block in missing), 0)
    for block in missing:
        trials[block.method] += block.count
    progress = Progress(trials, engine.workers, quiet, mode=progress_mode)
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
        running = engine.run(work)
        with contextlib.closing(running):  # type: ignore[type-var] # engines are generators
            for done in running:
                progress.add(
                    done.block.method,
                    done.block.count,
                    done.seconds,
                    functools.partial(_final_accuracies, prepared, folder, done.block),
                )
    finally:
        progress.close()


def _final_accuracies(prepared: Prepared, folder: Path, block: Block) -> list[float]:
    """The test accuracy in percent of what each trial of a stored block ends with."""
    settings, view = prepared.settings, prepared.view
    method = prepared.methods[block.method]
    horizon = settings.horizon(method)
    try:
        results = read_block(folder, block, horizon, view.validation.shape, prepared.run)
    except ValueError:
        # Somebody has damaged it since; the outputs will say so.
        return []
    curves = curves_of(
        block.method, train_samples_of(method), horizon, results, view, settings.protocol
    )
    return [float(value) for value in curves.test[:, -1]]


def figure_notes(settings: ReplaySettings, view: View) -> list[str]:
    """What a reader must know who sees nothing but the figure."""
    protocol = settings.protocol
    about = f"View {view.name}: {view.description}"
    counts = view.provenance.get("validation_accuracy", {})
    if counts.get("modelled"):
        share = counts["modelled"] / max(1, sum(counts.values()))
        about += f". Modelled, not measured: {share:.0%} of the validation accuracies."
    rules = (
        f"{BANDS['error']} over {settings.trials} trials. Protocol {label(protocol)}: "
        f"{in_words(protocol)}; seed {settings.seed}; nprep {__version__}."
    )
    return textwrap.wrap(about, 130) + textwrap.wrap(rules, 130)


def write_outputs(prepared: Prepared, folder: Path) -> Replay:
    """Reads all blocks and writes what a person reads.

    Args:
        prepared: The replay.
        folder: With all its blocks.

    Raises:
        RunFolderError: If a block was damaged, or an output cannot be written.
    """
    settings, view, content = prepared.settings, prepared.view, prepared.content
    all_curves = []
    timelines = []
    timed = is_timed(view)
    for name, method in prepared.methods.items():
        horizon = settings.horizon(method)
        try:
            parts = [
                read_block(folder, block, horizon, view.validation.shape, prepared.run)
                for block in blocks_of(settings)
                if block.method == name
            ]
        except ValueError as error:
            raise RunFolderError(
                f"{error}, though it was stored: --resume computes it again."
            ) from error
        results = Results.stack(parts)
        all_curves.append(
            curves_of(name, train_samples_of(method), horizon, results, view, settings.protocol)
        )
        if name != "oracle":
            timelines += [
                timeline(name, method, results, view, settings, workers)
                for workers in settings.workers
            ]
    by_seconds = all_by_training_time(all_curves, settings.protocol.seconds) if timed else []
    best = best_of(view)
    summary = summarize(
        all_curves,
        settings,
        {"run": content["run"], "source": content["source"]},
        best,
        by_seconds,
        timelines,
    )
    csv_path, summary_path = folder / "curves.csv", folder / "summary.json"
    write_file(csv_path, to_csv([row for curves in all_curves for row in curve_rows(curves)]))
    write_file(summary_path, to_json(summary))
    more = []
    if by_seconds:
        more.append(folder / "curves-seconds.csv")
        write_file(more[-1], seconds_csv(by_seconds))
    if timelines:
        more.append(folder / "clock.csv")
        write_file(more[-1], clock_csv(timelines))
    benchmark = "NASBench-101"
    if view.name == "surrogate":
        benchmark = f"fitted surrogate of {benchmark}"
    axis = settings.protocol.axis if by_seconds else "samples"
    what = {"samples": "Samples", "seconds": "Training time"}[axis]
    title = f"{what} needed to find a good cell ({benchmark})"
    data = figure_data(
        by_seconds if axis == "seconds" else all_curves,
        "test",
        figure_notes(settings, view),
        x_axis=axis,
        best=best["test"] if settings.protocol.shows == "regret" else None,
    )
    figures = save_figure(folder, data, title)
    files = (folder / SETTINGS, csv_path, summary_path, *more, *figures)
    write_sums(folder, files)
    return Replay(folder, files, tuple(all_curves), summary)
