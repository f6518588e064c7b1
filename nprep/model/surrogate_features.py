"""More structural features of cells, for the surrogate: where operations stand and what they meet.

Like those of ``nprep.spaces.nb101.features``, which come first, they depend on the labelled
graph alone: isomorphic cells have equal features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.spaces.nb101.cells import CellBatch
from nprep.spaces.nb101.features import FEATURE_NAMES as _BASIC_NAMES
from nprep.spaces.nb101.features import structure_features

_OPS = ("conv3x3", "conv1x1", "maxpool3x3")
_MAX_STEPS = 5

# Paths of four or five operations, by how many of each kind they have.
_MIXES = tuple(
    (a, b, length - a - b)
    for length in (4, 5)
    for a in range(length + 1)
    for b in range(length + 1 - a)
)

_EXTRA_NAMES: tuple[str, ...] = (
    *(f"{op}_at_depth_{k}" for op in _OPS for k in range(1, _MAX_STEPS + 1)),
    *(f"{op}_at_height_{k}" for op in _OPS for k in range(1, _MAX_STEPS + 1)),
    *(f"{a}_{b}_{c}" for a in (*_OPS, "input") for b in _OPS for c in (*_OPS, "output")),
    *(f"unavoidable_{op}" for op in _OPS),
    *(f"widest_{op}_to_output" for op in _OPS),
    *("paths_of_{}_{}_{}".format(*mix) for mix in _MIXES),
)

SURROGATE_FEATURE_NAMES: tuple[str, ...] = (*_BASIC_NAMES, *_EXTRA_NAMES)

# Place of a mix among the last features: 16 a + 4 b + (length - 4) would leave gaps; a table is
# simpler. Row a, column b, of length 4 and 5.
_MIX_PLACE = np.full((2, _MAX_STEPS + 1, _MAX_STEPS + 1), -1, np.int64)
for _place, (_a, _b, _c) in enumerate(_MIXES):
    _MIX_PLACE[_a + _b + _c - 4, _a, _b] = _place

_WIDTH = len(_EXTRA_NAMES)
_FIRST_MIX = _WIDTH - len(_MIXES)


@kernel
def _extra_features(
    bits: Integer,
    operations: NDArray[np.uint8],
    n: Integer,
    mix_place: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Writes the features of one pruned cell into ``out``, which is zero."""
    adjacency = np.zeros((7, 7), dtype=np.uint8)
    k = 0
    for a in range(7):
        for b in range(a + 1, 7):
            if b < n and (bits >> k) & 1:
                adjacency[a, b] = 1
            k += 1
    last = n - 1
    depth = np.zeros(7, dtype=np.int64)
    height = np.zeros(7, dtype=np.int64)
    from_input = np.zeros(7, dtype=np.int64)
    to_output = np.zeros(7, dtype=np.int64)
    from_input[0] = 1
    to_output[last] = 1
    for v in range(1, n):
        for u in range(v):
            if adjacency[u, v]:
                depth[v] = max(depth[v], depth[u] + 1)
                from_input[v] += from_input[u]
    for v in range(last - 1, -1, -1):
        for w in range(v + 1, n):
            if adjacency[v, w]:
                height[v] = max(height[v], height[w] + 1)
                to_output[v] += to_output[w]

    outputs = 0
    for v in range(1, last):
        outputs += adjacency[v, last]
    channels = np.zeros(7, dtype=np.float64)
    for v in range(last - 1, 0, -1):
        if adjacency[v, last]:
            channels[v] = 1.0 / outputs
        for w in range(v + 1, last):
            if adjacency[v, w]:
                channels[v] = max(channels[v], channels[w])

    for v in range(1, last):
        op = np.int64(operations[v])
        out[op * _MAX_STEPS + depth[v] - 1] += 1
        out[(3 + op) * _MAX_STEPS + height[v] - 1] += 1
        # All paths lead through v if as many pass it as there are.
        if from_input[v] * to_output[v] == from_input[last]:
            out[6 * _MAX_STEPS + 48 + op] += 1
        if adjacency[v, last]:
            place = 6 * _MAX_STEPS + 51 + op
            out[place] = max(out[place], channels[v])
        for u in range(v):
            if not adjacency[u, v]:
                continue
            for w in range(v + 1, n):
                if adjacency[v, w]:
                    head = np.int64(operations[u])
                    tail = np.int64(operations[w]) if w < last else 3
                    out[6 * _MAX_STEPS + 12 * head + 4 * op + tail] += 1

    # Numbers of paths from the input by how many of each operation they have.
    mixes = np.zeros((7, 6, 6, 6), dtype=np.float32)
    mixes[0, 0, 0, 0] = 1
    for v in range(1, n):
        inner = v < last
        op = np.int64(operations[v])
        more3 = 1 if inner and op == 0 else 0
        more1 = 1 if inner and op == 1 else 0
        more = 1 if inner else 0
        for u in range(v):
            if not adjacency[u, v]:
                continue
            for length in range(depth[u] + 1):
                for a in range(length + 1):
                    for b in range(length + 1 - a):
                        count = mixes[u, length, a, b]
                        if count > 0:
                            mixes[v, length + more, a + more3, b + more1] += count
    for length in range(4, 6):
        for a in range(length + 1):
            for b in range(length + 1 - a):
                out[_FIRST_MIX + mix_place[length - 4, a, b]] = mixes[last, length, a, b]


@kernel
def _extra_batch(
    bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    vertices: NDArray[np.uint8],
    mix_place: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    for i in range(len(bits)):
        _extra_features(np.int64(bits[i]), operations[i], np.int64(vertices[i]), mix_place, out[i])


def surrogate_features(
    cells: CellBatch, trainable_parameters: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Computes the features of many cells.

    Args:
        cells: N pruned cells.
        trainable_parameters: (N,) trainable parameters of the full networks.

    Returns:
        (N, F) float32; the columns are ``SURROGATE_FEATURE_NAMES``.
    """
    extra = np.zeros((len(cells), _WIDTH), dtype=np.float32)
    _extra_batch(cells.adjacency_bits, cells.operations, cells.num_vertices, _MIX_PLACE, extra)
    return np.concatenate([structure_features(cells, trainable_parameters), extra], axis=1)
