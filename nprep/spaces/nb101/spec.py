"""One specification of a cell, as a person or a search method writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError
from nprep.kernels.nb101.cells import (
    CONV1X1,
    CONV3X3,
    INPUT,
    MAX_EDGES,
    MAX_VERTICES,
    MAXPOOL3X3,
    NUM_OPERATIONS,
    OUTPUT,
    UNUSED,
    key_batch,
)
from nprep.kernels.nb101.md5 import module_hash_batch
from nprep.kernels.nb101.parameters import parameters_batch

# Official names by operation code.
OPERATION_NAMES = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "input", "output")
_CODES = {
    OPERATION_NAMES[code]: code for code in (CONV3X3, CONV1X1, MAXPOOL3X3, INPUT, OUTPUT)
}  # fmt: skip


@dataclass(frozen=True, init=False)
class Spec:
    """A directed acyclic graph with an operation on every vertex, pruned or not.

    Anything that stands for the same numbers gives the same spec: nested lists, arrays of integers,
    floats or booleans. As in the official API, the constructor refuses what is not a graph, while
    what makes a graph no cell of the space (``problem``) is judged after pruning, so a spec may
    have any number of vertices, or an unknown operation on a vertex that leads nowhere.

    Attributes:
        matrix: n x n zeros and ones, strictly upper triangular; a 1 in row i and column j is
            an edge i -> j.
        operations: n official names, "input" first and "output" last.
    """

    matrix: tuple[tuple[int, ...], ...]
    operations: tuple[str, ...]

    def __init__(self, matrix: Any, operations: Sequence[str]) -> None:
        """Checks and normalises a specification.

        Args:
            matrix: A square array or nested sequence of 0 and 1 (or False and True).
            operations: One name for each row of the matrix.

        Raises:
            InvalidSpecError: If the matrix is not square, not strictly upper triangular, holds
                anything but 0 and 1, or its size is not the number of operations.
        """
        object.__setattr__(self, "matrix", _checked_matrix(matrix))
        object.__setattr__(self, "operations", _checked_operations(operations))
        if len(self.matrix) != len(self.operations):
            raise InvalidSpecError(
                f"a spec with a {len(self.matrix)} x {len(self.matrix)} matrix has "
                f"{len(self.operations)} operations; give one for each row."
            )

    @classmethod
    def from_codes(
        cls, adjacency_bits: int, operations: NDArray[np.uint8], num_vertices: int
    ) -> Spec:
        """The spec of one cell of a batch.

        Args:
            adjacency_bits: Bit k is the k-th pair of (0,1),(0,2),..,(5,6).
            operations: (7,) uint8 operation codes.
            num_vertices: 2 to 7.
        """
        size = int(num_vertices)
        matrix = np.zeros((MAX_VERTICES, MAX_VERTICES), np.int64)
        pairs = np.triu_indices(MAX_VERTICES, 1)
        matrix[pairs] = (int(adjacency_bits) >> np.arange(len(pairs[0]))) & 1
        names = [OPERATION_NAMES[code] for code in operations[:size]]
        return cls(matrix[:size, :size], names)

    @property
    def num_vertices(self) -> int:
        """Number of vertices, not pruned."""
        return len(self.operations)

    def _kept(self) -> list[int]:
        """The vertices on a path from the first to the last; empty if there is none."""
        last = self.num_vertices - 1
        forward, backward = {0}, {last}
        for vertex in range(last):
            if vertex in forward:
                forward.update(t for t, edge in enumerate(self.matrix[vertex]) if edge)
        for vertex in reversed(range(last)):
            if any(edge and t in backward for t, edge in enumerate(self.matrix[vertex])):
                backward.add(vertex)
        return sorted(forward & backward) if last in forward else []

    def problem(self) -> str | None:
        """Why this is no cell of the space; None if it is one."""
        kept = self._kept()
        if not kept:
            return "no path leads from its first vertex to its last"
        edges = sum(self.matrix[i][j] for i in kept for j in kept)
        names = [self.operations[vertex] for vertex in kept]
        if len(kept) > MAX_VERTICES:
            return f"it has {len(kept)} vertices after pruning, more than {MAX_VERTICES}"
        if edges > MAX_EDGES:
            return f"it has {edges} edges after pruning, more than {MAX_EDGES}"
        if names[0] != OPERATION_NAMES[INPUT]:
            return f"its first operation is {names[0]!r}, not 'input'"
        if names[-1] != OPERATION_NAMES[OUTPUT]:
            return f"its last operation is {names[-1]!r}, not 'output'"
        known = OPERATION_NAMES[:NUM_OPERATIONS]
        for name in names[1:-1]:
            if name not in known:
                return f"it has the operation {name!r}; known are {', '.join(known)}"
        return None

    def is_valid(self) -> bool:
        """Whether the pruned spec is a cell of the space."""
        return self.problem() is None

    def prune(self) -> Spec:
        """The spec without what does not lie on a path from the first vertex to the last.

        Raises:
            InvalidSpecError: If there is no such path.
        """
        kept = self._kept()
        if not kept:
            raise InvalidSpecError(
                "the spec cannot be pruned: no path leads from its first vertex to its last."
            )
        matrix = [[self.matrix[i][j] for j in kept] for i in kept]
        return Spec(matrix, [self.operations[vertex] for vertex in kept])

    def codes(self) -> tuple[int, NDArray[np.uint8], int]:
        """The pruned cell: adjacency bits, (7,) uint8 operation codes and number of vertices.

        Raises:
            InvalidSpecError: If it is no cell of the space.
        """
        problem = self.problem()
        if problem is not None:
            raise InvalidSpecError(f"the spec is not a cell of NASBench-101: {problem}.")
        pruned = self.prune()
        size = pruned.num_vertices
        codes = np.full(MAX_VERTICES, UNUSED, np.uint8)
        codes[:size] = [_CODES[name] for name in pruned.operations]
        matrix = np.zeros((MAX_VERTICES, MAX_VERTICES), np.int64)
        matrix[:size, :size] = pruned.matrix
        triangle = matrix[np.triu_indices(MAX_VERTICES, 1)]
        return int((triangle << np.arange(len(triangle))).sum()), codes, size

    def _as_batch(self) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
        """The arrays of a batch that holds the pruned cell."""
        bits, codes, size = self.codes()
        return np.array([bits], np.uint32), codes[None], np.array([size], np.uint8)

    def key(self) -> int:
        """The canonical 64-bit key: equal for isomorphic cells only.

        Raises:
            InvalidSpecError: If it is no cell of the space.
        """
        return int(key_batch(*self._as_batch())[0])

    def module_hash(self) -> str:
        """The official module hash, 32 hex characters.

        Raises:
            InvalidSpecError: If it is no cell of the space.
        """
        return module_hash_batch(*self._as_batch())[0].tobytes().hex()

    def trainable_parameters(self) -> int:
        """Trainable parameters of the full network, with the vertices in this spec's order.

        Raises:
            InvalidSpecError: If it is no cell of the space.
        """
        return int(parameters_batch(*self._as_batch())[0])


def _checked_matrix(matrix: Any) -> tuple[tuple[int, ...], ...]:
    """The matrix as tuples of Python ints (see ``Spec``)."""
    try:
        array = np.asarray(matrix)
    except ValueError:
        array = np.empty(0, object)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise InvalidSpecError("the matrix of the spec is not square; give n rows of n values.")
    if len(array) < 2:
        raise InvalidSpecError(
            f"the matrix of the spec is {len(array)} x {len(array)}; a cell has at least an input "
            "and an output."
        )
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise InvalidSpecError("the matrix of the spec holds values other than 0 and 1.")
    if np.tril(array).any():
        raise InvalidSpecError(
            "the matrix of the spec is not strictly upper triangular; number the vertices so that "
            "every edge leads to a higher one."
        )
    return tuple(tuple(int(value) for value in row) for row in array)


def _checked_operations(operations: Sequence[str]) -> tuple[str, ...]:
    """The operations as a tuple of Python strings (see ``Spec``)."""
    names = list(operations) if isinstance(operations, Iterable) else [None]
    if isinstance(operations, str) or not all(isinstance(name, str) for name in names):
        raise InvalidSpecError("the operations of the spec are not a sequence of names.")
    return tuple(str(name) for name in names)
