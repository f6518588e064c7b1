"""NASBench-101 cells as graphs."""

from __future__ import annotations

import numpy as np

from nprep.kernels.nb101.graphs import ROW, SUM, SYMMETRIC, count_entries, fill_graphs
from nprep.spaces.graphs import GraphBatch, check_normalisation
from nprep.spaces.nb101.cells import CellBatch
from nprep.spaces.nb101.spec import OPERATION_NAMES

_CODES = {"row": ROW, "symmetric": SYMMETRIC, "sum": SUM}


def cell_graphs(cells: CellBatch, normalisation: str = "row") -> GraphBatch:
    """Builds the graphs of cells.

    Args:
        cells: The cells.
        normalisation: "row", "symmetric" or "sum" (see ``nprep.kernels.nb101.graphs``).

    Returns:
        The graphs; a node's type is the operation code of the cell.

    Raises:
        SettingsError: If the normalisation is unknown.
    """
    check_normalisation(normalisation)
    nodes, edges = count_entries(cells.adjacency_bits, cells.num_vertices)
    graphs = GraphBatch(
        types=np.empty(nodes, np.uint8),
        num_types=len(OPERATION_NAMES),
        cell_starts=np.empty(len(cells) + 1, np.int32),
        out_starts=np.empty(nodes + 1, np.int32),
        out_nodes=np.empty(nodes + edges, np.int32),
        out_weights=np.empty(nodes + edges, np.float32),
        in_starts=np.empty(nodes + 1, np.int32),
        in_nodes=np.empty(nodes + edges, np.int32),
        in_weights=np.empty(nodes + edges, np.float32),
    )
    fill_graphs(
        cells.adjacency_bits,
        cells.operations,
        cells.num_vertices,
        _CODES[normalisation],
        graphs.types,
        graphs.cell_starts,
        graphs.out_starts,
        graphs.out_nodes,
        graphs.out_weights,
        graphs.in_starts,
        graphs.in_nodes,
        graphs.in_weights,
    )
    return graphs
