"""Replays on several draws of what a model completes in a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nprep._console import log
from nprep._workers import Workers
from nprep.replays.engine import Replay, run_replay
from nprep.replays.progress import JsonLines
from nprep.results.draws import folder_of
from nprep.runs.draws import draws_of
from nprep.runs.settings import ReplaySettings, ViewSource


def run_on_draws(
    settings: ReplaySettings,
    source: ViewSource,
    folder: Path,
    draws: int,
    trials: int | None = None,
    *,
    jobs: int = 1,
    resume: bool = False,
    workers: Workers | None = None,
    lines: JsonLines | None = None,
) -> Replay:
    """Runs a replay on a view and on other draws of it, or what is left of that.

    Each draw is a run folder of its own below ``folder``, which is the run on the view itself. Its
    summary, tables and figure give the spread between draws as well.

    Args:
        settings: What to run.
        source: Where the view comes from.
        folder: Where results go.
        draws: How many draws, the view itself among them.
        trials: Trials of each method on the other draws; None: as many as on the view.
        jobs: See ``nprep.replays.engine.run_replay``, as for what follows.
        resume: Whether to continue a run in ``folder``, of fewer draws for instance.
        workers: What runs the trials.
        lines: Where progress goes, for a program.

    Raises:
        NprepError: See ``nprep.replays.engine.run_replay``.
    """
    sources = draws_of(source, draws)
    # Simulations of many machines take their time and are for the view itself.
    others = dataclasses.replace(settings, trials=trials or settings.trials, workers=())
    replay = run_replay(
        settings, source, folder, jobs=jobs, resume=resume, workers=workers, lines=lines
    )
    if len(sources) == 1:
        return replay
    for number, drawn in enumerate(sources[1:], 1):
        log.info(f"draw {number} of {draws - 1} others")
        own = folder_of(folder, number)
        run_replay(others, drawn, own, jobs=jobs, resume=True, workers=workers, lines=lines)
    # All trials are stored; this reads them with the draws beside.
    return run_replay(settings, source, folder, resume=True)
