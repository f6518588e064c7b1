from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from nprep.kernels.nb101 import encode
from tests import naive, strategies


@settings(max_examples=200)
@given(strategies.cells())
def test_encodings(cell: naive.Cell) -> None:
    bits, operations, sizes = naive.pack_many([cell])
    size = int(sizes[0])
    matrix = naive.padded(cell[0])
    hot = naive.one_hot(cell)
    np.testing.assert_array_equal(encode.one_hot(operations, sizes)[0], hot)
    matrices = encode.adjacency_matrices(bits, sizes)
    np.testing.assert_array_equal(matrices[0], matrix)
    np.testing.assert_array_equal(encode.pack_matrices(matrices), bits)
    flat = encode.flat_encoding(bits, operations, sizes)[0]
    triangle = matrix[np.triu_indices(7, 1)]
    np.testing.assert_array_equal(flat, np.concatenate([hot.ravel(), triangle]))
    inner = matrix[:size, :size]
    for kernel, form in (
        (encode.row_normalised_adjacency, naive.averaging),
        (encode.symmetric_normalised_adjacency, naive.symmetric),
    ):
        forward, backward = (array[0] for array in kernel(bits, sizes))
        np.testing.assert_allclose(forward[:size, :size], form(inner), rtol=1e-6)
        np.testing.assert_allclose(backward[:size, :size], form(inner.T), rtol=1e-6)
        for array in (forward, backward):
            assert array.dtype == np.float32
            assert not array[size:].any()
            assert not array[:, size:].any()


def test_the_directions_are_normalised_apart() -> None:
    # in -> 1 -> out and in -> out: the transpose of the row-normalised matrix would give the output
    # 1/3 + 1/2 + 1 in its row, and not an average.
    matrix = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    bits, _, sizes = naive.pack_many([(matrix, ["input", "maxpool3x3", "output"])])
    forward, backward = encode.row_normalised_adjacency(bits, sizes)
    np.testing.assert_allclose(forward[0, :3].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(backward[0, :3].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(backward[0, 2, :3], 1 / 3, rtol=1e-6)
