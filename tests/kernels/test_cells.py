from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.kernels.nb101 import cells
from tests import naive, strategies

CODES = {
    "valid": cells.VALID,
    "disconnected": cells.DISCONNECTED,
    "vertices": cells.TOO_MANY_VERTICES,
    "edges": cells.TOO_MANY_EDGES,
    "input": cells.NO_INPUT,
    "output": cells.NO_OUTPUT,
    "operation": cells.UNKNOWN_OPERATION,
}


def key(cell: naive.Cell) -> int:
    return int(cells.key_batch(*naive.pack_many([cell]))[0])


@settings(max_examples=300)
@given(strategies.specs(broken=True))
def test_pruning_and_validity(spec: naive.Cell) -> None:
    arrays = naive.pack_many([spec])
    codes, bits, operations, sizes = cells.prune_batch(*arrays)
    assert codes[0] == CODES[naive.validity(spec)]
    pruned = naive.prune(spec)
    if pruned is None:
        assert sizes[0] == 0
        assert (operations[0] == cells.UNUSED).all()
    else:
        assert (bits[0], operations[0].tolist(), sizes[0]) == naive.pack(pruned)
    code, spec_key = cells.spec_key_batch(*arrays)
    assert code[0] == codes[0]
    assert cells.check_scalar(arrays[0][0], arrays[1][0], arrays[2][0]) == codes[0]
    assert spec_key[0] == (key(pruned) if pruned and codes[0] == cells.VALID else 0)


def test_pruning_in_place() -> None:
    spec = ([[0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], ["input", *naive.INTERIOR])
    spec[1][3] = "output"
    bits, operations, size = naive.pack_many([spec])
    code, pruned_bits, pruned_size = cells.prune_scalar(
        bits[0], operations[0], size[0], operations[0]
    )
    expected = naive.pack(naive.prune(spec))
    assert (code, pruned_size) == (cells.VALID, 3)
    assert (pruned_bits, operations[0].tolist()) == expected[:2]


@given(strategies.cells(), st.data())
def test_isomorphic_cells_have_one_key(cell: naive.Cell, data: st.DataObject) -> None:
    other = data.draw(st.sampled_from(naive.arrangements(cell)))
    assert key(cell) == key(other)


@settings(max_examples=300)
@given(strategies.cells(max_vertices=5), strategies.cells(max_vertices=5))
def test_keys_are_equal_for_isomorphic_cells_only(one: naive.Cell, other: naive.Cell) -> None:
    assert (key(one) == key(other)) == naive.isomorphic(one, other)


@given(strategies.cells(), st.data())
def test_a_small_change_changes_the_key(cell: naive.Cell, data: st.DataObject) -> None:
    # Near misses are what a weak key confuses; random pairs of cells rarely come close.
    matrix, operations = cell
    changed = ([list(row) for row in matrix], list(operations))
    if len(operations) > 2 and data.draw(st.booleans()):
        v = data.draw(st.integers(1, len(operations) - 2))
        changed[1][v] = data.draw(st.sampled_from(naive.INTERIOR))
    else:
        i = data.draw(st.integers(0, len(operations) - 2))
        j = data.draw(st.integers(i + 1, len(operations) - 1))
        changed[0][i][j] ^= 1
    if naive.prune(changed) == changed and naive.validity(changed) == "valid":
        assert (key(cell) == key(changed)) == naive.isomorphic(cell, changed)


def test_bits_beyond_the_last_vertex_are_ignored() -> None:
    bits, operations, sizes = naive.pack_many([([[0, 1], [0, 0]], ["input", "output"])])
    noisy = bits | np.uint32(1 << 20 | 1 << 5)
    codes, pruned, _, size = cells.prune_batch(noisy, operations, sizes)
    assert (codes[0], pruned[0], size[0]) == (cells.VALID, bits[0], 2)


def test_bit_counts() -> None:
    words = [0, 1, 2**21 - 1, 2**32 - 1, *np.random.default_rng(0).integers(0, 2**32, 100).tolist()]
    assert [cells.count_bits(word) for word in words] == [word.bit_count() for word in words]


def test_empty_batches() -> None:
    arrays = naive.pack_many([])
    assert len(cells.key_batch(*arrays)) == 0
    assert [len(a) for a in cells.prune_batch(*arrays)] == [0] * 4
