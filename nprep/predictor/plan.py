"""Inference with shared sub-computations: the plan of a set of graphs, and its use.

Nodes that gather the same rows share the sum, so a layer's matrix product is needed once for each
distinct sum, and cheap additions and gathers do the rest (see ``nprep.kernels.graphs.infer``). The
plan depends on the graphs, their normalisation and the number of layers: build it once, use it for
every predictor. Graphs that share much follow each other, and products stay in buffers of a few
megabytes, whatever the number of graphs: the plan knows beforehand which are needed again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.graphs.infer import ROWS, run_schedule
from nprep.kernels.graphs.plan import (
    distinct_lists,
    distinct_pairs,
    members_of,
    sort_keys,
    weight_codes,
)
from nprep.kernels.graphs.schedule import along_first, assign_slots, list_entries
from nprep.kernels.numeric.gemm_bfloat16 import pair_rows
from nprep.kernels.threads import run_slices
from nprep.predictor.gathers import Segment, expand
from nprep.predictor.gcn import GcnWeights, head_sizes
from nprep.predictor.schedule import Schedule
from nprep.spaces.graphs import GraphBatch, HasGraphs

# Nodes of a chunk, at least one graph: their rows and sums stay in a second-level cache.
CHUNK_NODES = 512
# Slots of a layer for products of sums and for rows. Of NASBench-101's sums 1.5 % are computed
# twice with so many, of its rows, which cost an addition, a third.
PRODUCT_SLOTS = 32_768
ROW_SLOTS = 1_024
# Graphs of a part that a thread handles alone, where there are enough: parts share no sums.
PART_GRAPHS = 220_000
_LARGEST = 1 << 16


def _aligned(size: int) -> NDArray[np.float32]:
    """Uninitialised float32 numbers from a multiple of 64 bytes on: loads cross no cache line."""
    whole = np.empty(size + 16, np.float32)
    start = -whole.ctypes.data % 64 // 4
    return whole[start : start + size]


class Workspace:
    """Buffers that predictions use again: fresh memory costs a tenth of a prediction's time.

    Threads that predict at the same time get buffers of their own. A pickle or copy starts empty.
    """

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._idle: list[dict[str, NDArray[np.float32]]] = []

    def __getstate__(self) -> dict[str, object]:
        """Nothing of the buffers."""
        return {}

    def __setstate__(self, state: object) -> None:
        """No buffers yet."""
        self._idle = []

    @contextlib.contextmanager
    def buffers(self) -> Iterator[Callable[[str, int], NDArray[np.float32]]]:
        """Lends ``get(name, size)``, which gives an array with whatever was in it."""
        try:
            held = self._idle.pop()
        except IndexError:
            held = {}

        def get(name: str, size: int) -> NDArray[np.float32]:
            if name not in held or held[name].size < size:
                held[name] = _aligned(size)
            return held[name][:size]

        yield get
        self._idle.append(held)


@dataclass(frozen=True)
class SharingPlan:
    """The plan of N graphs.

    Attributes:
        count: N.
        num_types: Length of the one-hot node input.
        normalisation: Of the graphs, for a check against the predictor's; "" if unknown.
        num_layers: The number of GCN layers that the plan is for.
        palette: float32; the distinct weights of the graphs' entries.
        parts: The schedules.
        workspace: Buffers for predictions.
    """

    count: int
    num_types: int
    normalisation: str
    num_layers: int
    palette: NDArray[np.float32]
    parts: tuple[Schedule, ...]
    workspace: Workspace = field(default_factory=Workspace, repr=False, compare=False)

    def __len__(self) -> int:
        """The number of graphs N."""
        return self.count

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The parts without slots, each row once: for backends that hold all rows at once."""
        return tuple(expand(part, self.palette) for part in self.parts)

    @property
    def products(self) -> int:
        """Rows of a matrix product that a prediction computes in all layers."""
        return sum(len(part.sum_slots) for part in self.parts)

    @classmethod
    def build(
        cls,
        cells: HasGraphs,
        normalisation: str = "row",
        layers: int = 3,
        part_graphs: int = PART_GRAPHS,
    ) -> SharingPlan:
        """Builds a plan.

        Args:
            cells: The architectures, or graphs of any kind, with at least one node each.
            normalisation: Of the adjacency; where graphs are given, that of these.
            layers: Number of GCN layers.
            part_graphs: About how many graphs a part has.

        Returns:
            The plan.

        Raises:
            SettingsError: If a graph has too many nodes, or the graphs too many distinct weights.
        """
        graphs = cells.graphs(normalisation)
        if graphs.largest > _LARGEST // 2:
            raise SettingsError(
                f"a graph has {graphs.largest} nodes; predictors take at most {_LARGEST // 2}."
            )
        keys = sort_keys(graphs.types, graphs.cell_starts, graphs.out_starts, graphs.out_nodes)
        order = np.lexsort(keys[::-1]).astype(np.int32)
        palette, along, against = _coded(graphs)
        parts = max(1, round(len(graphs) / part_graphs))
        schedules = tuple(
            _schedule(graphs, along, against, part, layers)
            for part in np.array_split(order, parts)
            if len(part)
        )
        return cls(len(graphs), graphs.num_types, normalisation, layers, palette, schedules)

    def outputs(
        self, weights: GcnWeights, threads: int = 1, precision: str = "float32"
    ) -> NDArray[np.float32]:
        """The raw outputs of a predictor for all N graphs.

        Args:
            weights: The predictor.
            threads: How many threads share the parts; the bits of the result do not depend on it.
            precision: "float32", or "bfloat16" for products of the GCN layers with operands
                rounded to that, which needs a processor that has them
                (``nprep.kernels.numeric.gemm_bfloat16.AVAILABLE``).

        Returns:
            (N,) float32.

        Raises:
            SettingsError: If the plan was built for another kind of predictor.
        """
        self.check(weights)
        out = np.empty(self.count, np.float32)

        def work(start: int, stop: int) -> None:
            with self.workspace.buffers() as buffers:
                for part in self.parts[start:stop]:
                    out[part.cells] = _part_outputs(part, self.palette, weights, buffers, precision)

        run_slices(work, len(self.parts), threads)
        return out

    def predict(self, weights: GcnWeights, threads: int = 1) -> NDArray[np.float32]:
        """Predictions (accuracies, probabilities or scores) for all N graphs: (N,) float32."""
        return weights.scale.predictions(self.outputs(weights, threads))

    def check(self, weights: GcnWeights) -> None:
        """Refuses a predictor that the plan was not built for.

        Raises:
            SettingsError: If layers, normalisation or node types differ.
        """
        settings = weights.settings
        wanted = (settings.layers, settings.normalisation, weights.num_types)
        built = (self.num_layers, self.normalisation or settings.normalisation, self.num_types)
        if self.count and wanted != built:
            raise SettingsError(
                f"the plan is for (layers, normalisation, node types) {built} but the predictor "
                f"has {wanted}: build a plan for it."
            )


# A direction of the graphs: first entries, nodes, numbers of weights.
_Direction = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint16]]


def _coded(graphs: GraphBatch) -> tuple[NDArray[np.float32], _Direction, _Direction]:
    """The distinct weights of graphs, and both directions with numbers of weights.

    Raises:
        SettingsError: If there are too many distinct weights.
    """
    palette = np.zeros(min(_LARGEST, len(graphs.out_nodes) + len(graphs.in_nodes)), np.float32)
    known = 0
    codes = []
    for weights in (graphs.out_weights, graphs.in_weights):
        codes.append(np.empty(len(weights), np.uint16))
        known = weight_codes(weights, palette, known, codes[-1])
        if known < 0:
            raise SettingsError(
                f"the graphs have more than {_LARGEST} distinct edge weights; round them first."
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


def _schedule(
    graphs: GraphBatch,
    along: _Direction,
    against: _Direction,
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
        along: _Direction,
        against: _Direction,
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


def _part_outputs(
    part: Schedule,
    palette: NDArray[np.float32],
    weights: GcnWeights,
    buffers: Callable[[str, int], NDArray[np.float32]],
    precision: str,
) -> NDArray[np.float32]:
    """Raw outputs for the graphs of a part, in its order."""
    width = weights.width
    head = head_sizes(weights.settings)
    # Products of fewer columns than a tile has are not worth a kernel of their own.
    halved = precision == "bfloat16" and 2 * width >= 16
    paired = np.zeros(0, np.uint32)
    if halved and len(part.slots):
        matrices = [weights.layer(layer + 1)[0] for layer in range(len(part.slots))]
        paired = np.concatenate([pair_rows(matrix).reshape(-1) for matrix in matrices])
    # The rows of the first layer are those of its matrix.
    product_starts = np.append(0, np.cumsum(part.slots[:, 0])) * (2 * width)
    row_starts = np.append([0, 0], np.cumsum(part.slots[:, 1])) * (2 * width)
    most = int(np.diff(part.cell_bounds).max(initial=0))
    out = np.empty(len(part.cells), np.float32)
    run_schedule(
        part.starts, part.entries, palette, part.sum_slots, part.sum_bounds, part.pairs,
        part.pair_bounds, part.cell_bounds, part.cell_lists, weights.parameters,
        weights.num_types, width, head, weights.settings.activation == "relu", halved, paired,
        product_starts, buffers("products", int(product_starts[-1])), row_starts,
        buffers("rows", int(row_starts[-1])), buffers("sums", ROWS * width).reshape(ROWS, width),
        buffers("block", ROWS * 2 * width).reshape(ROWS, 2 * width),
        buffers("values", most * int(head.sum())), out,
    )  # fmt: skip
    return out


def predict(
    weights: GcnWeights, cells: SharingPlan | HasGraphs, threads: int = 1
) -> NDArray[np.float32]:
    """Predictions for cells, or for all cells of a plan.

    Args:
        weights: The predictor.
        cells: A plan (for a space that many predictors predict), or cells, or graphs built
            with the predictor's normalisation.
        threads: How many threads may share the work.

    Returns:
        (M,) float32: accuracies, or probabilities of a classifier, or scores without a unit.
    """
    if not isinstance(cells, SharingPlan):
        cells = SharingPlan.build(cells, weights.settings.normalisation, weights.settings.layers)
    return cells.predict(weights, threads)
