"""Slots of rows against what a schedule must satisfy, and against keeping what was used last."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nprep.kernels.graphs.plan import weight_codes
from nprep.kernels.graphs.schedule import along_first, assign_slots

chunks = st.lists(st.lists(st.integers(0, 11), max_size=8), min_size=1, max_size=12)


def recently_used(uses: list[list[int]], capacity: int) -> int:
    """Rows computed if the row whose last use is longest ago makes way."""
    held: list[int] = []
    computed = 0
    for chunk in uses:
        for row in dict.fromkeys(chunk):
            computed += row not in held
        held = [row for row in held if row not in chunk] + list(dict.fromkeys(chunk))
        held = held[-capacity:]
    return computed


@given(uses=chunks, capacity=st.integers(1, 12))
def test_every_use_finds_its_row(uses: list[list[int]], capacity: int) -> None:
    flat = np.array([row for chunk in uses for row in chunk], np.int32)
    bounds = np.cumsum([0, *map(len, uses)], dtype=np.int32)
    rows, row_bounds, slots, use_slots, used = assign_slots(flat, bounds, 12, capacity)
    needed = max(len(set(chunk)) for chunk in uses)
    assert used <= max(capacity, needed)
    content: dict[int, int] = {}
    for number, chunk in enumerate(uses):
        begin, end = row_bounds[number], row_bounds[number + 1]
        # Nothing is computed twice in a chunk, or put where the chunk has something already.
        assert len(set(slots[begin:end].tolist())) == end - begin
        for row, slot in zip(rows[begin:end].tolist(), slots[begin:end].tolist(), strict=True):
            assert row in chunk
            content[slot] = row
        for place, row in enumerate(chunk):
            assert content[int(use_slots[bounds[number] + place])] == row
    assert len(set(flat.tolist())) <= len(rows)
    room = max(capacity, needed)
    assert len(rows) <= recently_used(uses, room)
    if room >= len(set(flat.tolist())):
        assert len(rows) == len(set(flat.tolist()))


@given(
    numbers=st.lists(st.lists(st.integers(0, 20), max_size=6), min_size=1, max_size=6),
    limit=st.integers(0, 21),
)
def test_sums_along_the_edges_come_first(numbers: list[list[int]], limit: int) -> None:
    flat = np.array([number for chunk in numbers for number in chunk], np.int32)
    bounds = np.cumsum([0, *map(len, numbers)], dtype=np.int32)
    slots = flat + 100
    cuts = along_first(flat, slots, bounds, limit)
    expected = [sorted(chunk, key=lambda number: number >= limit) for chunk in numbers]
    assert flat.tolist() == [number for chunk in expected for number in chunk]
    assert (slots == flat + 100).all()
    assert cuts[::2].tolist() == bounds.tolist()
    along = [sum(number < limit for number in chunk) for chunk in numbers]
    assert (cuts[1::2] - cuts[:-1:2]).tolist() == along


@given(weights=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30))
def test_weights_have_numbers(weights: list[float]) -> None:
    array = np.array(weights, np.float32)
    palette, codes = np.zeros(30, np.float32), np.empty(len(array), np.uint16)
    known = weight_codes(array, palette, 0, codes)
    assert known == len(set(array.view(np.uint32).tolist()))
    assert (palette[codes].view(np.uint32) == array.view(np.uint32)).all()
    assert weight_codes(array, palette, known, codes) == known
    if known > 1:
        assert weight_codes(array, palette[: known - 1].copy(), 0, codes) == -1
