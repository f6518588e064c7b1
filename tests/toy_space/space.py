"""A made-up space: five operations on a fixed graph."""

from __future__ import annotations

import numpy as np

from nprep.errors import InvalidSpecError
from nprep.spaces.choices import ChoiceSpace, Codes
from nprep.spaces.graphs import GraphBatch, graphs_from_matrices

OPERATIONS = ("skip", "small", "large", "wide")
# Two branches of two operations each, joined by a fifth; a last vertex is the output.
EDGES = ((0, 1), (2, 3), (1, 4), (3, 4), (4, 5))


class ToySpace(ChoiceSpace):
    name = "toy"
    title = "the toy space"
    node_types = (*OPERATIONS, "output")
    allowed = ((0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2), (0, 1, 2), (1, 2, 3))

    def graphs(self, batch: Codes, normalisation: str = "row") -> GraphBatch:
        adjacency = np.zeros((6, 6))
        adjacency[tuple(np.transpose(EDGES))] = 1
        output = np.full((len(batch), 1), 4, np.uint8)
        types = np.concatenate([batch.values, output], axis=1)
        return graphs_from_matrices(types, adjacency, len(self.node_types), normalisation)

    def parse(self, text: str) -> Codes:
        names = text.split("-")
        if len(names) != len(self.allowed) or not {*names} <= {*OPERATIONS}:
            raise InvalidSpecError(f"{text!r} is no toy: write five operations such as "
                                   "skip-small-large-skip-wide.")  # fmt: skip
        return self.from_codes(np.array([[OPERATIONS.index(name) for name in names]], np.uint8))

    def format(self, batch: Codes) -> list[str]:
        return ["-".join(OPERATIONS[value] for value in row) for row in batch]


TOY = ToySpace()
