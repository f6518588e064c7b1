"""Slow, obvious versions of the kernels of the space: plain Python on lists of lists.

A cell here is a pair of a matrix (list of rows of 0 and 1) and a list of official operation names.
Nothing is shared with the code under test.
"""

from __future__ import annotations

import hashlib
import itertools

import numpy as np

Matrix = list[list[int]]
Cell = tuple[Matrix, list[str]]

INTERIOR = ["conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"]
CODES = {name: code for code, name in enumerate([*INTERIOR, "input", "output"])}
PAIRS = [(i, j) for i in range(7) for j in range(i + 1, 7)]


def pack(cell: Cell) -> tuple[int, list[int], int]:
    """Adjacency bits, 7 operation codes and number of vertices."""
    matrix, operations = cell
    size = len(operations)
    bits = sum(1 << k for k, (i, j) in enumerate(PAIRS) if j < size and matrix[i][j])
    codes = [CODES.get(name, 77) for name in operations] + [255] * (7 - size)
    return bits, codes, size


def pack_many(cells: list[Cell]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arrays of a batch."""
    packed = [pack(cell) for cell in cells]
    return (
        np.array([bits for bits, _, _ in packed], np.uint32),
        np.array([codes for _, codes, _ in packed], np.uint8).reshape(-1, 7),
        np.array([size for _, _, size in packed], np.uint8),
    )


def unpack(bits: int, codes: np.ndarray, size: int) -> Cell:
    """The inverse of ``pack``."""
    matrix = [[0] * size for _ in range(size)]
    for k, (i, j) in enumerate(PAIRS):
        if j < size:
            matrix[i][j] = int(bits) >> k & 1
    names = [*INTERIOR, "input", "output"]
    return matrix, [names[code] for code in codes[:size]]


def paths(matrix: Matrix, start: int, end: int) -> list[list[int]]:
    """All paths between two vertices."""
    if start == end:
        return [[end]]
    found = []
    for following in range(len(matrix)):
        if matrix[start][following]:
            found += [[start, *path] for path in paths(matrix, following, end)]
    return found


def prune(cell: Cell) -> Cell | None:
    """Keeps the vertices on a path from input to output; None if there is no path."""
    matrix, operations = cell
    kept = sorted({v for path in paths(matrix, 0, len(operations) - 1) for v in path})
    if not kept:
        return None
    return [[matrix[i][j] for j in kept] for i in kept], [operations[v] for v in kept]


def validity(cell: Cell) -> str:
    """The first reason, in the official order, why a spec is invalid; "valid" if there is none."""
    pruned = prune(cell)
    if pruned is None:
        return "disconnected"
    matrix, operations = pruned
    if len(operations) > 7:
        return "vertices"
    if sum(map(sum, matrix)) > 9:
        return "edges"
    if operations[0] != "input":
        return "input"
    if operations[-1] != "output":
        return "output"
    if any(name not in INTERIOR for name in operations[1:-1]):
        return "operation"
    return "valid"


def module_hash(cell: Cell) -> str:
    """The official hash of a pruned cell."""
    matrix, operations = cell
    size = len(operations)
    labels = [{"input": -1, "output": -2}.get(name, CODES[name]) for name in operations]
    incoming = [[u for u in range(size) if matrix[u][v]] for v in range(size)]
    outgoing = [[w for w in range(size) if matrix[v][w]] for v in range(size)]

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    hashes = [md5(str((len(outgoing[v]), len(incoming[v]), labels[v]))) for v in range(size)]
    for _ in range(size):
        hashes = [
            md5(
                "".join(sorted(hashes[u] for u in incoming[v]))
                + "|"
                + "".join(sorted(hashes[w] for w in outgoing[v]))
                + "|"
                + hashes[v]
            )
            for v in range(size)
        ]
    return md5(str(sorted(hashes)))


def permute(cell: Cell, order: list[int]) -> Cell | None:
    """Puts vertex ``order[v]`` at place v; None if an edge would then lead downwards."""
    matrix, operations = cell
    moved = [[matrix[i][j] for j in order] for i in order]
    if any(moved[i][j] for i in range(len(order)) for j in range(i + 1)):
        return None
    return moved, [operations[v] for v in order]


def arrangements(cell: Cell) -> list[Cell]:
    """All upper-triangular arrangements of a cell's interior vertices, itself first."""
    size = len(cell[1])
    orders = itertools.permutations(range(1, size - 1))
    moved = [permute(cell, [0, *order, size - 1]) for order in orders]
    return [other for other in moved if other is not None]


def isomorphic(one: Cell, other: Cell) -> bool:
    """Whether some arrangement of one cell is the other."""
    return len(one[1]) == len(other[1]) and other in arrangements(one)


def enumerate_cells(max_vertices: int) -> list[Cell]:
    """All cells of at most so many vertices: every matrix, every labelling, one of each class."""
    found: list[Cell] = []
    known: set[str] = set()
    for size in range(2, max_vertices + 1):
        pairs = [(x, y) for y in range(size) for x in range(y)]
        for mask in range(1 << len(pairs)):
            matrix = [[0] * size for _ in range(size)]
            for k, (x, y) in enumerate(pairs):
                matrix[x][y] = mask >> k & 1
            for names in itertools.product(INTERIOR, repeat=size - 2):
                cell = (matrix, ["input", *names, "output"])
                if sum(map(sum, matrix)) > 9 or prune(cell) != cell:
                    break
                if repr(cell) not in known:
                    found.append(cell)
                    known.update(repr(other) for other in arrangements(cell))
    return found


def layers(cell: Cell) -> list[tuple[str, int, int, int]]:
    """The layers of the full network that have parameters: kind, kernel size, channels in, out.

    Every vertex is built as the official code builds it, from the tensors that it receives.
    """
    built = [("conv", 3, 3, 128)]
    width = 128
    for stack in range(3):
        for number in range(3):
            given = width // 2 if stack > 0 and number == 0 else width
            built += cell_layers(cell, given, width)
        width *= 2 if stack < 2 else 1
    return [*built, ("dense", 1, width, 10)]


def cell_layers(cell: Cell, given: int, width: int) -> list[tuple[str, int, int, int]]:
    """The layers of one cell that takes ``given`` channels and returns ``width``."""
    matrix, operations = cell
    last = len(operations) - 1
    # Shares of the output: dealt out one channel at a time to the vertices that feed it.
    feeders = [v for v in range(1, last) if matrix[v][last]]
    channels = {v: 0 for v in feeders}
    for channel in range(width if feeders else 0):
        channels[feeders[channel % len(feeders)]] += 1
    for v in range(last - 1, 0, -1):
        if v not in channels:
            channels[v] = max(channels[t] for t in range(v + 1, last) if matrix[v][t])
    built = []
    for v in range(1, last):
        if matrix[0][v]:
            built.append(("conv", 1, given, channels[v]))
        if operations[v] != "maxpool3x3":
            size = 3 if operations[v] == "conv3x3-bn-relu" else 1
            built.append(("conv", size, channels[v], channels[v]))
    if matrix[0][last]:
        built.append(("conv", 1, given, width))
    return built


def parameters(cell: Cell) -> int:
    """Trainable parameters of the full network of a cell."""
    total = 0
    for kind, size, channels_in, channels_out in layers(cell):
        weights = size * size * channels_in * channels_out
        # A convolution is normalised (scale and offset), a dense layer has a bias.
        total += weights + (2 * channels_out if kind == "conv" else channels_out)
    return total


def padded(matrix: Matrix) -> np.ndarray:
    """The matrix as (7, 7) float64 with zeros around."""
    out = np.zeros((7, 7))
    out[: len(matrix), : len(matrix)] = matrix
    return out


def one_hot(cell: Cell) -> np.ndarray:
    """(7, 5): input, conv1x1, conv3x3, max-pool, output."""
    columns = ["input", "conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3", "output"]
    out = np.zeros((7, 5))
    for v, name in enumerate(cell[1]):
        out[v, columns.index(name)] = 1
    return out


def averaging(matrix: np.ndarray) -> np.ndarray:
    """D^-1 (A + I)."""
    looped = matrix + np.eye(len(matrix))
    return np.diag(1 / looped.sum(axis=1)) @ looped


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """D_out^-1/2 (A + I) D_in^-1/2."""
    looped = matrix + np.eye(len(matrix))
    out, into = looped.sum(axis=1), looped.sum(axis=0)
    return np.diag(out**-0.5) @ looped @ np.diag(into**-0.5)


def xoshiro(state: list[int]) -> int:
    """xoshiro256** on Python integers, from its authors' C code; changes ``state``."""
    mask = 2**64 - 1

    def rotl(x: int, k: int) -> int:
        return (x << k | x >> (64 - k)) & mask

    result = rotl(state[1] * 5 & mask, 7) * 9 & mask
    t = state[1] << 17 & mask
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= t
    state[3] = rotl(state[3], 45)
    return result


def bounded(state: list[int], n: int) -> int:
    """A uniform integer from 0 to n - 1 by 32 random bits; rejection keeps it without bias.

    Of the 2^32 words, the first 2^32 mod n of a fraction's low half are rejected (Lemire, 2019).
    """
    while True:
        product = (xoshiro(state) >> 32) * n
        if product % 2**32 >= 2**32 % n:
            return product // 2**32


def random_spec(state: list[int]) -> Cell:
    """The official sampler: fair coins for the 21 pairs until the graph is valid, then operations.

    A 64-bit word gives the coins of two attempts, lowest bits first; one number from 0 to 242 gives
    the five operations, the first one by its remainder modulo 3.
    """
    while True:
        word = xoshiro(state)
        for attempt in range(2):
            bits = word >> 21 * attempt
            spec = unpack(bits, np.array([3, 0, 0, 0, 0, 0, 4]), 7)
            if validity(spec) == "valid":
                labels = bounded(state, 3**5)
                names = [INTERIOR[labels // 3**place % 3] for place in range(5)]
                return spec[0], ["input", *names, "output"]
