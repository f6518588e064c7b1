"""The cells that trials end with: the best of them, and who found them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.runs.folder import Results
from nprep.spaces.nb101.cells import (
    format_hashes,
    module_hashes,
    specs_from_cells,
    trainable_parameters,
)
from nprep.spaces.nb101.spec import Spec
from nprep.table.view import View


@dataclass(frozen=True)
class Found:
    """A cell that at least one trial would deploy.

    Attributes:
        spec: The cell.
        module_hash: Its official hash.
        parameters: Trainable parameters of its network.
        test: Mean test accuracy over its runs, in percent.
        place: How many cells of the view have a higher mean test accuracy, plus 1.
        trials: The number of trials that end with it, by method; the most first.
    """

    spec: Spec
    module_hash: str
    parameters: int
    test: float
    place: int
    trials: dict[str, int]


def deployed(results: Results, view: View) -> NDArray[np.int32]:
    """The cell that each trial ends with: the first of those with the highest validation accuracy.

    Args:
        results: The trials' queries.
        view: The cells, as the protocol shows them.

    Returns:
        (T,) positions in the view.
    """
    positions, repeats = results.positions, results.repeats
    seen = view.validation[positions, repeats]
    if results.epochs is not None:
        for budget, fidelity in view.lower.items():
            short = results.epochs == budget
            seen[short] = fidelity.validation[positions[short], repeats[short]]
    best = np.argmax(seen, axis=1)
    return np.take_along_axis(positions, best[:, None], axis=1)[:, 0]


def best_found(ends: Mapping[str, NDArray[np.int32]], view: View, count: int) -> list[Found]:
    """The best cells that trials end with, by mean test accuracy.

    The order is for the reader, who may look at test accuracy; no search did.

    Args:
        ends: :func:`deployed` of each method.
        view: The cells.
        count: How many.
    """
    tally: dict[int, dict[str, int]] = {}
    for method, positions in ends.items():
        cells, times = np.unique(positions, return_counts=True)
        for cell, number in zip(cells.tolist(), times.tolist(), strict=True):
            tally.setdefault(cell, {})[method] = number
    order = sorted(tally, key=lambda cell: (-float(view.test[cell]), cell))[:count]
    if not order:
        return []
    chosen = view.cells.take(np.array(order))
    return [
        Found(
            spec,
            module_hash,
            int(parameters),
            100.0 * float(view.test[cell]),
            int((view.test > view.test[cell]).sum()) + 1,
            dict(sorted(tally[cell].items(), key=lambda item: -item[1])),
        )
        for cell, spec, module_hash, parameters in zip(
            order,
            specs_from_cells(chosen),
            format_hashes(module_hashes(chosen)),
            trainable_parameters(chosen),
            strict=True,
        )
    ]
