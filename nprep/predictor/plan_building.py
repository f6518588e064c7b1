"""Builds the schedules of a plan: which sums and rows of graphs are computed, when, and where.

Sums and rows are numbered layer by layer, first to last, equal ones alike; then, from the last
layer down, what is used gets a slot of a buffer, and is computed where it is not in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.graphs.plan import distinct_lists, distinct_pairs, members_of, weight_codes
from nprep.kernels.graphs.schedule import along_first, assign_slots, list_entries
from nprep.predictor.schedule import Schedule
from nprep.spaces.graphs import GraphBatch

# Nodes of a chunk, at least one graph: their rows and sums stay in a second-level cache.
CHUNK_NODES = 512
# Slots of a layer for products of sums and for rows. Of NASBench-101's sums 1.5 % are computed
# twice with so many, of its rows, which cost an addition, a third.
PRODUCT_SLOTS = 32_768
ROW_SLOTS = 1_024
# Numbers of 16 bits: nodes of a graph in both directions, and distinct weights.
LARGEST = 1 << 16


# A direction of the graphs: first entries, nodes, numbers of weights.
Direction = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint16]]


def coded_directions(graphs: GraphBatch) -> tuple[NDArray[np.float32], Direction, Direction]:
    """The distinct weights of graphs, and both directions with numbers of weights.

    Raises:
        SettingsError: If there are too many distinct weights.
    """
    palette = np.zeros(min(LARGEST, len(graphs.out_nodes) + len(graphs.in_nodes)), np.float32)
    known = 0
    codes = []
    for weights in (graphs.out_weights, graphs.in_weights):
        codes.append(np.empty(len(weights), np.uint16))
        known = weight_codes(weights, palette, known, codes[-1])
        if known < 0:
            raise SettingsError(
                f"the graphs have more than {LARGEST} distinct edge weights; round them first."
            )
    return (
        palette[:known].copy(),
        (graphs.out_starts, graphs.out_nodes, codes[0]),
        (graphs.in_starts, graphs.in_nodes, codes[1]),
    )


def _chunks(starts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Edges of runs of graphs with about ``CHUNK_NODES`` nodes: (C + 1,) int32."""
    edges = [0]
    while edges[-1] < len(starts) - 1:
        stop = int(np.searchsorted(starts, starts[edges[-1]] + CHUNK_NODES, "right")) - 1
        edges.append(max(stop, edges[-1] + 1))
    return np.array(edges, np.int32)


def build_schedule(
    graphs: GraphBatch,
    along: Direction,
    against: Direction,
    cells: NDArray[np.int32],
    layers: int,
) -> Schedule:
    """Numbers the sums and rows of some graphs, layer by layer, and gives them slots."""
    members, node_starts = members_of(cells, graphs.cell_starts)
    cell_bounds = _chunks(node_starts)
    chunks = len(cell_bounds) - 1
    lower = [graphs.types.astype(np.int32)]
    sums, rows = [], []
    for _ in range(layers - 1):
        numbers = np.empty((2, graphs.num_nodes), np.int32)
        one = distinct_lists(members, lower[-1], *along, 0, numbers[0])
        two = distinct_lists(members, lower[-1], *against, len(one), numbers[1])
        lower.append(np.empty(graphs.num_nodes, np.int32))
        nodes = distinct_pairs(members, numbers[0], numbers[1], lower[-1])
        sums.append((np.concatenate([one, two]), len(one)))
        # The two sums of every row, in turn.
        rows.append(np.ascontiguousarray(numbers[:, nodes].T))

    # From the last layer down: who uses the rows of a layer decides what is computed there.
    backward = np.tile([False, True], len(members))
    lists = [_Lists.of(np.repeat(members, 2), backward, lower[-1], along, against)]
    bounds = node_starts[cell_bounds].astype(np.int64) * 2
    slots = np.zeros((layers - 1, 2), np.int32)
    sum_bounds = np.zeros((layers - 1, 2 * chunks + 1), np.int32)
    pair_bounds = np.zeros((layers - 1, chunks + 1), np.int32)
    sum_slots, pairs, pair_rows = [], [], []
    for layer in range(layers - 2, -1, -1):
        users = lists[-1]
        uses = users.starts[bounds]
        found, cuts, row_slots, use_slots, slots[layer, 1] = assign_slots(
            users.rows, uses, len(rows[layer]), ROW_SLOTS
        )
        users.rows[:] = use_slots
        pair_bounds[layer] = cuts
        pair_rows.append(found)
        representatives, limit = sums[layer]
        used = rows[layer][found].reshape(-1)
        made, cuts, product_slots, use_slots, slots[layer, 0] = assign_slots(
            used, 2 * cuts, len(representatives), PRODUCT_SLOTS
        )
        pairs.append(np.column_stack([use_slots.reshape(-1, 2), row_slots]))
        sum_bounds[layer] = along_first(made, product_slots, cuts, limit)
        sum_slots.append(product_slots)
        lists.append(_Lists.of(representatives[made], made >= limit, lower[layer], along, against))
        bounds = cuts.astype(np.int64)
    return Schedule(
        cells=cells,
        cell_bounds=cell_bounds,
        cell_lists=2 * node_starts + np.int32(sum(map(len, sum_slots))),
        sum_bounds=sum_bounds + _offsets(sum_slots),
        sum_slots=_joined(sum_slots, np.uint16),
        pair_bounds=pair_bounds + _offsets(pairs),
        pairs=_joined(pairs, np.uint16).reshape(-1, 3),
        pair_rows=_joined(pair_rows, np.int32),
        slots=slots,
        **_joined_lists(lists),
    )


@dataclass(frozen=True)
class _Lists:
    """Lists of entries: where each begins, and the row (in the end: slot) and weight of each."""

    starts: NDArray[np.int32]
    rows: NDArray[np.int32]
    codes: NDArray[np.uint16]

    @classmethod
    def of(
        cls,
        nodes: NDArray[np.int32],
        backward: NDArray[np.bool_],
        lower: NDArray[np.int32],
        along: Direction,
        against: Direction,
    ) -> _Lists:
        """What nodes gather in one direction each."""
        starts = np.empty(len(nodes) + 1, np.int32)
        rows, codes = list_entries(nodes, lower, *along, *against, backward, starts)
        return cls(starts, rows, codes)


def _offsets(parts: list[NDArray[Any]]) -> NDArray[np.int32]:
    """(L - 1, 1) where each layer's rows begin, from arrays with the last layer first."""
    return np.cumsum([0, *map(len, parts[:0:-1])], dtype=np.int32)[: len(parts), None]


def _joined(parts: list[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    """One array, the first layer first, from arrays with the last layer first."""
    return np.concatenate([np.zeros(0, dtype), *(p.reshape(-1) for p in parts[::-1])]).astype(dtype)


def _joined_lists(lists: list[_Lists]) -> dict[str, NDArray[Any]]:
    """``starts`` and ``entries`` of a schedule; the nodes' lists come last."""
    ordered = lists[::-1]
    shifts = np.cumsum([0, *(len(part.rows) for part in ordered)])
    starts = [part.starts[:-1] + shift for part, shift in zip(ordered, shifts, strict=False)]
    entries = np.empty(shifts[-1], np.uint32)
    for part, begin in zip(ordered, shifts, strict=False):
        some = entries[begin : begin + len(part.rows)]
        some[:] = part.codes
        some <<= np.uint32(16)
        some |= part.rows.view(np.uint32)
    return {"starts": np.append(np.concatenate(starts), shifts[-1]).astype(np.int32),
            "entries": entries}  # fmt: skip
