"""Random cells for the tests of the predictors."""

from __future__ import annotations

import numpy as np

from nprep.spaces.nb101.cells import CellBatch


def random_cells(
    count: int, seed: int, smallest: int = 2, largest: int = 7, chain: bool = True
) -> CellBatch:
    """Connected cells of mixed sizes; labels of their vertices are random.

    With ``chain`` a path goes through all vertices; without, each vertex hangs on input and output,
    so that vertices can swap places.
    """
    rng = np.random.default_rng(seed)
    bits = np.zeros(count, np.uint32)
    operations = np.full((count, 7), 255, np.uint8)
    sizes = rng.integers(smallest, largest + 1, count).astype(np.uint8)
    for row in range(count):
        size = int(sizes[row])
        matrix = np.triu(rng.random((7, 7)) < (0.4 if chain else 0.15), 1)
        matrix[size:] = False
        matrix[:, size:] = False
        for vertex in range(size - 1):
            matrix[vertex, vertex + 1 if chain else size - 1] = True
            matrix[0 if not chain else vertex, vertex + 1] = True
        bits[row] = sum(1 << k for k, edge in enumerate(matrix[np.triu_indices(7, 1)]) if edge)
        operations[row, 0] = 3
        operations[row, 1 : size - 1] = rng.integers(0, 3, size - 2)
        operations[row, size - 1] = 4
    return CellBatch(bits, operations, sizes)
