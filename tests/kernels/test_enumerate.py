from __future__ import annotations

import numpy as np

from nprep.kernels.nb101.cells import key_batch, prune_batch
from tests import naive
from tests.conftest import Cells


def test_cells_of_up_to_five_vertices(all_cells: Cells) -> None:
    bits, operations, sizes, _ = all_cells
    few = sizes <= 5
    expected = naive.pack_many(naive.enumerate_cells(5))
    for array, wanted in zip((bits, operations, sizes), expected, strict=True):
        np.testing.assert_array_equal(array[few], wanted)


def test_all_cells(all_cells: Cells) -> None:
    bits, operations, sizes, keys = all_cells
    assert np.bincount(sizes).tolist() == [0, 0, 1, 6, 84, 2441, 62010, 359082]
    assert len(np.unique(keys)) == 423_624
    assert keys.all()
    np.testing.assert_array_equal(key_batch(bits, operations, sizes), keys)
    codes, pruned_bits, pruned_operations, pruned_sizes = prune_batch(bits, operations, sizes)
    assert not codes.any()
    np.testing.assert_array_equal(pruned_bits, bits)
    np.testing.assert_array_equal(pruned_operations, operations)
    np.testing.assert_array_equal(pruned_sizes, sizes)
