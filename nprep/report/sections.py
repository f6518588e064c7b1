"""The report's sections, each from what runs have stored; what cannot be had is said to be missing.

Nothing is made up: a section whose numbers are not there says which command makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.errors import NprepError, RunFolderError
from nprep.replay.curves import Curves
from nprep.replay.figure import BANDS
from nprep.replay.reading import Run, differences
from nprep.report import tables
from nprep.report.cells import best_found, deployed
from nprep.report.drawing import draw_cell
from nprep.report.figures import accuracy_map, curves_picture, map_picture, scatter_picture
from nprep.report.html import Picture, Section, details, missing, paragraph, text
from nprep.report.refit import can_refit, refit
from nprep.table.view import View

BEST_CELLS = 6


@dataclass
class Context:
    """What the sections are made of.

    Attributes:
        runs: The runs.
        table: Where the table is, if not where the runs say.
        band: Around the lines (see :data:`nprep.replay.figure.BANDS`).
        refits: How many trials of each predictor are trained again.
        say: Tells a person what is being done.
    """

    runs: Sequence[Run]
    table: Path | None = None
    band: str = "error"
    refits: int = 1
    say: Callable[[str], None] = lambda text: None
    _views: dict[tuple[str, str], View | NprepError] = field(default_factory=dict)

    def view(self, run: Run) -> View:
        """The view of a run, opened once.

        Raises:
            NprepError: If it cannot be had.
        """
        key = (str(run.view.get("digest")), str(run.content.get("source")))
        if key not in self._views:
            self.say(f"opening the table of {run.name}")
            try:
                self._views[key] = run.open_view(self.table)
            except NprepError as error:
                self._views[key] = error
        found = self._views[key]
        if isinstance(found, NprepError):
            raise found
        return found


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups that may share a figure: equal rules, equal values."""
    found: list[list[Run]] = []
    for run in runs:
        for group in found:
            if not any(differences([group[0], run])):
                group.append(run)
                break
        else:
            found.append([run])
    return found


def overview(context: Context) -> Section:
    """What was run and on what."""
    body = [tables.settings_table(context.runs).to_html()]
    seen = set()
    for run in context.runs:
        digest = run.view.get("digest")
        if digest in seen:
            continue
        seen.add(digest)
        body.append(paragraph(f"{run.view.get('name')}: {run.view.get('description')}."))
        body.append(tables.provenance_table(run).to_html())
        source = run.content.get("source", {})
        versions = run.content.get("versions", {})
        words = [f"{name} {value}" for name, value in {**source, **versions}.items()]
        body.append(paragraph(f"Made with {', '.join(words)}; digest of the values {digest}."))
    return Section("run", "Protocol, settings and provenance", "".join(body))


def curves(context: Context) -> Section:
    """The paper's figures."""
    body: list[str] = []
    pictures: list[Picture] = []
    parts = groups(context.runs)
    for number, group in enumerate(parts, 1):
        names = ", ".join(run.name for run in group)
        suffix = "" if len(parts) == 1 else f"-{number}"
        if len(parts) > 1:
            body.append(f"<h3>{text(names)}</h3>")
        body += [
            paragraph(caption)
            for caption in dict.fromkeys(caption for run in group for caption in run.captions())
        ]
        for metric, x_axis, title in (
            ("validation", "samples", "Validation accuracy by trained networks"),
            ("test", "samples", "Test accuracy by trained networks"),
            ("test", "seconds", "Test accuracy by training time"),
        ):
            name = f"{metric}-by-{x_axis}{suffix}"
            context.say(f"drawing {name}")
            try:
                made = curves_picture(name, group, metric, x_axis, context.band, title)
            except NprepError as error:
                body.append(missing(f"{title}: {error}"))
                continue
            pictures.append(made)
            body.append(made.to_html())
    return Section("curves", "Samples, training time and accuracy", "".join(body), tuple(pictures))


def accuracies(context: Context) -> Section:
    """Accuracy at the numbers of samples that papers report."""
    body = []
    for run in context.runs:
        if len(context.runs) > 1:
            body.append(f"<h3>{text(run.name)}</h3>")
        body += [tables.accuracy_table(run, metric).to_html() for metric in ("test", "validation")]
        published = tables.published_table(run)
        if published is not None:
            body.append(published.to_html())
    return Section("accuracies", "Accuracy after some samples", "".join(body))


def speedups(context: Context) -> Section:
    """How much sooner predictors arrive."""
    body = []
    for run in context.runs:
        if len(context.runs) > 1:
            body.append(f"<h3>{text(run.name)}</h3>")
        headline = tables.headline_table(run)
        if headline is None:
            body.append(
                missing(
                    f"{run.name} has no pair of a predictor and a sequential method to compare.",
                    "python -m nprep.replay --methods evolution,np --out another-run",
                )
            )
            continue
        body.append(headline.to_html())
        for comparison in run.summary["speedups"]:
            inner = "".join(
                tables.target_table(run, comparison, metric).to_html()
                for metric in ("test", "validation")
            )
            title = f"{comparison['predictor']} against {comparison['baseline']}, at each target"
            body.append(details(title, inner))
    return Section("speedups", "Sample efficiency", "".join(body))


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
        except NprepError as error:
            body.append(missing(f"Predictions of {run.name} need its table: {error}"))
            continue
        truth, about = truth_of(view, run)
        for method in chosen:
            context.say(f"training {method} of {run.name} again")
            try:
                found = refit(known[method], run.run["seed"], 0, run.results(method, view), view)
            except RunFolderError as error:
                body.append(missing(str(error)))
                continue
            if not found.unit:
                body.append(
                    missing(f"{method} of {run.name} predicts an order, and no accuracy to show.")
                )
                continue
            check = (
                "It asks for the same candidates as the stored trial."
                if found.same
                else "It asks for other candidates than the stored trial, which another version or "
                "processor has run: its last digits differ."
            )
            title = f"Predicted against true accuracy: {method}, {run.name}"
            made = scatter_picture(
                f"predicted-{method.replace(':', '-')}-{number}",
                100.0 * found.scores.astype(np.float64),
                truth,
                found.known,
                title,
                f"{title}. The predictor of the first trial, N = {len(found.known)} (circles), "
                f"trained again; darker is more cells. {check} {about}",
            )
            pictures.append(made)
            body.append(made.to_html())
    if not body:
        body.append(
            missing(
                "None of these runs has a predictor whose training is known here.",
                "python -m nprep.replay --methods np --out another-run",
            )
        )
    return Section("predictions", "Predicted against true accuracy", "".join(body), tuple(pictures))


def truth_of(view: View, run: Run) -> tuple[NDArray[np.float64], str]:
    """What predictions are held against, in percent, and a sentence that says so."""
    present = ~np.isnan(view.validation)
    total = np.where(present, view.validation, 0).sum(axis=1, dtype=np.float64)
    truth = 100.0 * total / present.sum(axis=1)
    about = "True is the mean validation accuracy over the runs of a cell. "
    return truth, about + run.modelled(timed=False)


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


def cells(context: Context) -> Section:
    """The best cells that trials end with."""
    body: list[str] = []
    pictures: list[Picture] = []
    for number, group in enumerate(groups(context.runs), 1):
        try:
            view = context.view(group[0])
            ends = {}
            for run in group:
                for method in run.methods:
                    if method == "oracle":
                        continue
                    name = method if len(group) == 1 else f"{method} ({run.name})"
                    ends[name] = deployed(run.results(method, view), view)
        except NprepError as error:
            names = ", ".join(run.name for run in group)
            body.append(missing(f"The cells of {names} need the trials and the table: {error}"))
            continue
        found = best_found(ends, view, BEST_CELLS)
        if len(context.runs) > 1:
            body.append(f"<h3>{text(', '.join(run.name for run in group))}</h3>")
        trials = {name: len(each) for name, each in ends.items()}
        body.append(
            paragraph(
                "The best, by mean test accuracy, of the cells that trials end with. A search "
                "chooses by validation accuracy and knows no test accuracy. "
                + group[0].modelled(timed=False)
            )
        )
        cards = []
        for rank, cell in enumerate(found, 1):
            drawing = draw_cell(cell.spec)
            who = ", ".join(
                f"{name} in {n} of {trials[name]} trials" for name, n in cell.trials.items()
            )
            rows = {
                "test": f"{cell.test:.3f} %, place {cell.place:,} of {len(view):,}",
                "found by": who,
                "parameters": f"{cell.parameters:,}",
                "hash": cell.module_hash,
            }
            terms = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in rows.items())
            cards.append(f"<li>{drawing}<dl>{terms}</dl></li>")
            pictures.append(_cell_file(f"cell-{number}-{rank}", drawing))
        body.append(f'<ol class="cells">{"".join(cards)}</ol>')
    return Section("cells", "The best cells found", "".join(body), tuple(pictures))


def _cell_file(name: str, drawing: str) -> Picture:
    """A drawing that is on the page already, for a file beside it."""
    content = drawing.encode()
    return Picture(
        name, ("image/svg+xml", content), ("image/svg+xml", content), "", "", {"svg": content}
    )


SECTIONS = (overview, curves, accuracies, speedups, predictions, sample_map, cells)


def make_sections(context: Context) -> list[Section]:
    """All sections, in order."""
    assert context.band in BANDS
    return [make(context) for make in SECTIONS]


def warnings(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before comparing the runs."""
    rules, views = differences(runs)
    told = [f"{sentence}; they are shown apart." for sentence in (*rules, *views)]
    return [sentence[0].upper() + sentence[1:] for sentence in told]
