"""Labelled graphs of any size: the module hash, isomorphism and what enumeration needs.

Graphs of the space are faster in ``nprep.spaces.nb101.cells``. Matrices may be lists or arrays
of any type of number: the hash sees Python integers only, where the official one depends on the
type.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def gen_is_edge_fn(bits: int) -> Callable[..., Any]:
    """A vectorised function of (x, y) that is true where ``bits`` has an edge from x to y.

    Args:
        bits: Bit x + y (y - 1) / 2 is the edge from x to y, for x < y.
    """

    def is_edge(x: int, y: int) -> int:
        x, y = int(x), int(y)
        return int(x < y and int(bits) >> (x + y * (y - 1) // 2) & 1)

    return np.vectorize(is_edge)


def is_full_dag(matrix: ArrayLike) -> bool:
    """Whether every vertex but the last has an edge out and every vertex but the first one in."""
    edges = np.asarray(matrix) != 0
    return bool(edges[:-1].any(axis=1).all() and edges[:, 1:].any(axis=0).all())


def num_edges(matrix: ArrayLike) -> int:
    """The number of edges."""
    return int(np.count_nonzero(np.asarray(matrix)))


def hash_module(matrix: ArrayLike, labeling: Sequence[int]) -> str:
    """The module hash: equal for isomorphic labelled graphs.

    Args:
        matrix: (n, n) adjacency matrix.
        labeling: n integers.

    Returns:
        32 hex characters.

    Raises:
        ValueError: The sizes differ.
    """
    edges = np.asarray(matrix) != 0
    size = len(edges)
    if edges.shape != (size, size) or len(labeling) != size:
        raise ValueError("the matrix must be square and have one label for each row")

    def digest(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    incoming = [np.flatnonzero(edges[:, v]).tolist() for v in range(size)]
    outgoing = [np.flatnonzero(edges[v]).tolist() for v in range(size)]
    hashes = [
        digest(str((len(outgoing[v]), len(incoming[v]), int(labeling[v])))) for v in range(size)
    ]
    for _ in range(size):
        hashes = [
            digest(
                "".join(sorted(hashes[w] for w in incoming[v]))
                + "|"
                + "".join(sorted(hashes[w] for w in outgoing[v]))
                + "|"
                + hashes[v]
            )
            for v in range(size)
        ]
    return digest(str(sorted(hashes)))


def permute_graph(
    graph: ArrayLike, label: Sequence[Any], permutation: Sequence[int]
) -> tuple[NDArray[np.int8], list[Any]]:
    """Moves every vertex v to place ``permutation[v]``.

    Args:
        graph: (n, n) adjacency matrix.
        label: n labels.
        permutation: The n places.

    Returns:
        The new matrix, int8, and the new labels.
    """
    source = np.argsort(np.asarray(permutation))
    matrix = np.asarray(graph)[np.ix_(source, source)]
    return (matrix == 1).astype(np.int8), [label[v] for v in source]


def is_isomorphic(
    graph1: tuple[ArrayLike, Sequence[Any]], graph2: tuple[ArrayLike, Sequence[Any]]
) -> bool:
    """Whether two labelled graphs are isomorphic, by trying all permutations.

    Args:
        graph1: Matrix and labels.
        graph2: Matrix and labels.
    """
    matrix1, label1 = np.asarray(graph1[0]), list(graph1[1])
    matrix2, label2 = np.asarray(graph2[0]), list(graph2[1])
    if matrix1.shape != matrix2.shape or len(label1) != len(label2):
        return False
    for permutation in itertools.permutations(range(len(label1))):
        matrix, label = permute_graph(matrix1, label1, permutation)
        if label == label2 and np.array_equal(matrix, matrix2):
            return True
    return False
