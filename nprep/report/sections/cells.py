"""The best architectures that trials end with."""

from __future__ import annotations

from typing import Any

from nprep.report.context import Context, groups
from nprep.report.drawing import draw_cell
from nprep.report.html import Picture, Section, missing, paragraph, text
from nprep.results.found import COUNT
from nprep.results.reading import Run
from nprep.spaces.nb101.spec import Spec


def cells(context: Context) -> Section:
    """The best architectures that trials end with."""
    body: list[str] = []
    pictures: list[Picture] = []
    for number, group in enumerate(groups(context.runs), 1):
        names = ", ".join(run.name for run in group)
        if len(context.runs) > 1:
            body.append(f"<h3>{text(names)}</h3>")
        if any("best_found" not in run.summary for run in group):
            body.append(
                missing(f"{names}: summarized by an older version, which did not store it.")
            )
            continue
        body.append(
            paragraph(
                "The best, by mean test accuracy, of the architectures that trials end with. A "
                "search chooses by validation accuracy and knows no test accuracy."
            )
        )
        cards = []
        for rank, found in enumerate(joined(group), 1):
            about = found["architecture"]
            drawing = ""
            if group[0].summary["best_found"]["space"] == "nb101":
                drawing = draw_cell(Spec(about["matrix"], about["operations"]))
                pictures.append(_cell_file(f"cell-{number}-{rank}", drawing))
            rows = {
                "test": f"{found['test_percent']:.3f} %, place {found['place']:,} of "
                f"{group[0].view['cells']:,}",
                "found by": ", ".join(found["by"]),
                **_plain(about),
            }
            terms = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in rows.items())
            cards.append(f"<li>{drawing}<dl>{terms}</dl></li>")
        body.append(f'<ol class="cells">{"".join(cards)}</ol>')
    return Section("cells", "The best cells found", "".join(body), tuple(pictures))


def joined(group: list[Run]) -> list[dict[str, Any]]:
    """The best of all runs of a group, which searched the same values.

    Each run names its own best. What is among the best of all is among the best of every run that
    found it, so nothing is missed.

    Returns:
        What ``nprep.results.found.best_found`` says of each, with "by": who found it, in words.
    """
    together: dict[int, dict[str, Any]] = {}
    for run in group:
        trials = int(run.run["trials"])
        for found in run.summary["best_found"]["found"]:
            entry = together.setdefault(found["position"], {**found, "by": []})
            for method, number in found["trials"].items():
                name = method if len(group) == 1 else f"{method} ({run.name})"
                entry["by"].append(f"{name} in {number} of {trials} trials")
    order = sorted(together.values(), key=lambda e: (-e["test_percent"], e["position"]))
    return order[:COUNT]


def _plain(about: dict[str, Any]) -> dict[str, str]:
    """What a space says of an architecture, without what its drawing shows."""
    names = {"trainable_parameters": "parameters", "module_hash": "hash"}
    return {
        names.get(key, key.replace("_", " ")): f"{value:,}" if isinstance(value, int) else value
        for key, value in about.items()
        if key not in ("matrix", "operations")
    }


def _cell_file(name: str, drawing: str) -> Picture:
    """A drawing that is on the page already, for a file beside it."""
    content = drawing.encode()
    inline = "image/svg+xml", content
    return Picture(name, inline, inline, "", "", lambda: {"svg": content})
