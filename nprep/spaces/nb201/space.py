"""NAS-Bench-201 as a member of the protocol of spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.spaces.choices import ChoiceSpace, Codes
from nprep.spaces.graphs import GraphBatch, graphs_from_matrices
from nprep.spaces.nb201 import encode, network, strings
from nprep.spaces.nb201.strings import EDGES, NUM_EDGES, NUM_NODES, NUM_OPERATIONS

# The authors' mutation draws a node, then one of its edges, so edges into node 1 change most often.
_EDGE_PROBABILITIES = np.array([1 / (NUM_NODES - 1) / head for _, head in EDGES])


class Nb201Space(ChoiceSpace):
    """All 15,625 strings; each was trained by itself, so each is an architecture of its own.

    Which of them are the same function is said by ``nprep.spaces.nb201.canonical``.
    """

    name = "nb201"
    title = "NAS-Bench-201"
    node_types = (*strings.OPERATION_NAMES, "input", "output")
    allowed = (tuple(range(NUM_OPERATIONS)),) * NUM_EDGES

    def enumerate(self) -> Codes:
        """All architectures, in the order of their official numbers."""
        return strings.enumerate_space()

    def mutate(self, batch: Codes, rng: np.random.Generator) -> Codes:
        """Children in which one edge has another operation.

        As in the authors' regularized evolution (``regularized_ea.py`` of AutoDL-Projects) a node
        is drawn first, then one of the edges into it, then one of the four other operations.
        """
        rows = np.arange(len(batch))
        edges = rng.choice(NUM_EDGES, size=len(batch), p=_EDGE_PROBABILITIES)
        steps = rng.integers(1, NUM_OPERATIONS, size=len(batch))
        values = batch.values.copy()
        values[rows, edges] = (values[rows, edges] + steps) % NUM_OPERATIONS
        return Codes(values)

    def graphs(self, batch: Codes, normalisation: str = "row") -> GraphBatch:
        """The operations of the edges as nodes, between an input and an output.

        What nothing passes through is left out (``nprep.spaces.nb201.encode.graph_nodes``).

        Raises:
            SettingsError: If the normalisation is unknown.
        """
        return graphs_from_matrices(
            encode.graph_types(batch),
            encode.graph_adjacency(),
            encode.NUM_TYPES,
            normalisation,
            encode.graph_nodes(batch),
        )

    def parse(self, text: str) -> Codes:
        """The architecture of a string, of six digits or of an official number.

        Raises:
            InvalidSpecError: If the text is none of them.
        """
        return strings.parse_text(text)

    def format(self, batch: Codes) -> list[str]:
        """The official strings."""
        return strings.format_strings(batch)

    def describe(self, batch: Codes) -> list[dict[str, object]]:
        """String, number and digits, whether anything passes, and the sizes on CIFAR-10."""
        columns = self.columns(batch)
        return [
            {"architecture": text, "digits": digits}
            | {name: values[row].item() for name, values in columns.items()}
            for row, (text, digits) in enumerate(
                zip(self.format(batch), strings.format_digits(batch), strict=True)
            )
        ]

    def columns(self, batch: Codes) -> Mapping[str, NDArray[Any]]:
        """Official number, whether anything passes, parameters and multiplications on CIFAR-10."""
        return {
            "number": strings.numbers(batch),
            "connected": strings.connected(batch),
            "trainable_parameters": network.trainable_parameters(batch, "cifar10"),
            "multiplications": network.multiplications(batch, "cifar10"),
        }


NB201 = Nb201Space()
