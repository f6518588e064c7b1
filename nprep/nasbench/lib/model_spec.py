"""The official ``ModelSpec``: a matrix and operations, pruned when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nprep._optional import need
from nprep.kernels.nb101.cells import MAX_VERTICES, UNUSED
from nprep.kernels.nb101.md5 import module_hash_batch
from nprep.nasbench.lib.graph_util import hash_module

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "input", "output")
_CODES = {name: code for code, name in enumerate(OPERATIONS)}
_AVAILABLE = list(OPERATIONS[:3])


class ModelSpec:
    """A cell, given as an adjacency matrix and a list of operations.

    What does not lie on a path from the first vertex to the last is removed from ``matrix`` and
    ``ops``; ``original_matrix`` and ``original_ops`` keep it. All four are copies.

    Attributes:
        original_matrix: (V, V) array, as given.
        original_ops: V names, as given.
        matrix: The pruned matrix, or None if the last vertex cannot be reached.
        ops: Its operations, or None.
        valid_spec: Whether the last vertex can be reached.
        data_format: As given.
    """

    def __init__(
        self, matrix: ArrayLike, ops: Sequence[str], data_format: str = "channels_last"
    ) -> None:
        """Checks and prunes a spec.

        Args:
            matrix: (V, V) of 0 and 1, of any type of number, strictly upper triangular.
            ops: V names, "input" first and "output" last.
            data_format: "channels_last" or "channels_first"; kept, of no effect here.

        Raises:
            ValueError: The matrix is not square, not strictly upper triangular, holds something
                other than 0 and 1, or has another size than ``ops``.
        """
        original = np.array(matrix)
        if original.ndim != 2 or original.shape[0] != original.shape[1]:
            raise ValueError("matrix must be square")
        if len(original) != len(ops):
            raise ValueError("length of ops must match matrix dimensions")
        rows = original.tolist()
        # Vertex v's successors as bits of an integer.
        successors = []
        for source, row in enumerate(rows):
            mask = 0
            for target, value in enumerate(row):
                if value == 1:
                    if target <= source:
                        raise ValueError("matrix must be upper triangular")
                    mask |= 1 << target
                elif not isinstance(value, int | float) or value != value:
                    raise ValueError(f"matrix must hold 0 and 1, not {value!r}")
                elif value != 0:
                    if target <= source:
                        raise ValueError("matrix must be upper triangular")
                    raise ValueError(f"matrix must hold 0 and 1, not {value!r}")
            successors.append(mask)
        self.original_matrix = original
        self.original_ops = list(ops)
        self.data_format = data_format
        self.matrix: NDArray[Any] | None = None
        self.ops: list[str] | None = None
        kept = _kept_vertices(successors)
        self.valid_spec = len(kept) >= 2
        if not self.valid_spec:
            return
        if len(kept) == len(original):
            self.matrix = original.copy()
            self.ops = list(ops)
        else:
            self.matrix = original[np.ix_(kept, kept)]
            self.ops = [ops[vertex] for vertex in kept]

    def hash_spec(self, canonical_ops: Sequence[str]) -> str:
        """The isomorphism-invariant hash of the pruned cell.

        Args:
            canonical_ops: The operations in their canonical order: ``config["available_ops"]`` for
                the hashes of the data set.

        Returns:
            32 hex characters.

        Raises:
            ValueError: The spec is disconnected, or has an operation not in ``canonical_ops``.
        """
        if self.matrix is None or self.ops is None:
            raise ValueError("the spec is disconnected, so it has no hash")
        if len(self.ops) <= MAX_VERTICES and list(canonical_ops) == _AVAILABLE:
            bits, codes, size = pack_cell(self.matrix, self.ops)
            arrays = np.array([bits], np.uint32), codes[None], np.array([size], np.uint8)
            # First and last operation are not looked at, as in the official hash.
            return module_hash_batch(*arrays)[0].tobytes().hex()
        canonical = list(canonical_ops)
        labels = [-1, *(canonical.index(op) for op in self.ops[1:-1]), -2]
        return hash_module(self.matrix, labels)

    def visualize(self) -> Any:
        """The pruned cell as a ``graphviz.Digraph``.

        Raises:
            MissingDependencyError: graphviz cannot be imported.
            ValueError: The spec is disconnected.
        """
        if self.matrix is None or self.ops is None:
            raise ValueError("the spec is disconnected, so there is nothing to draw")
        graph = need("graphviz", "draw a cell with ModelSpec.visualize").Digraph()
        names = ["input", *self.ops[1:-1], "output"]
        for vertex, name in enumerate(names):
            graph.node(str(vertex), name)
        for source, target in np.argwhere(self.matrix).tolist():
            graph.edge(str(source), str(target))
        return graph


def _kept_vertices(successors: list[int]) -> list[int]:
    """The vertices on a path from the first to the last, ascending; empty if there is none."""
    size = len(successors)
    if size < 2:
        return []
    forward = 1
    for vertex in range(size - 1):
        if forward >> vertex & 1:
            forward |= successors[vertex]
    backward = 1 << (size - 1)
    for vertex in range(size - 2, -1, -1):
        if successors[vertex] & backward:
            backward |= 1 << vertex
    kept = forward & backward
    if not forward >> (size - 1) & 1:
        return []
    return [vertex for vertex in range(size) if kept >> vertex & 1]


def pack_cell(matrix: NDArray[Any], ops: Sequence[str]) -> tuple[int, NDArray[np.uint8], int]:
    """A pruned cell of at most 7 vertices as the kernels take it.

    Args:
        matrix: (V, V), strictly upper triangular.
        ops: V names; the first and the last are taken to be input and output.

    Returns:
        Adjacency bits, (7,) uint8 operation codes, number of vertices.

    Raises:
        ValueError: An operation is unknown.
    """
    size = len(ops)
    bits = 0
    for source, row in enumerate(matrix.tolist()):
        start = source * (13 - source) // 2 - source - 1
        for target in range(source + 1, size):
            if row[target]:
                bits |= 1 << (start + target)
    codes = np.full(MAX_VERTICES, UNUSED, np.uint8)
    codes[0] = _CODES["input"]
    for vertex in range(1, size - 1):
        code = _CODES.get(ops[vertex], UNUSED)
        if code > 2:
            raise ValueError(f"{ops[vertex]!r} is not in the list of operations")
        codes[vertex] = code
    codes[size - 1] = _CODES["output"]
    return bits, codes, size


def is_upper_triangular(matrix: ArrayLike) -> bool:
    """Whether a matrix is 0 on and below its diagonal."""
    return not np.tril(np.asarray(matrix)).any()
