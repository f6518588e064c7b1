"""Predictors: what they predict, how well, and what N and K do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import NprepError
from nprep.predictor.agreement import agreement
from nprep.quality.splits import PARTS
from nprep.report.context import Context
from nprep.report.html import HtmlTable, Picture, Section, details, missing
from nprep.report.pictures.base import about_runs
from nprep.report.pictures.predictions import scatter_picture
from nprep.report.pictures.quality import quality_picture
from nprep.report.pictures.sample_map import accuracy_map, map_picture
from nprep.report.tables.quality import quality_table
from nprep.report.words import DASH, number, part_words
from nprep.results.reading import Run
from nprep.search.trace import Predictions
from nprep.table.view import View

# Among how many of the best cells predictors are judged.
TOPS = (10, 100, 1000)


def predictions(context: Context) -> Section:
    """Predicted against true accuracy, by the stored predictors of first trials."""
    body: list[str] = []
    pictures: list[Picture] = []
    for place, run in enumerate(context.runs, 1):
        rows = []
        try:
            stored = {method: run.predictions(method) for method in run.methods}
            known = {method: each for method, each in stored.items() if each is not None}
            truth = truth_of(context.view(run)) if known else np.zeros(0)
        except NprepError as error:
            body.append(missing(f"Predictions of {run.name} need its files and table: {error}"))
            continue
        for method, found in known.items():
            context.say(f"comparing the predictions of {method} of {run.name}")
            rows += agreement_rows(method, found, truth)
            if not found.unit:
                body.append(
                    missing(f"{method} of {run.name} predicts an order, no accuracy to show.")
                )
                continue
            made = _scatter(f"predicted-{place}", run, method, found, truth)
            pictures.append(made)
            body.append(made.to_html())
        if rows:
            body.append(agreement_table(rows, run.name).to_html())
    if not body:
        body.append(
            missing(
                "None of these runs has stored what a predictor predicts.",
                "python -m nprep.replay --methods np --out another-run",
            )
        )
    return Section("predictions", "Predicted against true accuracy", "".join(body), tuple(pictures))


def _scatter(
    name: str, run: Run, method: str, found: Predictions, truth: NDArray[np.float64]
) -> Picture:
    """The figure of one predictor."""
    title = f"Predicted against true accuracy: {method}, {run.name}"
    return scatter_picture(
        f"{name}-{method.replace(':', '-')}",
        100.0 * found.scores.astype(np.float64),
        truth,
        found.known,
        title,
        f"{title}. The predictor of the first trial, N = {len(found.known)} (circles); darker is "
        "more cells. True is the mean validation accuracy over the runs of a cell.",
        about_runs([run], timed=False),
    )


def agreement_rows(
    method: str, found: Predictions, truth: NDArray[np.float64]
) -> list[tuple[str, ...]]:
    """How well a predictor agrees with the truth on the cells that it has not learned from.

    Args:
        method: Name of the method.
        found: What it predicts.
        truth: (M,) percent.

    Returns:
        Rows for all cells and for those truly above some accuracies.
    """
    rows = []
    for part, low in PARTS.items():
        inside = truth > 100 * low
        inside[found.known] = False
        ranked = found.scores.astype(np.float64)
        if found.accepted is not None:
            # As the search does: whatever the classifier refuses comes after all else.
            ranked = np.where(found.accepted, ranked, ranked - 10.0)
        each = agreement(ranked[inside], found.scores[inside], truth[inside] / 100.0, TOPS)
        rows.append(
            (
                f"{method}, {part_words(part)}",
                number(each.tau, 3),
                number(each.spearman, 3),
                number(each.mse, 3) if found.unit else DASH,
                number(each.r2, 3) if found.unit else DASH,
                *(number(each.precision.get(top, math.nan), 3) for top in TOPS),
            )
        )
    return rows


def agreement_table(rows: list[tuple[str, ...]], name: str) -> HtmlTable:
    """The table of ``agreement_rows``."""
    return HtmlTable(
        f"Predictors of the first trials of {name} against the mean validation accuracy of every "
        "cell that they have not learned from; squared errors in squared percentage points.",
        (
            "predictor",
            "Kendall tau",
            "Spearman",
            "mean squared error",
            "R²",
            *(f"precision at {top:,}" for top in TOPS),
        ),
        tuple(rows),
    )


def truth_of(view: View) -> NDArray[np.float64]:
    """(M,) percent: the mean validation accuracy of each cell's runs."""
    present = ~np.isnan(view.validation)
    total = np.where(present, view.validation, 0).sum(axis=1, dtype=np.float64)
    means: NDArray[np.float64] = 100.0 * total / present.sum(axis=1)
    return means


def quality(context: Context) -> Section:
    """How good predictors are, by the cells that they learn from."""
    body: list[str] = []
    pictures: list[Picture] = []
    for place, each in enumerate(context.qualities, 1):
        title = f"Quality of predictors by training samples: {each.name}"
        made = quality_picture(f"quality-{place}", each.summary, title, each.modelled(timed=False))
        pictures.append(made)
        body.append(made.to_html())
        for where, words in (
            ("view", "the whole view"),
            ("test", "as many cells as the paper tests on"),
        ):
            for part in PARTS:
                table = quality_table(each.summary, where, part).to_html()
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
                f"python -m nprep.quality{where}{view} --out quality\n"
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
        for method, entry in run.summary["methods"].items():
            if entry["train_samples"] and "by_top_k" in entry:
                rules = str(sorted(run.protocol.items()))
                key = (method, f"{rules} {run.view.get('digest')}")
                groups_of.setdefault(key, []).append(run)
    alone: dict[int, list[str]] = {}
    for place, ((method, _), runs) in enumerate(groups_of.items(), 1):
        by_n: dict[int, tuple[dict[str, Any], Run]] = {}
        for run in runs:
            entry = run.summary["methods"][method]
            by_n.setdefault(entry["train_samples"], (entry, run))
        if len(by_n) < 2:
            alone.setdefault(next(iter(by_n)), []).append(method)
            continue
        title = f"Training samples N against candidates K: {method}"
        trials = ", ".join(
            f"{run.run['trials']} at N = {n}" for n, (_, run) in sorted(by_n.items())
        )
        made = map_picture(
            f"map-{method.replace(':', '-')}-{place}",
            accuracy_map([entry for entry, _ in by_n.values()]),
            title,
            f"{title}. Mean test accuracy (%) after N + K trained networks; trials: {trials}.",
            about_runs(runs[:1], timed=False),
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
