"""The report's sections, each from what runs have stored; what cannot be had is said to be missing.

Nothing is made up: a section whose numbers are not there says which command makes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from nprep.errors import NprepError
from nprep.plot.data import BANDS
from nprep.report import tables
from nprep.report.cells import best_found, deployed
from nprep.report.context import Context, groups
from nprep.report.drawing import draw_cell
from nprep.report.figures import clock_picture, curves_picture, profile_picture
from nprep.report.html import Picture, Section, details, missing, paragraph, text
from nprep.report.predictor_sections import predictions, quality, sample_map
from nprep.results.reading import Run, differences

BEST_CELLS = 6


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
    """Accuracy at the numbers of samples that papers report, and how sure it is."""
    body: list[str] = []
    pictures: list[Picture] = []
    for place, run in enumerate(context.runs, 1):
        if len(context.runs) > 1:
            body.append(f"<h3>{text(run.name)}</h3>")
        body += [tables.accuracy_table(run, metric).to_html() for metric in ("test", "validation")]
        for table in (
            tables.interval_table(run),
            tables.published_table(run),
            tables.regret_table(run),
            tables.wins_table(run),
        ):
            if table is not None:
                body.append(table.to_html())
        samples = common_samples(run)
        if samples:
            title = f"Share of trials that reach a test accuracy after {samples:,} samples"
            made = profile_picture(f"profile-{place}", run, samples, title)
            pictures.append(made)
            body.append(made.to_html())
    return Section("accuracies", "Accuracy after some samples", "".join(body), tuple(pictures))


def common_samples(run: Run) -> int:
    """The largest number of samples at which all searches have a profile; 0 if there is none."""
    profiles = run.summary.get("profiles", {}).get("methods", {})
    known = [set(each) for method, each in profiles.items() if method != "oracle"]
    if not known:
        return 0
    return max((int(samples) for samples in set.intersection(*known)), default=0)


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


def machines(context: Context) -> Section:
    """Time by the clock on several machines."""
    body: list[str] = []
    pictures: list[Picture] = []
    for place, run in enumerate(context.runs, 1):
        if len(context.runs) > 1:
            body.append(f"<h3>{text(run.name)}</h3>")
        if not run.clock or not run.summary.get("clock"):
            body.append(
                missing(
                    f"{run.name} was not simulated on several machines.",
                    f"python -m nprep.replay --methods {','.join(run.methods)} --workers "
                    "1,10,100,1000 --out another-run",
                )
            )
            continue
        title = "Mean test accuracy by the clock, by number of machines"
        made = clock_picture(f"machines-{place}", run, title)
        pictures.append(made)
        body.append(made.to_html())
        body += [tables.clock_table(run, target).to_html() for target in clock_targets(run)]
        body.append(tables.busy_table(run).to_html())
    return Section("machines", "Many machines", "".join(body), tuple(pictures))


def clock_targets(run: Run) -> list[float]:
    """Up to two targets worth a table: 94 %, and the highest that most methods reach."""
    reached: dict[float, int] = {}
    entries = run.summary["clock"]["methods"]
    for method in entries.values():
        for at in method[0]["test"]:
            if at["seconds"] is not None:
                reached[at["target_percent"]] = reached.get(at["target_percent"], 0) + 1
    most = [target for target, methods in reached.items() if 2 * methods > len(entries)]
    chosen = {max(most)} if most else set()
    if 94.0 in reached:
        chosen.add(94.0)
    elif reached:
        chosen.add(max(reached))
    return sorted(chosen)


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
    inline = "image/svg+xml", content
    return Picture(name, inline, inline, "", "", lambda: {"svg": content})


SECTIONS = (
    overview,
    curves,
    accuracies,
    speedups,
    machines,
    predictions,
    quality,
    sample_map,
    cells,
)


def make_sections(context: Context) -> list[Section]:
    """All sections, in order."""
    assert context.band in BANDS
    return [make(context) for make in SECTIONS]


def warnings(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before comparing the runs."""
    rules, views = differences(runs)
    told = [f"{sentence}; they are shown apart." for sentence in (*rules, *views)]
    return [sentence[0].upper() + sentence[1:] for sentence in told]
