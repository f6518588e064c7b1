"""The official module hash of NASBench-101, bit for bit, with MD5 on 16 messages at a time.

The hash of a cell with n vertices takes n rounds of one MD5 per vertex, each over the sorted hex
digests of the vertex's neighbours, and one MD5 over all digests: about 120 blocks of 64 bytes. The
messages of a chunk of cells are grouped by their number of blocks, and a group is computed when it
is full.

Source: https://github.com/google-research/nasbench (lib/graph_util.py, ``hash_module``).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import INPUT, MAX_VERTICES, OUTPUT, out_mask
from nprep.kernels.nb101.md5_lanes import (
    LANES,
    START_WORDS,
    compress,
    emit,
    finish,
    hex_word,
    swap_bytes,
)
from nprep.kernels.threads import run_slices

_CHUNK = 128  # Cells whose digests are kept together; all of a chunk's state stays in the L2 cache.
_MIN_BLOCKS = 2  # A vertex with one neighbour: 32 + 34 bytes and the padding.
_MAX_BLOCKS = 5  # The last message of a cell with 7 vertices.
_GROUP_WORDS = 16 * _MAX_BLOCKS * LANES


@kernel
def _store_digest(
    texts: NDArray[np.uint64],
    ranks: NDArray[np.uint64],
    place: Integer,
    a: Integer,
    b: Integer,
    c: Integer,
    d: Integer,
) -> None:
    """Keeps a digest (4 uint32 words) as hex text and as two words that sort like the text."""
    texts[4 * place] = hex_word(a)
    texts[4 * place + 1] = hex_word(b)
    texts[4 * place + 2] = hex_word(c)
    texts[4 * place + 3] = hex_word(d)
    ranks[2 * place] = (swap_bytes(a) << np.uint64(32)) | swap_bytes(b)
    ranks[2 * place + 1] = (swap_bytes(c) << np.uint64(32)) | swap_bytes(d)


@kernel
def _sort_neighbours(
    neighbours: NDArray[np.uint8],
    start: Integer,
    stop: Integer,
    ranks: NDArray[np.uint64],
    at: Integer,
) -> None:
    """Sorts the vertices ``neighbours[start:stop]`` of the cell at ``at`` by digest, in place."""
    for i in range(start + 1, stop):
        moved = neighbours[i]
        first, second = ranks[2 * (at + moved)], ranks[2 * (at + moved) + 1]
        j = i - 1
        while j >= start:
            other = 2 * (at + neighbours[j])
            if ranks[other] < first or (ranks[other] == first and ranks[other + 1] <= second):
                break
            neighbours[j + 1] = neighbours[j]
            j -= 1
        neighbours[j + 1] = moved


@kernel
def _write_vertex(
    words: NDArray[np.uint32],
    group: Integer,
    lane: Integer,
    blocks: Integer,
    neighbours: NDArray[np.uint8],
    start: Integer,
    incoming: Integer,
    outgoing: Integer,
    texts: NDArray[np.uint64],
    at: Integer,
    vertex: Integer,
) -> None:
    """Writes the message of a vertex: in-neighbours | out-neighbours | own digest."""
    bar = np.uint64(0x7C)
    position = group + lane
    for i in range(start, start + incoming):
        text = 4 * (at + neighbours[i])
        for part in range(4):
            position = emit(words, position, texts[text + part])
    # Each bar moves what follows by one byte.
    carry = bar
    for i in range(start + incoming, start + incoming + outgoing):
        text = 4 * (at + neighbours[i])
        for part in range(4):
            word = texts[text + part]
            position = emit(words, position, (word << np.uint64(8)) | carry)
            carry = word >> np.uint64(56)
    carry |= bar << np.uint64(8)
    text = 4 * (at + vertex)
    for part in range(4):
        word = texts[text + part]
        position = emit(words, position, (word << np.uint64(16)) | carry)
        carry = word >> np.uint64(48)
    position = emit(words, position, carry | (np.uint64(0x80) << np.uint64(16)))
    finish(words, position, group + lane, blocks, 32 * (incoming + outgoing) + 34)


@kernel
def _write_cell(
    words: NDArray[np.uint32],
    group: Integer,
    lane: Integer,
    blocks: Integer,
    order: NDArray[np.uint8],
    size: Integer,
    texts: NDArray[np.uint64],
    at: Integer,
) -> None:
    """Writes Python's text of the sorted list of digests: ['..', '..']."""
    position = group + lane
    carry = np.uint64(0x275B)  # ['
    between = np.uint64(0x27202C27)  # ', '
    for i in range(size):
        # An element and what stands between two take 36 bytes, so the offset alternates.
        shift = np.uint64(16) if i % 2 == 0 else np.uint64(48)
        text = 4 * (at + order[i])
        for part in range(4):
            word = texts[text + part]
            position = emit(words, position, (word << shift) | carry)
            carry = word >> (np.uint64(64) - shift)
        if i + 1 < size:
            carry |= between << shift
            if i % 2 == 1:
                position = emit(words, position, carry)
                carry = between >> np.uint64(16)
    end = np.uint64(0x805D27)  # '] and the end mark
    if size % 2 == 1:
        position = emit(words, position, carry | (end << np.uint64(16)))
    else:
        position = emit(words, position, carry | (end << np.uint64(48)))
        position = emit(words, position, end >> np.uint64(16))
    finish(words, position, group + lane, blocks, 36 * size)


@kernel
def _digest_group(words: NDArray[np.uint32], blocks: Integer, state: NDArray[np.uint32]) -> None:
    """Computes the digests of the 16 messages of the group for ``blocks`` into ``state``."""
    for i in range(4 * LANES):
        state[i] = START_WORDS[i]
    for block in range(blocks):
        compress(words, blocks * _GROUP_WORDS + block * 16 * LANES, state)


@kernel
def _flush_vertices(
    words: NDArray[np.uint32],
    blocks: Integer,
    filled: Integer,
    targets: NDArray[np.int32],
    state: NDArray[np.uint32],
    texts: NDArray[np.uint64],
    ranks: NDArray[np.uint64],
) -> None:
    """Computes a group and stores its digests at ``targets``."""
    _digest_group(words, blocks, state)
    for lane in range(filled):
        _store_digest(
            texts, ranks, targets[blocks * LANES + lane],
            state[lane], state[LANES + lane], state[2 * LANES + lane], state[3 * LANES + lane],
        )  # fmt: skip


@kernel
def _flush_cells(
    words: NDArray[np.uint32],
    blocks: Integer,
    filled: Integer,
    targets: NDArray[np.int32],
    state: NDArray[np.uint32],
    out: NDArray[np.uint32],
) -> None:
    """Computes a group and writes its digests to the rows ``targets`` of ``out``."""
    _digest_group(words, blocks, state)
    for lane in range(filled):
        for word in range(4):
            out[targets[blocks * LANES + lane], word] = state[word * LANES + lane]


@kernel
def _prepare_cell(
    bits: Integer,
    operations: NDArray[np.uint8],
    row: Integer,
    size: Integer,
    first_texts: NDArray[np.uint64],
    first_ranks: NDArray[np.uint64],
    neighbours: NDArray[np.uint8],
    degrees: NDArray[np.uint8],
    texts: NDArray[np.uint64],
    ranks: NDArray[np.uint64],
    at: Integer,
) -> None:
    """Lists the neighbours of every vertex, ingoing first, and looks up the first digests."""
    for vertex in range(size):
        start = (at + vertex) * MAX_VERTICES
        incoming = 0
        for source in range(vertex):
            if (out_mask(bits, source) >> vertex) & 1:
                neighbours[start + incoming] = source
                incoming += 1
        outgoing = 0
        for target in range(vertex + 1, size):
            if (out_mask(bits, vertex) >> target) & 1:
                neighbours[start + incoming + outgoing] = target
                outgoing += 1
        degrees[2 * (at + vertex)] = incoming
        degrees[2 * (at + vertex) + 1] = outgoing
        entry = (outgoing * 7 + incoming) * 5 + operations[row, vertex]
        for part in range(4):
            texts[4 * (at + vertex) + part] = first_texts[entry, part]
        for part in range(2):
            ranks[2 * (at + vertex) + part] = first_ranks[entry, part]


@kernel
def _hash_cells(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
    first_texts: NDArray[np.uint64],
    first_ranks: NDArray[np.uint64],
    out: NDArray[np.uint32],
) -> None:
    """Writes the module hashes of N pruned cells to ``out``, (N, 4) uint32.

    The arrays of a chunk are flat and passed whole: a view per vertex would cost more than the MD5.
    """
    places = _CHUNK * MAX_VERTICES
    neighbours = np.empty(places * MAX_VERTICES, np.uint8)
    degrees = np.empty(places * 2, np.uint8)
    texts = np.empty(places * 4, np.uint64)
    ranks = np.empty(places * 2, np.uint64)
    next_texts = np.empty_like(texts)
    next_ranks = np.empty_like(ranks)
    words = np.zeros((_MAX_BLOCKS + 1) * _GROUP_WORDS, np.uint32)
    targets = np.zeros((_MAX_BLOCKS + 1) * LANES, np.int32)
    filled = np.zeros(_MAX_BLOCKS + 1, np.int64)
    state = np.empty(4 * LANES, np.uint32)
    order = np.empty(MAX_VERTICES, np.uint8)
    for begin in range(0, len(adjacency_bits), _CHUNK):
        count = min(_CHUNK, len(adjacency_bits) - begin)
        rounds = np.int64(0)
        for i in range(count):
            size = np.int64(num_vertices[begin + i])
            if size > rounds:
                rounds = size
            _prepare_cell(
                adjacency_bits[begin + i], operations, begin + i, size, first_texts, first_ranks,
                neighbours, degrees, texts, ranks, i * MAX_VERTICES,
            )  # fmt: skip
        for turn in range(rounds):
            for i in range(count):
                size = np.int64(num_vertices[begin + i])
                at = i * MAX_VERTICES
                if turn >= size:
                    # A finished cell only follows the change of buffers.
                    for part in range(4 * at, 4 * (at + size)):
                        next_texts[part] = texts[part]
                    for part in range(2 * at, 2 * (at + size)):
                        next_ranks[part] = ranks[part]
                    continue
                for vertex in range(size):
                    place = at + vertex
                    start = place * MAX_VERTICES
                    incoming = np.int64(degrees[2 * place])
                    outgoing = np.int64(degrees[2 * place + 1])
                    total = incoming + outgoing
                    _sort_neighbours(neighbours, start, start + incoming, ranks, at)
                    _sort_neighbours(neighbours, start + incoming, start + total, ranks, at)
                    blocks = (32 * total + 34 + 9 + 63) >> 6
                    lane = filled[blocks]
                    _write_vertex(
                        words, blocks * _GROUP_WORDS, lane, blocks, neighbours, start, incoming,
                        outgoing, texts, at, vertex,
                    )  # fmt: skip
                    targets[blocks * LANES + lane] = place
                    filled[blocks] = lane + 1
                    if lane + 1 == LANES:
                        _flush_vertices(
                            words, blocks, LANES, targets, state, next_texts, next_ranks
                        )
                        filled[blocks] = 0
            for group in range(_MIN_BLOCKS, _MAX_BLOCKS + 1):
                if filled[group] > 0:
                    _flush_vertices(
                        words, group, filled[group], targets, state, next_texts, next_ranks
                    )
                    filled[group] = 0
            texts, next_texts = next_texts, texts
            ranks, next_ranks = next_ranks, ranks
        for i in range(count):
            size = np.int64(num_vertices[begin + i])
            at = i * MAX_VERTICES
            for vertex in range(size):
                order[vertex] = vertex
            _sort_neighbours(order, 0, size, ranks, at)
            blocks = (36 * size + 9 + 63) >> 6
            lane = filled[blocks]
            _write_cell(words, blocks * _GROUP_WORDS, lane, blocks, order, size, texts, at)
            targets[blocks * LANES + lane] = begin + i
            filled[blocks] = lane + 1
            if lane + 1 == LANES:
                _flush_cells(words, blocks, LANES, targets, state, out)
                filled[blocks] = 0
        for group in range(_MIN_BLOCKS, _MAX_BLOCKS + 1):
            if filled[group] > 0:
                _flush_cells(words, group, filled[group], targets, state, out)
                filled[group] = 0


@lru_cache(maxsize=1)
def _first_digests() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Texts (245, 4) and ranks (245, 2) of a vertex's first digest, by degrees and operation."""
    labels = {INPUT: -1, OUTPUT: -2}
    texts = np.empty((7 * 7 * 5, 4), np.uint64)
    ranks = np.empty((7 * 7 * 5, 2), np.uint64)
    for entry in range(len(texts)):
        degrees, operation = divmod(entry, 5)
        message = str((degrees // 7, degrees % 7, labels.get(operation, operation)))
        digest = hashlib.md5(message.encode(), usedforsecurity=False)
        texts[entry] = np.frombuffer(digest.hexdigest().encode(), "<u8")
        ranks[entry] = np.frombuffer(digest.digest(), ">u8")
    return texts, ranks


def module_hash_batch(
    adjacency_bits: NDArray[np.uint32],
    operations: NDArray[np.uint8],
    num_vertices: NDArray[np.uint8],
    threads: int = 1,
) -> NDArray[np.uint8]:
    """The official module hashes of N pruned cells.

    Args:
        adjacency_bits: (N,) uint32.
        operations: (N, 7) uint8; codes 0 to 4 on the vertices that are used.
        num_vertices: (N,) uint8; 2 to 7.
        threads: How many threads to spread the batch over.

    Returns:
        (N, 16) uint8: the MD5 digest, whose hex form is the hash.
    """
    texts, ranks = _first_digests()
    # Numba would compile anew, for seconds, for read-only or strided arrays.
    bits = np.require(adjacency_bits, np.uint32, ["C", "W"])
    operations = np.require(operations, np.uint8, ["C", "W"])
    sizes = np.require(num_vertices, np.uint8, ["C", "W"])
    out = np.empty((len(bits), 4), np.uint32)

    def work(start: int, stop: int) -> None:
        _hash_cells(
            bits[start:stop], operations[start:stop], sizes[start:stop],
            texts, ranks, out[start:stop],
        )  # fmt: skip

    run_slices(work, len(out), threads)
    return out.astype("<u4", copy=False).view(np.uint8)
