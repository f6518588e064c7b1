from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.kernels.nb101 import md5, md5_lanes
from tests import naive, strategies


def hashes(cells: list[naive.Cell], threads: int = 1) -> list[str]:
    digests = md5.module_hash_batch(*naive.pack_many(cells), threads)
    return [digest.tobytes().hex() for digest in digests]


@settings(max_examples=200)
@given(strategies.cells())
def test_one_hash(cell: naive.Cell) -> None:
    assert hashes([cell]) == [naive.module_hash(cell)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 127, 128, 129, 400])
def test_batches_of_mixed_sizes(count: int, threads: int) -> None:
    # Cells of all sizes side by side: groups and chunks are cut at every place.
    pool = naive.enumerate_cells(4)
    pool += [([[int(j == i + 1) for j in range(n)] for i in range(n)],
              ["input", *(naive.INTERIOR * 2)[: n - 2], "output"]) for n in (5, 6, 7)]  # fmt: skip
    chosen = np.random.default_rng(count).integers(len(pool), size=count)
    cells = [pool[i] for i in chosen]
    expected = {i: naive.module_hash(pool[i]) for i in set(chosen.tolist())}
    assert hashes(cells, threads) == [expected[i] for i in chosen]


@given(strategies.cells())
def test_the_order_of_the_vertices_does_not_matter(cell: naive.Cell) -> None:
    assert len(set(hashes(naive.arrangements(cell)))) == 1


@given(st.lists(st.binary(min_size=64, max_size=128), min_size=16, max_size=16), st.integers(1, 2))
def test_lanes_are_md5(messages: list[bytes], blocks: int) -> None:
    # 16 messages of one length, padded by hand.
    length = 64 * blocks - 9
    messages = [(message * 2)[:length] for message in messages]
    padded = [m + b"\x80" + (8 * length).to_bytes(8, "little") for m in messages]
    words = np.array([np.frombuffer(p, "<u4") for p in padded], np.uint32).T.ravel()
    buffer = np.zeros((md5._MAX_BLOCKS + 1) * md5._GROUP_WORDS, np.uint32)
    start = blocks * md5._GROUP_WORDS
    buffer[start : start + len(words)] = words
    state = np.empty(4 * md5_lanes.LANES, np.uint32)
    md5._digest_group(buffer, blocks, state)
    digests = state.reshape(4, md5_lanes.LANES).T.astype("<u4")
    expected = [hashlib.md5(m, usedforsecurity=False).digest() for m in messages]
    assert [digest.tobytes() for digest in digests] == expected


@given(st.binary(min_size=4, max_size=4))
def test_hex_text(digest: bytes) -> None:
    word = int.from_bytes(digest, "little")
    assert int(md5_lanes.hex_word(word)).to_bytes(8, "little") == digest.hex().encode()
    assert md5_lanes.swap_bytes(word) == int.from_bytes(digest, "big")


def test_read_only_and_strided_arrays() -> None:
    cells = naive.enumerate_cells(3) * 2
    bits, operations, sizes = naive.pack_many(cells)
    expected = md5.module_hash_batch(bits, operations, sizes)
    bits.setflags(write=False)
    assert (md5.module_hash_batch(bits, operations, sizes) == expected).all()
    half = md5.module_hash_batch(bits[::2], operations[::2], sizes[::2])
    assert (half == expected[::2]).all()
