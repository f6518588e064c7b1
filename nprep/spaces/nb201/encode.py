"""Encodings of NAS-Bench-201 for predictors: paths and graphs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.spaces.choices import Codes
from nprep.spaces.nb201.strings import (
    EDGES,
    NONE,
    NUM_EDGES,
    NUM_NODES,
    NUM_OPERATIONS,
)

# The ways from input to output, as positions in EDGES, shortest first.
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
# Sequences of one, two and three operations other than "none".
_REAL = NUM_OPERATIONS - 1
PATH_LENGTH = _REAL + _REAL**2 + _REAL**3

# Nodes of an architecture's graph: the input, one for each edge of the cell, the output. Operation
# codes serve as types of nodes.
INPUT_TYPE = NUM_OPERATIONS
OUTPUT_TYPE = NUM_OPERATIONS + 1
NUM_TYPES = NUM_OPERATIONS + 2
NUM_GRAPH_NODES = NUM_EDGES + 2


def encode_paths(batch: Codes) -> NDArray[np.float32]:
    """Which sequences of operations lead from the input to the output: (N, 84) float32.

    The encoding of BANANAS (White et al., AAAI 2021). Sequences are numbered from the shortest up,
    and those of one length by their operations, the first operation varying fastest. A way with the
    operation "none" leads nowhere and is left out: naszilla, the program of that paper, gives it
    numbers of its own, 155 in all.
    """
    out = np.zeros((len(batch), PATH_LENGTH), np.float32)
    starts = {1: 0, 2: _REAL, 3: _REAL + _REAL**2}
    for path in PATHS:
        operations = batch.values[:, path].astype(np.int64)
        leads = (operations != NONE).all(axis=1)
        number = starts[len(path)] + (operations - 1) @ (_REAL ** np.arange(len(path)))
        out[np.flatnonzero(leads), number[leads]] = 1.0
    return out


def graph_types(batch: Codes) -> NDArray[np.uint8]:
    """Types of the nodes of the graphs: (N, 8) uint8."""
    types = np.empty((len(batch), NUM_GRAPH_NODES), np.uint8)
    types[:, 0] = INPUT_TYPE
    types[:, 1:-1] = batch.values
    types[:, -1] = OUTPUT_TYPE
    return types


def graph_nodes(batch: Codes) -> NDArray[np.bool_]:
    """Which nodes of the graphs are there: (N, 8) bool.

    An operation "none" is left out, and so is whatever then lies on no way from the input to the
    output, as NASBench-101 prunes its cells. Input and output always stay.
    """
    adjacency = graph_adjacency().astype(np.int64)
    there = graph_types(batch) != NONE
    ahead = np.zeros_like(there)
    back = np.zeros_like(there)
    ahead[:, 0] = back[:, -1] = True
    # A way has at most as many steps as the cell has nodes.
    for _ in range(NUM_NODES):
        ahead |= (ahead @ adjacency > 0) & there
        back |= (back @ adjacency.T > 0) & there
    there &= ahead & back
    there[:, 0] = there[:, -1] = True
    return there


def graph_adjacency() -> NDArray[np.uint8]:
    """The adjacency that the graphs share: (8, 8) uint8, 1 at [i, j] for an edge from i to j.

    What is an edge in the cell is a node here, as in GATES (Ning et al., ECCV 2020) and naszilla:
    two of them are joined where the one ends at the node at which the other begins.
    """
    # The input begins at no node of the cell and the output ends at none.
    tails = [-1, *(tail for tail, _ in EDGES), NUM_NODES - 1]
    heads = [0, *(head for _, head in EDGES), -2]
    return np.array([[int(head == tail) for tail in tails] for head in heads], np.uint8)
