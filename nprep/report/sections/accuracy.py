"""Accuracies after some samples, and how many samples accuracies take."""

from __future__ import annotations

from nprep.report.context import Context
from nprep.report.html import Picture, Section, details, missing, text
from nprep.report.pictures.profiles import profile_picture
from nprep.report.tables.accuracy import (
    accuracy_table,
    interval_table,
    published_table,
    regret_table,
    wins_table,
)
from nprep.report.tables.efficiency import headline_table, target_table
from nprep.results.reading import Run
from nprep.search.registry import kind_of


def accuracies(context: Context) -> Section:
    """Accuracy at the numbers of samples that papers report, and how sure it is."""
    body: list[str] = []
    pictures: list[Picture] = []
    for place, run in enumerate(context.runs, 1):
        if len(context.runs) > 1:
            body.append(f"<h3>{text(run.name)}</h3>")
        body += [accuracy_table(run, metric).to_html() for metric in ("test", "validation")]
        for table in (
            interval_table(run),
            published_table(run),
            regret_table(run),
            wins_table(run),
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
    known = [set(each) for method, each in profiles.items() if kind_of(method) != "bound"]
    if not known:
        return 0
    return max((int(samples) for samples in set.intersection(*known)), default=0)


def speedups(context: Context) -> Section:
    """What predictors need for what sequential methods end up with."""
    body = []
    for run in context.runs:
        if len(context.runs) > 1:
            body.append(f"<h3>{text(run.name)}</h3>")
        headline = headline_table(run)
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
                target_table(comparison, metric).to_html() for metric in ("test", "validation")
            )
            title = f"{comparison['predictor']} against {comparison['baseline']}, at each target"
            body.append(details(title, inner))
    return Section("speedups", "Pairs of methods", "".join(body))
