"""The report's sections on predictors: what they predict, how well, and what N and K do."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep._console import duration
from nprep.errors import NprepError
from nprep.predictor.agreement import agreement
from nprep.quality.experiment import PARTS
from nprep.report import tables
from nprep.report.context import Context
from nprep.report.figures import accuracy_map, map_picture, quality_picture, scatter_picture
from nprep.report.html import Picture, Section, Table, details, missing
from nprep.report.refit import Predictions, can_refit, refit
from nprep.report.tables import part_words
from nprep.results.curves import Curves
from nprep.results.reading import Run
from nprep.table.view import View

# Among how many of the best cells predictors are judged.
TOPS = (10, 100, 1000)


def predictions(context: Context) -> Section:
    """Predicted against true accuracy, by predictors trained again from stored trials."""
    body: list[str] = []
    pictures: list[Picture] = []
    for number, run in enumerate(context.runs, 1):
        known = run.run.get("method_settings", {})
        chosen = [m for m in run.methods if isinstance(known.get(m), dict) and can_refit(known[m])]
        if not chosen:
            continue
        if not context.refits:
            body.append(
                missing(
                    f"The predictors of {run.name} were not trained again.",
                    f"python -m nprep.report {run.folder} --refit 1",
                )
            )
            continue
        try:
            view = context.view(run)
            truth, about = truth_of(view, run)
            rows = []
            for method in chosen:
                found = list(_refits(context, run, method, known[method], view))
                rows += agreement_rows(method, found, truth)
                if not found[0].unit:
                    body.append(
                        missing(f"{method} of {run.name} predicts an order, no accuracy to show.")
                    )
                    continue
                made = _scatter(f"predicted-{number}", run, method, found[0], truth, about)
                pictures.append(made)
                body.append(made.to_html())
        except NprepError as error:
            body.append(missing(f"Predictions of {run.name} need its trials and table: {error}"))
            continue
        body.append(agreement_table(rows, run.name, about).to_html())
    if not body:
        body.append(
            missing(
                "None of these runs has a predictor whose training is known here.",
                "python -m nprep.replay --methods np --out another-run",
            )
        )
    return Section("predictions", "Predicted against true accuracy", "".join(body), tuple(pictures))


def _refits(
    context: Context, run: Run, method: str, settings: dict[str, Any], view: View
) -> Iterator[Predictions]:
    """The predictors of the first trials of a method, trained again, with an estimate."""
    results = run.results(method, view)
    count = min(context.refits, len(results.lengths))
    start = time.perf_counter()
    for trial in range(count):
        left = ""
        if trial:
            seconds = (time.perf_counter() - start) / trial * (count - trial)
            left = f", about {duration(seconds)} left"
        context.say(f"training {method} of {run.name} again, {trial + 1} of {count}{left}")
        yield refit(settings, run.run["seed"], trial, results, view)


def _scatter(
    name: str,
    run: Run,
    method: str,
    found: Predictions,
    truth: NDArray[np.float64],
    about: str,
) -> Picture:
    """The figure of one predictor."""
    check = (
        "It asks for the same candidates as the stored trial."
        if found.same
        else "It asks for other candidates than the stored trial, which another version or "
        "processor has run: its last digits differ."
    )
    title = f"Predicted against true accuracy: {method}, {run.name}"
    return scatter_picture(
        f"{name}-{method.replace(':', '-')}",
        100.0 * found.scores.astype(np.float64),
        truth,
        found.known,
        title,
        f"{title}. The predictor of the first trial, N = {len(found.known)} (circles), trained "
        f"again; darker is more cells. {check} {about}",
    )


def agreement_rows(
    method: str, found: Sequence[Predictions], truth: NDArray[np.float64]
) -> list[tuple[str, ...]]:
    """How well predictors agree with the truth on the cells that they have not learned from.

    Args:
        method: Name of the method.
        found: Predictors of some trials.
        truth: (M,) percent.

    Returns:
        Rows for all cells and for those truly above some accuracies: means over the trials.
    """
    rows = []
    for part, low in PARTS.items():
        each = []
        for one in found:
            inside = truth > 100 * low
            inside[one.known] = False
            ranked = one.scores.astype(np.float64)
            if one.accepted is not None:
                # As the search asks: whatever the classifier refuses comes after all else.
                ranked = np.where(one.accepted, ranked, ranked - 10.0)
            each.append(agreement(ranked[inside], one.scores[inside], truth[inside] / 100.0, TOPS))
        unit = all(one.unit for one in found)
        rows.append(
            (
                f"{method}, {part_words(part)}",
                f"{len(found)}",
                tables.number(float(np.mean([a.tau for a in each])), 3),
                tables.number(float(np.mean([a.spearman for a in each])), 3),
                tables.number(float(np.mean([a.mse for a in each])), 3) if unit else "–",
                tables.number(float(np.mean([a.r2 for a in each])), 3) if unit else "–",
                *(
                    tables.number(float(np.mean([a.precision.get(top, math.nan) for a in each])), 3)
                    for top in TOPS
                ),
            )
        )
    return rows


def agreement_table(rows: Sequence[tuple[str, ...]], name: str, about: str) -> Table:
    """The table of :func:`agreement_rows`."""
    return Table(
        f"Predictors of the first trials of {name}, trained again, on all cells that they have not "
        f"learned from; means over trials; squared errors in squared percentage points. {about}",
        (
            "predictor",
            "trials",
            "Kendall tau",
            "Spearman",
            "mean squared error",
            "R²",
            *(f"precision at {top:,}" for top in TOPS),
        ),
        tuple(rows),
    )


def truth_of(view: View, run: Run) -> tuple[NDArray[np.float64], str]:
    """What predictions are held against, in percent, and a sentence that says so."""
    present = ~np.isnan(view.validation)
    total = np.where(present, view.validation, 0).sum(axis=1, dtype=np.float64)
    truth = 100.0 * total / present.sum(axis=1)
    about = "True is the mean validation accuracy over the runs of a cell. "
    return truth, about + run.modelled(timed=False)


def quality(context: Context) -> Section:
    """How good predictors are, by the cells that they learn from."""
    body: list[str] = []
    pictures: list[Picture] = []
    for number, each in enumerate(context.qualities, 1):
        source = each.modelled(timed=False)
        title = f"Quality of predictors by training samples: {each.name}"
        made = quality_picture(f"quality-{number}", each.summary, title, source)
        pictures.append(made)
        body.append(made.to_html())
        for where, words in (
            ("view", "the whole view"),
            ("test", "as many cells as the paper tests on"),
        ):
            for part in PARTS:
                table = tables.quality_table(each.summary, where, part, source).to_html()
                title = f"On {words}, {part_words(part)}"
                first = (where, part) == ("view", "all")
                body.append(table if first else details(title, table))
    if not body:
        run = context.runs[0] if context.runs else None
        source = run.content.get("source", {}) if run else {}
        where = f" --table {source['table']}" if "table" in source else ""
        view = f" --view {source['view']}" if "view" in source else ""
        body.append(
            missing(
                "No folder of predictor quality by N was given.",
                f"python -m nprep.quality.cli{where}{view} --out quality\n"
                "python -m nprep.report RUN quality",
            )
        )
    return Section(
        "quality", "Predictor quality by training samples", "".join(body), tuple(pictures)
    )


def sample_map(context: Context) -> Section:
    """N against K: where to spend a budget."""
    body: list[str] = []
    pictures: list[Picture] = []
    groups_of: dict[tuple[str, str], list[Run]] = {}
    for run in context.runs:
        for series in run.series:
            if series.train_samples:
                rules = str(sorted(run.protocol.items()))
                key = (series.method, f"{run.view.get('digest')} {rules}")
                groups_of.setdefault(key, []).append(run)
    alone: dict[int, list[str]] = {}
    for number, ((method, _), runs) in enumerate(groups_of.items(), 1):
        try:
            by_n: dict[int, tuple[Curves, Run]] = {}
            for run in runs:
                each = run.curves(method, context.view(run))
                by_n.setdefault(each.train_samples, (each, run))
        except NprepError as error:
            body.append(missing(f"The map of {method} needs the run's table: {error}"))
            continue
        if len(by_n) < 2:
            alone.setdefault(next(iter(by_n)), []).append(method)
            continue
        data = accuracy_map([each for each, _ in by_n.values()])
        title = f"Training samples N against candidates K: {method}"
        trials = ", ".join(f"{len(each.test)} at N = {n}" for n, (each, _) in sorted(by_n.items()))
        made = map_picture(
            f"map-{method.replace(':', '-')}-{number}",
            data,
            title,
            f"{title}. Mean test accuracy (%) after N + K trained networks; trials: {trials}. "
            + " ".join(runs[0].captions()),
        )
        pictures.append(made)
        body.append(made.to_html())
    for n, methods in alone.items():
        names = list(dict.fromkeys(methods))
        body.append(
            missing(
                f"{', '.join(names)}: run with N = {n} alone; a map needs runs with several N.",
                f"for n in 43 86 129 172 344 860; do\n  python -m nprep.replay --methods "
                f"{','.join(names)} --train-samples $n --out n-$n\ndone\n"
                "python -m nprep.report n-*",
            )
        )
    if not body:
        body.append(
            missing(
                "None of these runs has a predictor.",
                "python -m nprep.replay --methods np --out another-run",
            )
        )
    return Section("map", "N against K", "".join(body), tuple(pictures))
