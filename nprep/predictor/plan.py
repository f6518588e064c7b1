"""Inference with shared sub-computations: the plan of a set of graphs, and its use.

Nodes with equal neighbourhoods have equal states, so a layer's matrix product is needed once for
each distinct row below it, and cheap gathers do the rest (see ``nprep.kernels.graphs.plan``). The
plan depends on the graphs, their normalisation and the number of layers: build it once, use it for
every predictor. Cells are handled in chunks of a processor's cache; a chunk multiplies only the
rows that no chunk before it needed, and leaves the products in a table for the chunks after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.graphs.gather import gather_means, gather_states
from nprep.kernels.graphs.plan import distinct_rows, gather_lists, members_of
from nprep.kernels.numeric.dense_inference import finish_dense, output_dot
from nprep.kernels.numeric.gemm import gemm
from nprep.kernels.numeric.gemm_bfloat16 import gemm_bfloat16, pair_columns, pair_rows
from nprep.kernels.threads import run_slices
from nprep.predictor.gcn import GcnWeights
from nprep.spaces.graphs import GraphBatch, HasGraphs

CHUNK_CELLS = 1024
# Cells of a segment, where there are enough: threads and the memory of product tables divide by
# segments, but rows are not shared between them.
SEGMENT_CELLS = 220_000
_FEWEST_COLUMNS = 16
# Rows multiplied at once.
_ROWS = 1536


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
    def buffers(self) -> Iterator[Callable[[str, int, int], NDArray[np.float32]]]:
        """Lends ``get(name, rows, columns)``, which gives a matrix with whatever was in it."""
        try:
            held = self._idle.pop()
        except IndexError:
            held = {}

        def get(name: str, rows: int, columns: int) -> NDArray[np.float32]:
            if name not in held or held[name].size < rows * columns:
                held[name] = _aligned(rows * columns)
            return held[name][: rows * columns].reshape(rows, columns)

        yield get
        self._idle.append(held)


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
    """Cells whose rows are numbered together.

    Attributes:
        cells: (n,) int32; the cells, in the order in which they are handled.
        layers: For each layer but the last its distinct rows, in order of appearance; for the last
            the nodes of the cells.
        cell_starts: (n + 1,) int32; first node of each cell.
        chunk_rows: (L - 1, C + 1) int64; rows of each layer that appear before each chunk.
    """

    cells: NDArray[np.int32]
    layers: tuple[Gather, ...]
    cell_starts: NDArray[np.int32]
    chunk_rows: NDArray[np.int64]


@dataclass(frozen=True)
class SharingPlan:
    """The plan of N graphs.

    Attributes:
        count: N.
        num_types: Length of the one-hot node input.
        normalisation: Of the graphs, for a check against the predictor's; "" if unknown.
        segments: The parts.
        workspace: Buffers for predictions.
    """

    count: int
    num_types: int
    normalisation: str
    segments: tuple[Segment, ...]
    workspace: Workspace = field(default_factory=Workspace, repr=False, compare=False)

    def __len__(self) -> int:
        """The number of graphs N."""
        return self.count

    @property
    def num_layers(self) -> int:
        """The number of GCN layers that the plan is for."""
        return len(self.segments[0].layers) if self.segments else 0

    @classmethod
    def build(
        cls,
        cells: HasGraphs,
        normalisation: str = "row",
        layers: int = 3,
        segment_cells: int = SEGMENT_CELLS,
    ) -> SharingPlan:
        """Builds a plan.

        Args:
            cells: The architectures, or graphs of any kind, with at least one node each.
            normalisation: Of the adjacency; where graphs are given, that of these.
            layers: Number of GCN layers.
            segment_cells: About how many cells to number together.

        Returns:
            The plan.
        """
        # Neighbours in this order share most rows.
        order = cells.order()
        graphs = cells.graphs(normalisation)
        parts = max(1, round(len(graphs) / segment_cells))
        segments = tuple(
            _segment(graphs, part, layers) for part in np.array_split(order, parts) if len(part)
        )
        return cls(len(graphs), graphs.num_types, normalisation, segments)

    def outputs(
        self, weights: GcnWeights, threads: int = 1, precision: str = "float32"
    ) -> NDArray[np.float32]:
        """The raw outputs of a predictor for all N graphs.

        Args:
            weights: The predictor.
            threads: How many threads share the segments; the bits of the result do not depend on
                it.
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
                for segment in self.segments[start:stop]:
                    out[segment.cells] = _segment_outputs(segment, weights, buffers, precision)

        run_slices(work, len(self.segments), threads)
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
        if self.segments and wanted != built:
            raise SettingsError(
                f"the plan is for (layers, normalisation, node types) {built} but the predictor "
                f"has {wanted}: build a plan for it"
            )


def _segment(graphs: GraphBatch, cells: NDArray[np.int32], layers: int) -> Segment:
    """Numbers the rows of some cells, layer by layer."""
    members, starts = members_of(cells, graphs.cell_starts)
    along = (graphs.out_starts, graphs.out_nodes, graphs.out_weights)
    against = (graphs.in_starts, graphs.in_nodes, graphs.in_weights)
    lower = graphs.types.astype(np.int32)
    bounds = starts[np.append(np.arange(0, len(cells), CHUNK_CELLS), len(cells))]
    chunk_rows = np.zeros((layers - 1, len(bounds)), np.int64)
    gathers = []
    for layer in range(layers):
        rows = members
        if layer + 1 < layers:
            upper = np.empty(graphs.num_nodes, np.int32)
            rows = distinct_rows(members, lower, *along, *against, upper)
            # Rows are numbered in order of appearance, so the largest yet counts those before.
            seen = np.maximum.accumulate(upper[members])
            chunk_rows[layer, 1:] = seen[bounds[1:] - 1] + 1
        gathers.append(
            Gather(*gather_lists(rows, lower, *along), *gather_lists(rows, lower, *against))
        )
        if layer + 1 < layers:
            lower = upper
    return Segment(cells, tuple(gathers), starts, chunk_rows)


def _segment_outputs(
    segment: Segment,
    weights: GcnWeights,
    buffers: Callable[[str, int, int], NDArray[np.float32]],
    precision: str,
) -> NDArray[np.float32]:
    """Raw outputs for the cells of a segment, in its order."""
    width = weights.width
    # Products of fewer columns than a tile has are not worth a kernel of their own.
    halved = precision == "bfloat16" and 2 * width >= _FEWEST_COLUMNS
    layers = [weights.layer(number) for number in range(weights.settings.layers)]
    head = weights.head()
    rectify = weights.settings.activation == "relu"
    totals = segment.chunk_rows[:, -1].tolist()
    tables = [buffers(f"table {n}", total, 2 * width) for n, total in enumerate(totals)]
    # The first layer reads one-hot inputs: its products are the rows of its matrix.
    tables.insert(0, layers[0][0])
    states = buffers("states", _ROWS, width)
    pairs = buffers("pairs", _ROWS, (width + 1) // 2).view(np.uint32)
    paired = [pair_rows(matrix) if halved else None for matrix, _ in layers]
    sizes = [width, *(matrix.shape[1] for matrix, _ in head[:-1])]
    values = [buffers(f"values {n}", CHUNK_CELLS, size) for n, size in enumerate(sizes)]
    out = np.empty(len(segment.cells), np.float32)
    for chunk, first in enumerate(range(0, len(out), CHUNK_CELLS)):
        last = min(first + CHUNK_CELLS, len(out))
        for layer, (matrix, _) in enumerate(layers[1:]):
            lists, bias = segment.layers[layer].lists, layers[layer][1]
            end = int(segment.chunk_rows[layer, chunk + 1])
            for row in range(int(segment.chunk_rows[layer, chunk]), end, _ROWS):
                stop = min(row + _ROWS, end)
                block = states[: stop - row]
                gather_states(tables[layer], *lists, bias, row, stop, block)
                right = paired[layer + 1]
                if right is None:
                    gemm(block, matrix, tables[layer + 1][row:stop])
                else:
                    pair_columns(block.view(np.uint32), pairs[: stop - row])
                    gemm_bfloat16(pairs[: stop - row], right, tables[layer + 1][row:stop])
        lists, bias = segment.layers[-1].lists, layers[-1][1]
        rows = last - first
        gather_means(tables[-1], *lists, bias, segment.cell_starts, first, last, values[0][:rows])
        for number, (matrix, bias) in enumerate(head[:-1]):
            gemm(values[number][:rows], matrix, values[number + 1][:rows])
            finish_dense(values[number + 1][:rows], bias, rectify)
        matrix, bias = head[-1]
        output_dot(values[-1][:rows], matrix[:, 0], bias[0], out[first:last])
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
