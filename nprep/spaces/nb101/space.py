"""NASBench-101 as a member of the protocol of spaces (Ying et al., ICML 2019).

A batch is a ``CellBatch`` of pruned cells, or of unpruned specs with
7 vertices, which is what sampling and mutation make: an unpruned spec carries idle vertices that a
later mutation may connect. Keys, texts and graphs are those of the pruned cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError
from nprep.kernels.nb101.cells import MAX_VERTICES, NUM_OPERATIONS, OUTPUT, UNUSED, VALID
from nprep.spaces.base import Space
from nprep.spaces.graphs import GraphBatch, check_normalisation
from nprep.spaces.nb101 import tables
from nprep.spaces.nb101.batch import cell_graphs
from nprep.spaces.nb101.cells import (
    CellBatch,
    Spec,
    cells_from_specs,
    encode_flat,
    enumerate_space,
    format_hashes,
    module_hashes,
    mutate,
    prune_cells,
    random_specs,
    spec_keys,
    specs_from_cells,
    trainable_parameters,
)
from nprep.spaces.nb101.facts import SPACE_SIZE
from nprep.spaces.nb101.spec import OPERATION_NAMES
from nprep.spaces.nb101.tables import FACTS, STORED

# Four bytes of adjacency bits, most significant first, then the operations.
_BIT_BYTES = 4
_PAIRS = MAX_VERTICES * (MAX_VERTICES - 1) // 2


class Nb101Space(Space):
    """Cells of at most 7 vertices and 9 edges with 3 operations."""

    name = "nb101"
    title = "NASBench-101"
    node_types = OPERATION_NAMES
    size = SPACE_SIZE
    code_width = _BIT_BYTES + MAX_VERTICES

    def enumerate(self) -> CellBatch:
        """All 423,624 cells, in the order of their module hashes."""
        return enumerate_space()[0]

    def sample(self, count: int, rng: np.random.Generator) -> CellBatch:
        """Specs of the official sampler, which is not uniform over cells."""
        return random_specs(count, rng)

    def mutate(self, batch: CellBatch, rng: np.random.Generator) -> CellBatch:
        """Children by the rule of the official notebook, as unpruned specs.

        Each pair of vertices flips with probability 1 / 7 and each operation changes with
        probability 1 / 5, until the spec is valid. A pruned parent gets idle vertices first.
        """
        return mutate(unpruned(batch, rng), rng, "notebook")

    def neighbours(self, batch: CellBatch) -> CellBatch:
        """The cells that differ in one edge or operation, as unpruned specs, ascending by key.

        The idle vertices of an unpruned spec may be connected by a change; those of a pruned cell
        have no edges, so that none connects them.
        """
        bits, operations = _embedded(batch.take(np.array([0])))
        single = bits ^ (np.uint32(1) << np.arange(_PAIRS, dtype=np.uint32))
        labels = np.repeat(operations, 2 * (MAX_VERTICES - 2), axis=0)
        for vertex in range(1, MAX_VERTICES - 1):
            others = [code for code in range(NUM_OPERATIONS) if code != operations[0, vertex]]
            labels[2 * (vertex - 1) : 2 * vertex, vertex] = others[:2]
        specs = CellBatch(
            np.concatenate([single, np.repeat(bits, len(labels))]),
            np.concatenate([np.repeat(operations, _PAIRS, axis=0), labels]),
            np.full(_PAIRS + len(labels), MAX_VERTICES, np.uint8),
        )
        codes, keys = spec_keys(specs)
        valid = np.flatnonzero(codes == VALID)
        keys, first = np.unique(keys[valid], return_index=True)
        return specs.take(valid[first[keys != self.keys(batch.take(np.array([0])))[0]]])

    def keys(self, batch: CellBatch) -> NDArray[np.uint64]:
        """(N,) uint64; the canonical keys, equal for isomorphic cells only."""
        codes, keys = spec_keys(batch)
        _refuse_invalid(codes)
        return keys

    def pruned(self, batch: CellBatch) -> CellBatch:
        """The pruned cells of valid specs.

        Raises:
            InvalidSpecError: If one is no cell of the space.
        """
        codes, cells = prune_cells(batch)
        _refuse_invalid(codes)
        return cells

    def encode_flat(self, batch: CellBatch) -> NDArray[np.float32]:
        """One-hot operations, then the upper triangle: (N, 56) float32."""
        return encode_flat(self.pruned(batch))

    def graphs(self, batch: CellBatch, normalisation: str = "row") -> GraphBatch:
        """The cells as graphs; a node's type is its operation code."""
        check_normalisation(normalisation)
        return cell_graphs(self.pruned(batch), normalisation)

    def to_codes(self, batch: CellBatch) -> NDArray[np.uint8]:
        """(N, 11) uint8: adjacency bits, most significant byte first, then operations."""
        return batch.codes()

    def from_codes(self, codes: NDArray[np.uint8]) -> CellBatch:
        """The cells of (N, 11) codes.

        Raises:
            InvalidSpecError: If one is no cell of the space.
        """
        rows = np.ascontiguousarray(codes)
        if rows.ndim != 2 or rows.shape[1] != self.code_width or rows.dtype != np.uint8:
            raise InvalidSpecError(
                f"codes of NASBench-101 are (N, {self.code_width}) uint8, and these are "
                f"{rows.shape} {rows.dtype}."
            )
        bits = np.ascontiguousarray(rows[:, :_BIT_BYTES]).view(">u4")[:, 0].astype(np.uint32)
        operations = np.ascontiguousarray(rows[:, _BIT_BYTES:])
        sizes = (operations != UNUSED).sum(axis=1).astype(np.uint8)
        ends = operations[np.arange(len(rows)), np.maximum(sizes, 1) - 1]
        used = np.arange(MAX_VERTICES) < sizes[:, None]
        wrong = (
            (bits >= 1 << _PAIRS)
            | (ends != OUTPUT)
            | ((operations != UNUSED) != used).any(axis=1)
            | (used & (operations > OUTPUT)).any(axis=1)
        )
        cells = CellBatch(bits, operations, sizes)
        if not wrong.any():
            wrong = prune_cells(cells)[0] != VALID
        if wrong.any():
            raise InvalidSpecError(f"row {int(wrong.argmax())} is no cell of NASBench-101.")
        return cells

    def parse(self, text: str) -> CellBatch:
        """The cell of ``[matrix, operations]`` in JSON.

        Raises:
            InvalidSpecError: If it is none.
        """
        try:
            matrix, operations = json.loads(text)
        except (ValueError, TypeError) as error:
            raise InvalidSpecError(
                f"{text!r} is no cell of NASBench-101: write its matrix and operations in JSON, "
                'such as [[[0, 1], [0, 0]], ["input", "output"]].'
            ) from error
        return cells_from_specs([Spec(matrix, operations)])

    def format(self, batch: CellBatch) -> list[str]:
        """Matrix and operations in JSON."""
        specs = specs_from_cells(self.pruned(batch))
        return [json.dumps([spec.matrix, spec.operations]) for spec in specs]

    def describe(self, batch: CellBatch) -> list[dict[str, object]]:
        """Matrix, operations, module hash and number of trainable parameters."""
        cells = self.pruned(batch)
        hashes = format_hashes(module_hashes(cells))
        counts = trainable_parameters(cells).tolist()
        return [
            {
                "matrix": [list(row) for row in spec.matrix],
                "operations": list(spec.operations),
                "module_hash": digest,
                "trainable_parameters": count,
            }
            for spec, digest, count in zip(specs_from_cells(cells), hashes, counts, strict=True)
        ]

    stored = STORED
    facts = FACTS

    def to_arrays(self, batch: CellBatch) -> dict[str, NDArray[Any]]:
        """The three arrays of a batch."""
        return {name: getattr(batch, name) for name in STORED}

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> CellBatch:
        """The batch of the three arrays; see ``nprep.spaces.nb101.tables.from_arrays``."""
        return tables.from_arrays(arrays)

    def problems(self, batch: CellBatch, facts: Mapping[str, NDArray[Any]]) -> Iterator[str]:
        """What is wrong with a table's cells, hashes and numbers of parameters."""
        return tables.problems(batch, facts)

    def summary(self, batch: CellBatch) -> dict[str, object]:
        """The number of cells by their number of vertices."""
        return tables.summary(batch)

    def export(
        self, batch: CellBatch, facts: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """See ``nprep.spaces.nb101.tables.export``."""
        return tables.export(batch, facts)

    def export_texts(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """See ``nprep.spaces.nb101.tables.export_texts``."""
        return tables.export_texts(columns)

    def columns(self, batch: CellBatch) -> dict[str, NDArray[Any]]:
        """The numbers of vertices and of trainable parameters."""
        cells = self.pruned(batch)
        return {
            "num_vertices": cells.num_vertices,
            "trainable_parameters": trainable_parameters(cells),
        }


def _refuse_invalid(codes: NDArray[np.uint8]) -> None:
    """Refuses specs whose (N,) validity codes are not all those of valid ones.

    Raises:
        InvalidSpecError: If one is no cell of the space.
    """
    if codes.any():
        row = int(np.argmax(codes != VALID))
        raise InvalidSpecError(f"the spec at position {row} is no cell of NASBench-101.")


def _embedded(cells: CellBatch) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Cells as 7-vertex specs: the output moves to the end, idle vertices get no edges.

    Returns:
        (N,) uint32 adjacency bits, and (N, 7) uint8 operations, code 0 for idle vertices.
    """
    pairs = [(a, b) for a in range(MAX_VERTICES) for b in range(a + 1, MAX_VERTICES)]
    places = {pair: place for place, pair in enumerate(pairs)}
    bits = np.zeros(len(cells), np.uint32)
    last = cells.num_vertices.astype(np.int64) - 1
    for place, (source, target) in enumerate(pairs):
        edge = (cells.adjacency_bits >> np.uint32(place)) & np.uint32(1)
        moved = np.where(last == target, places[source, MAX_VERTICES - 1], place)
        bits |= edge << moved.astype(np.uint32)
    operations = cells.operations.copy()
    idle = (np.arange(MAX_VERTICES) >= last[:, None]) & (np.arange(MAX_VERTICES) > 0)
    operations[idle] = 0
    operations[:, -1] = OUTPUT
    return bits, operations


def unpruned(cells: CellBatch, rng: np.random.Generator) -> CellBatch:
    """Specs with 7 vertices of cells, pruned or not; idle vertices get random operations."""
    pruned = cells.num_vertices < MAX_VERTICES
    if not pruned.any():
        return cells
    bits, operations = _embedded(cells)
    idle = np.arange(MAX_VERTICES) >= cells.num_vertices[:, None].astype(np.int64) - 1
    idle[:, -1] = False
    drawn = rng.integers(NUM_OPERATIONS, size=operations.shape, dtype=np.uint8)
    operations[idle] = drawn[idle]
    return CellBatch(bits, operations, np.full(len(cells), MAX_VERTICES, np.uint8))


NB101 = Nb101Space()
