"""Means and standard errors over the splits of an experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

KINDS = ("one-stage", "two-stage")
THRESHOLD = 0.91
# Parts of the cells by their true accuracy: a few trainings that failed outweigh all others in a
# mean squared error, and replications leave them out.
PARTS = {"all": -1.0, "above_80": 0.8, "above_91": THRESHOLD}


def summarize_splits(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the splits of each N; what no split has is left out."""
    rows = []
    for count in dict.fromkeys(part["train_samples"] for part in parts):
        group = [part for part in parts if part["train_samples"] == count]
        row: dict[str, Any] = {
            "train_samples": count,
            "splits": len(group),
            "classifier": {
                key: float(np.mean([part["classifier"][key] for part in group]))
                for key in group[0]["classifier"]
            },
        }
        for kind in KINDS:
            row[kind] = {
                where: {name: _mean([part[kind][where][name] for part in group]) for name in PARTS}
                for where in ("test", "view")
            }
        rows.append(row)
    return rows


def _mean(agreements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and standard errors of the numbers in agreements."""
    content: dict[str, Any] = {}
    flat = [{**entry, **entry["precision"]} for entry in agreements]
    for key in flat[0]:
        values = [entry.get(key) for entry in flat]
        known = np.array([v for v in values if isinstance(v, int | float)], np.float64)
        if key == "precision" or not len(known):
            continue
        name = f"precision_at_{key}" if str(key).isdigit() else str(key)
        content[name] = float(known.mean())
        error = known.std(ddof=1) / math.sqrt(len(known)) if len(known) > 1 else math.nan
        content[f"{name}_standard_error"] = float(error)
    return content
