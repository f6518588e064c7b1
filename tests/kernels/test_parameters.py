from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from nprep.kernels.nb101 import parameters
from tests import naive, strategies


@settings(max_examples=300)
@given(strategies.cells())
def test_parameters(cell: naive.Cell) -> None:
    assert parameters.parameters_batch(*naive.pack_many([cell]))[0] == naive.parameters(cell)


def test_the_order_of_the_vertices_matters() -> None:
    # 128 channels for three feeders are 43, 43 and 42, in vertex order; only the heaviest
    # operation's place differs between these.
    def cell(*names: str) -> naive.Cell:
        matrix = [[0, 1, 1, 1, 0], *([[0, 0, 0, 0, 1]] * 3), [0] * 5]
        return matrix, ["input", *names, "output"]

    conv, pool = "conv3x3-bn-relu", "maxpool3x3"
    first, last = cell(conv, pool, pool), cell(pool, pool, conv)
    assert naive.isomorphic(first, last)
    counts = parameters.parameters_batch(*naive.pack_many([first, last]))
    assert counts[0] > counts[1]


def test_channels_of_a_vertex_that_feeds_only_others() -> None:
    # 1 -> 2 -> output and 1 -> 3 -> output: vertex 1 is as wide as the wider of 2 and 3.
    matrix = [[0, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0] * 5]
    bits, _, size = naive.pack((matrix, ["input", *naive.INTERIOR, "output"]))
    channels = np.zeros(7, np.int64)
    parameters.vertex_channels(bits, size, 16, 33, channels)
    assert channels[:5].tolist() == [16, 17, 17, 16, 33]
