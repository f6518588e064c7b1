"""Tables of what was run and where its values are from."""

from __future__ import annotations

from collections.abc import Sequence

from nprep.report.html import HtmlTable
from nprep.report.words import DASH
from nprep.results.reading import Run
from nprep.runs.protocols import in_words, label


def settings_table(runs: Sequence[Run]) -> HtmlTable:
    """What was run, a column for each run."""
    rows: list[tuple[str, ...]] = []

    def add(name: str, values: Sequence[object]) -> None:
        rows.append((name, *(str(value) for value in values)))

    known = [run for run in runs if run.content]
    add("protocol", [label(run.rules) for run in known])
    add("its rules", [in_words(run.rules) for run in known])
    add("view", [f"{run.view.get('name')} ({run.view.get('cells'):,} cells)" for run in known])
    for setting in ("methods", "trials", "samples", "train_samples", "top_k", "seed", "bootstrap"):
        values = [run.run.get(setting, DASH) for run in known]
        add(
            {"samples": "samples of sequential methods", "train_samples": "N", "top_k": "K"}.get(
                setting, setting
            ),
            [
                ", ".join(value)
                if isinstance(value, list)
                else f"{value:,}"
                if isinstance(value, int)
                else value
                for value in values
            ],
        )
    add("nprep", [run.run.get("nprep") for run in known])
    return HtmlTable(
        "What was run.",
        ("setting", *(run.name for run in known)),
        tuple(rows),
        tuple(range(1, len(known) + 1)),
    )


def provenance_table(run: Run) -> HtmlTable:
    """Where the values of the view are from."""
    counts: dict[str, dict[str, int]] = run.view.get("provenance", {})
    kinds = list(dict.fromkeys(kind for each in counts.values() for kind in each))
    rows = []
    for metric, each in counts.items():
        total = sum(each.values())
        cells = (
            f"{each[kind]:,} ({each[kind] / total:.1%})" if each.get(kind) else DASH
            for kind in kinds
        )
        rows.append((metric.replace("_", " "), *cells))
    return HtmlTable(
        f"Values of view {run.view.get('name')} by where they are from.",
        ("value", *kinds),
        tuple(rows),
    )
