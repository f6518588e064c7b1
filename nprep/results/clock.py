"""Curves by the clock: training time of one machine after another, or of W machines at once.

Simulated: how long trainings take is the table's; nothing depends on this computer. A method says
what may be trained side by side by the rounds of its traces; one whose choices depend on what has
ended when a machine becomes free has run anew for each number of machines
(``nprep.runs.concurrent``).
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nprep.results.curves import Curves, queries_seen, spread, tested
from nprep.runs.blocks import Results
from nprep.runs.concurrent import ConcurrentTrials, improvements
from nprep.runs.settings import ReplaySettings
from nprep.table.view import View

# At how many points of time curves are known; the first and the last among them.
MAX_POINTS = 2000
_POINTS_PER_DECADE = 50

# At which training times summaries have a row.
KEY_SECONDS = (
    1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7,
)  # fmt: skip

STATISTICS = tuple(
    f"{metric}_{statistic}"
    for metric in ("validation", "test")
    for statistic in ("mean", "std", "q25", "median", "q75")
)


@dataclass(frozen=True)
class Steps:
    """When the best cell of one trial changes, and to what.

    Attributes:
        times: (I,) float64, ascending; seconds.
        validation: (I,) float64, percent; the best seen from then on.
        test: (I,) float64, percent; as the protocol reports it.
    """

    times: NDArray[np.float64]
    validation: NDArray[np.float64]
    test: NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """A method on a number of machines.

    Attributes:
        curves: Its curves; their ``axis`` is time by the clock, in seconds.
        workers: Number of machines.
        ends: (T,) float64; when the last training of each trial ends.
        busy: (T,) float64; share of the machines' time until then that they are in training.
    """

    curves: Curves
    workers: int
    ends: NDArray[np.float64]
    busy: NDArray[np.float64]


def steps_of(
    ends: NDArray[np.float64], validation: NDArray[np.float32], test: NDArray[np.float32]
) -> Steps:
    """The steps of one trial.

    Args:
        ends: (S,) when trainings end, in any order; what ends together counts in the order given.
        validation: (S,) in [0, 1], as seen.
        test: (S,) in [0, 1], as reported of each training's cell.
    """
    order = np.argsort(ends, kind="stable")
    chosen = order[improvements(validation[order])]
    return Steps(
        ends[chosen],
        100.0 * validation[chosen].astype(np.float64),
        100.0 * test[chosen].astype(np.float64),
    )


def by_time(method: str, train_samples: int, trials: Sequence[Steps], end: float) -> Curves:
    """Curves over time, from the moment at which every trial has a cell.

    Args:
        method: Name of the method.
        train_samples: N of a predictor, else 0.
        trials: One for each trial.
        end: Where the curves end; a trial whose trainings ended before stays as it was.

    Returns:
        Curves whose ``axis`` holds all times at which a trial changes, or where these are too many
        about as many as ``MAX_POINTS``.
    """
    start = max(float(trial.times[0]) for trial in trials)
    changes = np.unique(np.concatenate([trial.times for trial in trials]))
    changes = changes[(changes > start) & (changes < end)]
    if len(changes) > MAX_POINTS:
        wanted = np.geomspace(max(start, 1e-9), max(end, start, 1e-9), MAX_POINTS)
        changes = changes[np.unique(np.minimum(np.searchsorted(changes, wanted), len(changes) - 1))]
    axis = np.unique(np.concatenate([[start], changes, [max(start, end)]]))
    validation = np.empty((len(trials), len(axis)))
    test = np.empty_like(validation)
    for row, trial in enumerate(trials):
        at = np.searchsorted(trial.times, axis, side="right") - 1
        validation[row] = trial.validation[at]
        test[row] = trial.test[at]
    seconds = np.broadcast_to(axis, validation.shape)
    return Curves(method, train_samples, int(axis[-1]), validation, test, seconds, axis=axis)


def by_training_time(curves: Curves, limit: float | None = None) -> Curves:
    """The curves of one machine that trains one network after another.

    Args:
        curves: By samples.
        limit: Where they end, in seconds; None: with the longest trial.
    """
    trials = []
    for row in range(len(curves.test)):
        best = curves.validation[row]
        better = improvements(best)
        trials.append(Steps(curves.seconds[row, better], best[better], curves.test[row, better]))
    end = float(curves.seconds[:, -1].max()) if limit is None else limit
    return by_time(curves.method, curves.train_samples, trials, end)


def all_by_training_time(all_curves: Sequence[Curves], limit: float | None) -> list[Curves]:
    """The curves of every method by training time; the oracle's is a constant along the others'.

    Args:
        all_curves: By samples, one for each method.
        limit: Where they end, in seconds; None: each with its longest trial.
    """
    timed = {
        curves.method: by_training_time(curves, limit)
        for curves in all_curves
        if not curves.is_bound
    }
    ends = [curves.axis for curves in timed.values() if curves.axis is not None]
    start = min((float(axis[0]) for axis in ends), default=1.0)
    end = max((float(axis[-1]) for axis in ends), default=limit or 1.0)
    for curves in all_curves:
        if curves.is_bound:
            constant = [
                Steps(np.array([start]), curves.validation[row, -1:], curves.test[row, -1:])
                for row in range(len(curves.test))
            ]
            timed[curves.method] = replace(
                by_time(curves.method, 0, constant, end), kind=curves.kind
            )
    return [timed[curves.method] for curves in all_curves]


def _scheduled(
    results: Results, view: View, workers: int, pause: float
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The number of each trial, and when its trainings end, in their order."""
    # Compiled when a clock is asked for.
    from nprep.kernels.search.concurrency import schedule

    _, times = queries_seen(results, view)
    for trial, length in enumerate(results.lengths):
        rounds = np.arange(length, dtype=np.int32)
        if results.rounds is not None:
            rounds = np.ascontiguousarray(results.rounds[trial])
        starts, ends = np.empty(length), np.empty(length)
        seconds = np.ascontiguousarray(times[trial, :length])
        schedule(seconds, rounds, workers, pause, starts, ends)
        yield trial, ends


def timeline(
    name: str,
    train_samples: int,
    results: Results,
    view: View,
    settings: ReplaySettings,
    workers: int,
    concurrent: ConcurrentTrials | None = None,
) -> Timeline:
    """A method on a number of machines.

    Args:
        name: The method's name.
        train_samples: N of a predictor, else 0.
        results: Its trials, one machine each.
        view: The cells.
        settings: Of the replay.
        workers: Number of machines.
        concurrent: Its trials on so many machines, if its choices depend on their number.
    """
    protocol = settings.protocol
    trials: list[Steps] = []
    if concurrent is not None:
        test = tested(view, protocol, concurrent.positions, concurrent.repeats)
        edges = np.concatenate([[0], np.cumsum(concurrent.counts)])
        for first, last in itertools.pairwise(edges.tolist()):
            within = slice(first, last)
            trials.append(
                Steps(
                    concurrent.times[within],
                    100.0 * concurrent.validation[within].astype(np.float64),
                    100.0 * test[within].astype(np.float64),
                )
            )
        last_ends, busy = concurrent.ends, concurrent.busy
    else:
        values, times = queries_seen(results, view)
        pause = settings.predictor_seconds if train_samples else 0.0
        last_ends, busy = np.empty(len(results.lengths)), np.empty(len(results.lengths))
        for trial, ends in _scheduled(results, view, workers, pause):
            within = slice(len(ends))
            at = results.positions[trial, within], results.repeats[trial, within]
            trials.append(steps_of(ends, values[trial, within], tested(view, protocol, *at)))
            last_ends[trial] = ends.max()
            spent = times[trial, within].sum(dtype=np.float64)
            busy[trial] = spent / (workers * ends.max())
    curves = by_time(name, train_samples, trials, float(last_ends.max()))
    return Timeline(curves, workers, last_ends, busy)


def time_grid(curves: Curves) -> NDArray[np.float64]:
    """Times at which curves are written: evenly spaced on a log scale, round numbers of seconds."""
    assert curves.axis is not None
    first, last = curves.axis[0], curves.axis[-1]
    low, high = np.log10(max(first, 1.0)), np.log10(max(last, 1.0))
    count = 1 + int(np.ceil(_POINTS_PER_DECADE * (high - low)))
    even = np.rint(10 ** np.linspace(low, high, count))
    grid = np.unique(np.concatenate([even, [k for k in KEY_SECONDS if first <= k <= last]]))
    return grid[(grid >= first) & (grid <= last)]


def row_at(curves: Curves, seconds: float) -> dict[str, float | int | str]:
    """Statistics of curves over time at one time."""
    column = curves.column(seconds)
    row: dict[str, float | int | str] = {
        "method": curves.method,
        "seconds": float(seconds),
        "trials": len(curves.test),
    }
    for metric in ("validation", "test"):
        for statistic, value in spread(curves.metric(metric)[:, column]).items():
            row[f"{metric}_{statistic}"] = value
    return row


def seconds_csv(all_curves: Sequence[Curves]) -> bytes:
    """``curves-seconds.csv``: accuracies in percent against training time in seconds."""
    rows = (row_at(curves, time) for curves in all_curves for time in time_grid(curves))
    return _csv(("method", "seconds", "trials", *STATISTICS), rows)


def clock_csv(timelines: Sequence[Timeline]) -> bytes:
    """``clock.csv``: accuracies in percent against seconds by the clock, by number of machines."""
    rows = (
        {**row_at(line.curves, time), "workers": line.workers}
        for line in timelines
        for time in time_grid(line.curves)
    )
    return _csv(("method", "workers", "seconds", "trials", *STATISTICS), rows)


def _csv(columns: Sequence[str], rows: Iterator[dict[str, float | int | str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = (row[column] for column in columns)
        writer.writerow(f"{cell:.6f}" if isinstance(cell, float) else cell for cell in cells)
    return text.getvalue().encode()
