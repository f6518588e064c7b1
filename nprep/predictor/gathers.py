"""A plan's layers as plain gathers, each distinct row once: for backends that hold all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.graphs.expand import plain_lists, sources_of, sums_of_rows
from nprep.predictor.schedule import Schedule


@dataclass(frozen=True)
class Gather:
    """What the rows of a layer gather, along (``out_``) and against (``in_``) the edges.

    Attributes:
        out_starts: (R + 1,) int32; first entry of each row.
        out_sources: int32; rows of the layer below (for the first layer: node types).
        out_weights: float32; the weights of the entries.
        in_starts: Likewise.
        in_sources: Likewise.
        in_weights: Likewise.
    """

    out_starts: NDArray[np.int32]
    out_sources: NDArray[np.int32]
    out_weights: NDArray[np.float32]
    in_starts: NDArray[np.int32]
    in_sources: NDArray[np.int32]
    in_weights: NDArray[np.float32]

    @property
    def lists(
        self,
    ) -> tuple[
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.float32],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.float32],
    ]:
        """The arrays in the order in which kernels take them."""
        return (
            self.out_starts, self.out_sources, self.out_weights,
            self.in_starts, self.in_sources, self.in_weights,
        )  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """Graphs whose rows are numbered together.

    Attributes:
        cells: (n,) int32; the graphs.
        layers: For each layer but the last its distinct rows; for the last the graphs' nodes.
        cell_starts: (n + 1,) int32; first node of each graph.
    """

    cells: NDArray[np.int32]
    layers: tuple[Gather, ...]
    cell_starts: NDArray[np.int32]


def expand(part: Schedule, palette: NDArray[np.float32]) -> Segment:
    """The layers of a schedule without slots.

    Args:
        part: The schedule.
        palette: The weights of its plan.
    """
    layers = len(part.slots)
    nodes = (part.cell_lists - part.cell_lists[0]) // 2
    nothing = np.zeros(0, np.int32)
    gathers = []
    for layer in range(layers + 1):
        below = part.pair_bounds[layer - 1] if layer else nothing
        if layer < layers:
            bounds = part.sum_bounds[layer, ::2]
            numbers = sums_of_rows(
                part.sum_bounds[layer], part.sum_slots, part.pairs, part.pair_rows,
                part.pair_bounds[layer],
            )  # fmt: skip
        else:
            bounds = part.cell_lists[part.cell_bounds]
            lists = np.arange(part.cell_lists[0], part.cell_lists[-1], dtype=np.int32)
            numbers = lists.reshape(-1, 2)
        bounds = np.ascontiguousarray(bounds)
        sources = sources_of(part.starts, part.entries, bounds, part.pairs, part.pair_rows, below)
        begin = int(part.starts[bounds[0]])
        sides = [
            plain_lists(
                np.ascontiguousarray(side), part.starts, part.entries, palette, sources, begin
            )
            for side in numbers.T
        ]
        gathers.append(Gather(*sides[0], *sides[1]))
    return Segment(part.cells, tuple(gathers), nodes.astype(np.int32))
