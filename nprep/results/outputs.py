"""What a run folder's trials say, as the files that a person or a program reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nprep.errors import RunFolderError, SettingsError
from nprep.results.clock import Timeline, all_by_training_time, clock_csv, seconds_csv, timeline
from nprep.results.curves import Curves, curve_rows, curves_of, to_csv
from nprep.results.draws import CURVES_OF_DRAWS, Draws, draws_csv, draws_json, read_draws
from nprep.results.found import best_found, deployed
from nprep.results.levels import levels_of
from nprep.results.reading import CLOCK, CURVES, SUMMARY, TIMED
from nprep.results.series import series_of
from nprep.results.summary import best_of, summarize
from nprep.results.trials import StoredTrials
from nprep.runs.blocks import TrialBlock
from nprep.runs.concurrent import ConcurrentTrials, read_concurrent
from nprep.runs.files import SETTINGS, read_settings, to_json, write_file
from nprep.runs.settings import ReplaySettings, is_timed, settings_from
from nprep.table.view import View

_PREVIEW_BOOTSTRAP = 100


@dataclass(frozen=True)
class Outputs:
    """All that follows from the trials of a run.

    Attributes:
        settings: Of the run; its methods by their names.
        view: What was searched, as the protocol shows it.
        curves: One for each method, by samples.
        timed: Likewise by training time; empty where times are not known.
        timelines: Of each method and each number of machines.
        best: Mean accuracy of the view's best cell in percent, by metric.
        summary: The content of ``summary.json``.
        draws: The run on other draws of its view; None where there are none.
    """

    settings: ReplaySettings
    view: View
    curves: tuple[Curves, ...]
    timed: tuple[Curves, ...]
    timelines: tuple[Timeline, ...]
    best: dict[str, float]
    summary: dict[str, Any]
    draws: Draws | None = None
    # How many trials of each method these are, for a run that goes on.
    unfinished: dict[str, int] | None = None


def derive_outputs(
    folder: Path, view: View, finished: Sequence[TrialBlock] | None = None
) -> Outputs:
    """Reads a run folder whose trials are complete, or some of them.

    Args:
        folder: The folder; needs its ``settings.json`` and all trials, nothing else.
        view: What was searched, as the protocol shows it.
        finished: The blocks to read, for a run that goes on; None: all, the run being over.

    Raises:
        RunFolderError: If trials are missing or damaged.
    """
    content = read_settings(folder)
    try:
        settings = settings_from(content["run"])
        methods = {name: dict(content["methods"][name]) for name in settings.names}
        horizons = {name: int(each["horizon"]) for name, each in methods.items()}
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise RunFolderError(
            f"{folder / SETTINGS} is damaged or of another version of nprep ({error!r})."
        ) from error
    stored = StoredTrials(folder, content["run"], horizons, view.validation.shape, view.budgets)
    curves, timelines = [], []
    ends = {}
    unfinished: dict[str, int] | None = None
    if finished is not None:
        counts = {name: sum(b.count for b in finished if b.method == name) for name in methods}
        unfinished = counts
        methods = {name: method for name, method in methods.items() if counts[name]}
        # Nobody quotes intervals of trials that go on.
        settings = dataclasses.replace(
            settings, workers=(), bootstrap=min(settings.bootstrap, _PREVIEW_BOOTSTRAP)
        )
    for name, method in methods.items():
        results = stored.results(name, finished)
        train_samples = int(method["train_samples"])
        kind = str(method.get("kind", ""))
        curves.append(
            curves_of(name, train_samples, horizons[name], results, view, settings.protocol, kind)
        )
        if curves[-1].is_bound:
            continue
        ends[name] = deployed(results, view)
        for workers in settings.workers:
            concurrent = _concurrent(stored, name, workers)
            timelines.append(
                timeline(name, train_samples, results, view, settings, workers, concurrent)
            )
    timed: Sequence[Curves] = ()
    if is_timed(view):
        timed = all_by_training_time(curves, settings.protocol.seconds)
    best = best_of(view)
    header = {"run": content["run"], "source": content["source"]}
    summary = summarize(curves, settings, header, best, timed, timelines, levels_of(view))
    summary["best_found"] = {"space": view.space.name, "found": best_found(ends, view)}
    draws = None
    if finished is None:
        draws = read_draws(folder, summary, [series_of(each, as_written=True) for each in curves])
    if draws is not None:
        summary["draws"] = draws_json(draws)
    if unfinished is not None:
        summary = {"unfinished": {"trials": unfinished, "of": settings.trials}, **summary}
    return Outputs(
        settings,
        view,
        tuple(curves),
        tuple(timed),
        tuple(timelines),
        best,
        summary,
        draws,
        unfinished,
    )


def _concurrent(stored: StoredTrials, method: str, workers: int) -> ConcurrentTrials | None:
    """The trials on many machines of a method that has run anew for them; None of another."""
    trials = int(stored.run["trials"])
    try:
        return read_concurrent(stored.folder, method, workers, trials, stored.shape, stored.digest)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunFolderError(
            f"{error}: python -m nprep.replay with --resume runs those trials again."
        ) from error


def write_preview(folder: Path, outputs: Outputs) -> None:
    """Writes the curves and the summary of a run that goes on.

    Raises:
        RunFolderError: If one cannot be written.
    """
    rows = [row for curves in outputs.curves for row in curve_rows(curves)]
    write_file(folder / CURVES, to_csv(rows))
    write_file(folder / SUMMARY, to_json(outputs.summary))


def write_data(folder: Path, outputs: Outputs) -> list[Path]:
    """Writes the curves and the summary, ``settings.json`` being there already.

    Returns:
        All files that a person reads, the settings first.

    Raises:
        RunFolderError: If one cannot be written.
    """
    rows = [row for curves in outputs.curves for row in curve_rows(curves)]
    files = {CURVES: to_csv(rows), SUMMARY: to_json(outputs.summary)}
    if outputs.timed:
        files[TIMED] = seconds_csv(outputs.timed)
    if outputs.timelines:
        files[CLOCK] = clock_csv(outputs.timelines)
    if outputs.draws is not None:
        files[CURVES_OF_DRAWS] = draws_csv(outputs.draws)
    for name, data in files.items():
        write_file(folder / name, data)
    return [folder / SETTINGS, *(folder / name for name in files)]
