"""The architectures that trials end with: the best of them, and who found them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.results.curves import queries_seen
from nprep.runs.blocks import Results
from nprep.table.view import View

# Architectures that a summary describes.
COUNT = 6


def deployed(results: Results, view: View) -> NDArray[np.int32]:
    """What each trial ends with: the first of those with the highest validation accuracy.

    Args:
        results: The trials' queries.
        view: What was searched, as the protocol shows it.

    Returns:
        (T,) positions in the view.
    """
    seen, _ = queries_seen(results, view)
    best = np.argmax(seen, axis=1)
    return np.take_along_axis(results.positions, best[:, None], axis=1)[:, 0]


def best_found(
    ends: Mapping[str, NDArray[np.int32]], view: View, count: int = COUNT
) -> list[dict[str, Any]]:
    """The best architectures that trials end with, by mean test accuracy.

    The order is for the reader, who may look at test accuracy; no search did.

    Args:
        ends: ``deployed`` of each method.
        view: What was searched.
        count: How many.

    Returns:
        For each, as JSON has it: its position in the view, its test accuracy in percent, its place
        by that among all of the view, the number of trials that end with it by method (the most
        first), and what the space says of it.
    """
    tally: dict[int, dict[str, int]] = {}
    for method, positions in ends.items():
        cells, times = np.unique(positions, return_counts=True)
        for cell, number in zip(cells.tolist(), times.tolist(), strict=True):
            tally.setdefault(cell, {})[method] = number
    order = sorted(tally, key=lambda cell: (-float(view.test[cell]), cell))[:count]
    if not order:
        return []
    described = view.space.describe(view.cells.take(np.array(order)))
    return [
        {
            "position": cell,
            "test_percent": 100.0 * float(view.test[cell]),
            "place": int((view.test > view.test[cell]).sum()) + 1,
            "trials": dict(sorted(tally[cell].items(), key=lambda item: -item[1])),
            "architecture": about,
        }
        for cell, about in zip(order, described, strict=True)
    ]
