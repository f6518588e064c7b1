"""Curves besides that of the answer."""

from __future__ import annotations

from nprep.errors import NprepError
from nprep.report.context import Context, groups
from nprep.report.html import Picture, Section, missing, text
from nprep.report.pictures.curves import curves_picture
from nprep.report.tables.efficiency import axis_of


def curves(context: Context) -> Section:
    """Validation by samples, and test by what the answer does not show it by."""
    body: list[str] = []
    pictures: list[Picture] = []
    parts = groups(context.runs)
    for number, group in enumerate(parts, 1):
        suffix = "" if len(parts) == 1 else f"-{number}"
        if len(parts) > 1:
            body.append(f"<h3>{text(', '.join(run.name for run in group))}</h3>")
        other = "samples" if axis_of(group[0]) == "seconds" else "seconds"
        words = {"samples": "trained networks", "seconds": "training time"}
        for metric, axis, title in (
            ("validation", "samples", "Validation accuracy by trained networks"),
            ("test", other, f"Test accuracy by {words[other]}"),
        ):
            name = f"{metric}-by-{axis}{suffix}"
            context.say(f"drawing {name}")
            try:
                made = curves_picture(name, group, metric, axis, context.band, title)
            except NprepError as error:
                body.append(missing(f"{title}: {error}"))
                continue
            pictures.append(made)
            body.append(made.to_html())
    return Section("curves", "Validation and training time", "".join(body), tuple(pictures))
