"""Moving about in NAS-Bench-201: sampling, mutation, neighbours, keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.spaces.nb201.strings import (
    EDGES,
    NUM_EDGES,
    NUM_NODES,
    NUM_OPERATIONS,
    SIZE,
    StringBatch,
    from_ranks,
    ranks,
)

# The authors' mutation draws a node, then one of its edges, so edges into node 1 change most often.
_EDGE_PROBABILITIES = np.array([1 / (NUM_NODES - 1) / head for _, head in EDGES])

_SPLITMIX = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)))


def keys(batch: StringBatch) -> NDArray[np.uint64]:
    """Keys (N,) uint64, one for each of the 15,625 strings, none of them 0.

    Each string was trained by itself, so architectures that are the same function
    (:mod:`nprep.spaces.nb201.canonical`) have different keys. The bits are mixed (splitmix64), as
    a look-up by low bits wants them.
    """
    z = (ranks(batch).astype(np.uint64) + np.uint64(1)) * _SPLITMIX[0]
    z = (z ^ (z >> np.uint64(30))) * _SPLITMIX[1]
    z = (z ^ (z >> np.uint64(27))) * _SPLITMIX[2]
    return z ^ (z >> np.uint64(31))


def sample(count: int, rng: np.random.Generator) -> StringBatch:
    """Draws ``count`` architectures uniformly, with repetition."""
    return from_ranks(rng.integers(SIZE, size=count))


def mutate(parents: StringBatch, rng: np.random.Generator) -> StringBatch:
    """Draws one child of each parent: one edge gets another operation.

    As in the authors' regularized evolution (``regularized_ea.py`` of AutoDL-Projects) a node is
    drawn first, then one of the edges into it, then one of the four other operations.
    """
    count = len(parents)
    edges = rng.choice(NUM_EDGES, size=count, p=_EDGE_PROBABILITIES)
    shifts = rng.integers(1, NUM_OPERATIONS, size=count)
    codes = parents.codes.copy()
    at = np.arange(count)
    codes[at, edges] = (codes[at, edges] + shifts) % NUM_OPERATIONS
    return StringBatch(codes)


def neighbours(batch: StringBatch) -> StringBatch:
    """The 24 architectures that differ in one edge from the one of a batch of one.

    They are ordered by edge, then by operation code.
    """
    own = batch.codes[0]
    codes = np.repeat(batch.codes[:1], NUM_EDGES * (NUM_OPERATIONS - 1), axis=0)
    row = 0
    for edge in range(NUM_EDGES):
        for code in range(NUM_OPERATIONS):
            if code != own[edge]:
                codes[row, edge] = code
                row += 1
    return StringBatch(codes)
