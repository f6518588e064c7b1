"""The answer that the page opens with: who needs how many samples."""

from __future__ import annotations

from nprep.report.context import Context, groups
from nprep.report.html import Picture, Section, missing, paragraph, text
from nprep.report.pictures.curves import curves_picture
from nprep.report.tables.accuracy import accuracy_table
from nprep.report.tables.efficiency import (
    answer_sentences,
    answer_table,
    axis_of,
    draws_table,
    needed_by,
)
from nprep.results.reading import Run

# Sentences about pairs of methods before the table, which has them all.
_MOST_SENTENCES = 3


def answer(context: Context) -> Section:
    """Who needs how many samples, with intervals, and one figure of it."""
    body: list[str] = []
    pictures: list[Picture] = []
    parts = groups(context.runs)
    for number, group in enumerate(parts, 1):
        for run in group:
            if len(context.runs) > 1:
                body.append(f"<h3>{text(run.name)}</h3>")
            body += _of_run(run)
        axis = axis_of(group[0])
        suffix = "" if len(parts) == 1 else f"-{number}"
        title = {
            "samples": "Test accuracy by trained networks",
            "seconds": "Test accuracy by training time",
        }[axis]
        name = f"test-by-{axis}{suffix}"
        context.say(f"drawing {name}")
        made = curves_picture(name, group, "test", axis, context.band, title)
        pictures.append(made)
        body.append(made.to_html())
    axes = {axis_of(group[0]) for group in parts}
    title = "Who needs how many samples"
    if axes == {"seconds"}:
        title = "Who needs how much training time"
    return Section("answer", title, "".join(body), tuple(pictures))


def _of_run(run: Run) -> list[str]:
    """The answer of one run: sentences and tables."""
    table = answer_table(run)
    if table is None:
        why = (
            f"{run.name} has no sequential method, such as evolution, to compare with."
            if "needed" in run.summary
            else f"{run.name} was summarized by an older version, which did not store this."
        )
        command = "python -m nprep.replay --methods random,evolution,np,oracle --out another-run"
        return [missing(why, command), accuracy_table(run, "test").to_html()]
    body = [paragraph(sentence) for sentence in answer_sentences(run)[:_MOST_SENTENCES]]
    body.append(table.to_html())
    draws = draws_table(run)
    if draws is not None:
        body.append(draws.to_html())
    elif run.modelled(timed=False) and needed_by(run) is not None:
        body.append(
            paragraph(
                "The intervals are over trials on one draw of the modelled values; how much "
                "another draw changes is not in them (python -m nprep.replay --draws)."
            )
        )
    return body
