"""Cells of a small made-up data set, as users of the official API write them."""

from __future__ import annotations

import numpy as np

from nprep.nasbench import api
from nprep.spaces.nb101.cells import specs_from_cells
from tests.table.official_small import small_space

INPUT = "input"
OUTPUT = "output"
CONV3X3 = "conv3x3-bn-relu"
CONV1X1 = "conv1x1-bn-relu"
MAXPOOL3X3 = "maxpool3x3"
SPACE = small_space()
INCEPTION = (
    [
        [0, 1, 1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    [INPUT, CONV1X1, CONV3X3, CONV3X3, CONV3X3, MAXPOOL3X3, OUTPUT],
)


def spec_of(row: int) -> api.ModelSpec:
    spec = specs_from_cells(SPACE.cells.take(np.array([row])))[0]
    return api.ModelSpec([list(line) for line in spec.matrix], list(spec.operations))
