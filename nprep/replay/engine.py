"""Runs a replay: blocks of trials to results on disk, results to curves, summary and figure."""

from __future__ import annotations

import contextlib
import platform
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np

from nprep import __version__
from nprep.replay.curves import Curves, curve_rows, curves_of, to_csv
from nprep.replay.figure import figure_data, save_figure
from nprep.replay.folder import (
    Block,
    Results,
    locked,
    open_folder,
    read_block,
    to_json,
    write_file,
)
from nprep.replay.progress import Progress
from nprep.replay.settings import ReplaySettings, ViewSource, train_samples_of, view_digest
from nprep.replay.summary import summarize
from nprep.replay.workers import Done, run_block, run_in_processes
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


def run_replay(
    settings: ReplaySettings,
    source: ViewSource,
    folder: Path,
    *,
    jobs: int = 1,
    resume: bool = False,
    quiet: bool = True,
) -> Replay:
    """Runs a replay, or what is left of it, and writes its outputs.

    Args:
        settings: What to run.
        source: Where the view comes from.
        folder: Where results go; must be new or empty unless resumed.
        jobs: Number of processes; 1 runs the trials in this one. Does not bear on results.
        resume: Whether to continue a run in ``folder``.
        quiet: Whether to hide the progress.

    Raises:
        NprepError: If something that the user asked for cannot be done; nothing is left behind
            unless the run had begun.
    """
    methods = settings.make_methods()
    view = source.load()
    settings.check_view(view)
    run = describe_run(settings, methods, view)
    content = {
        "format": 1,
        "run": run,
        "source": source.describe(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
    }
    created = not folder.exists()
    try:
        open_folder(folder, content, resume)
        with locked(folder):
            _run_blocks(settings, methods, view, source, folder, jobs, quiet)
            return _write_outputs(settings, methods, view, folder, content)
    except BaseException:
        if created:
            _remove_if_unused(folder)
        raise


def _remove_if_unused(folder: Path) -> None:
    """Takes back a folder in which no trial has finished."""
    if any(folder.glob("trials/*/*.npz")):
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _run_blocks(
    settings: ReplaySettings,
    methods: dict[str, Method],
    view: View,
    source: ViewSource,
    folder: Path,
    jobs: int,
    quiet: bool,
) -> None:
    """Runs the blocks whose results are missing or damaged."""
    horizons = {name: settings.horizon(method) for name, method in methods.items()}
    missing = []
    for block in blocks_of(settings):
        try:
            read_block(folder, block, horizons[block.method], view.validation.shape)
        except ValueError:
            missing.append(block)
    if not missing:
        return
    trials = dict.fromkeys((block.method for block in missing), 0)
    for block in missing:
        trials[block.method] += block.count
    progress = Progress(trials, jobs, quiet)

    def here() -> Iterator[Done]:
        for block in missing:
            yield run_block(view, methods[block.method], block, settings, folder)

    alone = jobs == 1 or len(missing) == 1
    running = (
        here()
        if alone
        else run_in_processes(missing, source, view_digest(view), settings, folder, jobs)
    )
    try:
        with contextlib.closing(running):  # type: ignore[type-var] # both are generators
            for done in running:
                progress.add(done.block.method, done.block.count, done.seconds)
    finally:
        progress.close()


def figure_notes(settings: ReplaySettings, view: View) -> list[str]:
    """What a reader must know who sees nothing but the figure."""
    protocol = settings.protocol
    about = f"View {view.name}: {view.description}"
    counts = view.provenance.get("validation_accuracy", {})
    if counts.get("modelled"):
        share = counts["modelled"] / max(1, sum(counts.values()))
        about += f". Modelled, not measured: {share:.0%} of the validation accuracies."
    rules = (
        f"Mean and standard deviation of {settings.trials} trials. Protocol {protocol.name}: "
        "chosen by validation accuracy of one run, reported is the mean test accuracy of all runs; "
        f"repeat drawn per {protocol.repeats}, duplicates {protocol.duplicates}, random "
        f"{protocol.sampling}; seed {settings.seed}; nprep {__version__}."
    )
    return textwrap.wrap(about, 130) + textwrap.wrap(rules, 130)


def _write_outputs(
    settings: ReplaySettings,
    methods: dict[str, Method],
    view: View,
    folder: Path,
    content: dict[str, Any],
) -> Replay:
    """Reads all blocks and writes what a person reads."""
    all_curves = []
    for name, method in methods.items():
        horizon = settings.horizon(method)
        parts = [
            read_block(folder, block, horizon, view.validation.shape)
            for block in blocks_of(settings)
            if block.method == name
        ]
        all_curves.append(
            curves_of(name, train_samples_of(method), horizon, Results.stack(parts), view)
        )
    summary = summarize(all_curves, settings, {"run": content["run"], "source": content["source"]})
    csv_path, summary_path = folder / "curves.csv", folder / "summary.json"
    write_file(csv_path, to_csv([row for curves in all_curves for row in curve_rows(curves)]))
    write_file(summary_path, to_json(summary))
    benchmark = "NASBench-101"
    if view.name == "surrogate":
        benchmark = f"fitted surrogate of {benchmark}"
    title = f"Samples needed to find a good cell ({benchmark})"
    data = figure_data(all_curves, "test", figure_notes(settings, view))
    figures = save_figure(folder, data, title)
    files = (folder / "settings.json", csv_path, summary_path, *figures)
    return Replay(folder, files, tuple(all_curves), summary)
