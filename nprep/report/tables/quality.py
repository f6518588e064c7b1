"""Tables of how well predictions agree with the truth."""

from __future__ import annotations

from typing import Any

from nprep.report.html import HtmlTable
from nprep.report.words import number, part_words


def quality_table(content: dict[str, Any], where: str, part: str) -> HtmlTable:
    """Agreement of predictions with the truth, by the number of training cells.

    Args:
        content: Of a ``quality.json``.
        where: "test" or "view": on which cells.
        part: Which of them, a key of ``nprep.quality.experiment.PARTS``.
    """
    keys = ["tau", "spearman", "mse", "r2"]
    rows = []
    tops: list[str] = []
    for row in content["mean_over_splits"]:
        for kind in ("one-stage", "two-stage"):
            for key in row[kind][where][part]:
                top = key.startswith("precision_at_") and not key.endswith("_standard_error")
                if top and key not in tops:
                    tops.append(key)
    for row in content["mean_over_splits"]:
        for kind in ("one-stage", "two-stage"):
            entry = row[kind][where][part]
            cells = []
            for key in (*keys, *tops):
                value, error = entry.get(key), entry.get(f"{key}_standard_error")
                text_ = number(value, 3)
                if value is not None and error is not None:
                    text_ += f" ± {number(error, 3)}"
                cells.append(text_)
            rows.append((f"N = {row['train_samples']:,}, {kind}", *cells))
    cells_are = {"test": "test cells", "view": "all cells of the view that were not learned from"}
    only = "" if part == "all" else f", those truly {part_words(part)} alone"
    splits = content["mean_over_splits"][0]["splits"] if content["mean_over_splits"] else 0
    return HtmlTable(
        f"Predictions against one training run of each cell: {cells_are[where]}{only}; means over "
        f"{splits} random splits and their standard errors; squared errors in squared percentage "
        "points.",
        (
            "predictor",
            "Kendall tau",
            "Spearman",
            "mean squared error",
            "R²",
            *(f"precision at {top.removeprefix('precision_at_')}" for top in tops),
        ),
        tuple(rows),
    )
