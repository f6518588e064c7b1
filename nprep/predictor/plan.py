"""Inference with shared sub-computations: the plan of a set of graphs, and its use.

Nodes that gather the same rows share the sum, so a layer's matrix product is needed once for each
distinct sum, and cheap additions and gathers do the rest (see ``nprep.kernels.graphs.infer``). The
plan depends on the graphs, their normalisation and the number of layers: build it once, use it for
every predictor. Graphs that share much follow each other, and products stay in buffers of a few
megabytes, whatever the number of graphs: the plan knows beforehand which are needed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.graphs.infer import ROWS, run_schedule
from nprep.kernels.graphs.plan import sort_keys
from nprep.kernels.numeric.gemm_bfloat16 import pair_rows
from nprep.kernels.threads import run_slices
from nprep.predictor.gathers import Segment, expand
from nprep.predictor.gcn import GcnWeights, head_sizes
from nprep.predictor.plan_building import LARGEST, build_schedule, coded_directions
from nprep.predictor.schedule import Schedule
from nprep.predictor.workspace import Workspace
from nprep.spaces.graphs import HasGraphs

# Graphs of a part that a thread handles alone, where there are enough: parts share no sums.
PART_GRAPHS = 220_000


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
        if graphs.largest > LARGEST // 2:
            raise SettingsError(
                f"a graph has {graphs.largest} nodes; predictors take at most {LARGEST // 2}."
            )
        keys = sort_keys(graphs.types, graphs.cell_starts, graphs.out_starts, graphs.out_nodes)
        order = np.lexsort(keys[::-1]).astype(np.int32)
        palette, along, against = coded_directions(graphs)
        parts = max(1, round(len(graphs) / part_graphs))
        schedules = tuple(
            build_schedule(graphs, along, against, part, layers)
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
