"""The oracle of the backends: the plan's rows in plain NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.predictor.backends.numba import NumbaBackend
from nprep.predictor.gathers import Gather, Segment
from nprep.predictor.gcn import GcnWeights
from nprep.predictor.plan import SharingPlan

# Nodes of the last layer at a time.
_NODES = 1 << 16


class NumpyBackend(NumbaBackend):
    """Asks in NumPy and trains as ``NumbaBackend``.

    Attributes:
        name: "numpy".
    """

    name = "numpy"

    def outputs(
        self, plan: SharingPlan, weights: Sequence[GcnWeights]
    ) -> Iterator[NDArray[np.float32]]:
        """See ``nprep.predictor.backends.base.Backend.outputs``."""
        for one in weights:
            plan.check(one)
            out = np.empty(len(plan), np.float32)
            for segment in plan.segments:
                out[segment.cells] = _segment_outputs(segment, one)
            yield out


def _states(
    gather: Gather, products: NDArray[Any], bias: NDArray[Any], first: int, last: int
) -> NDArray[Any]:
    """States (last - first, D) of some rows of a layer."""
    width = products.shape[1] // 2
    sides = []
    for starts, sources, weights, side in (
        (gather.out_starts, gather.out_sources, gather.out_weights, slice(0, width)),
        (gather.in_starts, gather.in_sources, gather.in_weights, slice(width, None)),
    ):
        begin, end = starts[first], starts[last]
        entries = weights[begin:end, None] * products[sources[begin:end], side]
        # Every row has an entry, so no slice between two starts is empty.
        sums = np.add.reduceat(entries, starts[first:last] - begin)
        sides.append(np.maximum(sums + bias[side], 0))
    states: NDArray[Any] = (sides[0] + sides[1]) / 2
    return states


def _segment_outputs(segment: Segment, weights: GcnWeights) -> NDArray[Any]:
    """Raw outputs for the cells of a segment, in its order."""
    products: NDArray[Any] = weights.layer(0)[0]
    for number, gather in enumerate(segment.layers[:-1]):
        rows = len(gather.out_starts) - 1
        states = _states(gather, products, weights.layer(number)[1], 0, rows)
        products = states @ weights.layer(number + 1)[0]
    bias = weights.layer(len(segment.layers) - 1)[1]
    means = np.empty((len(segment.cells), weights.width), products.dtype)
    cell_starts = segment.cell_starts.astype(np.int64)
    first = 0
    while first < len(means):
        last = int(np.searchsorted(cell_starts, cell_starts[first] + _NODES, "right")) - 1
        last = min(max(last, first + 1), len(means))
        begin, end = int(cell_starts[first]), int(cell_starts[last])
        states = _states(segment.layers[-1], products, bias, begin, end)
        sums = np.add.reduceat(states, cell_starts[first:last] - begin)
        means[first:last] = sums / np.diff(cell_starts[first : last + 1])[:, None]
        first = last
    values: NDArray[Any] = means
    head = weights.head()
    for number, (matrix, bias) in enumerate(head):
        values = values @ matrix + bias
        if weights.settings.activation == "relu" and number + 1 < len(head):
            values = np.maximum(values, 0)
    return values[:, 0]
