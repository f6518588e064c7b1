"""How tables of NASBench-101 store, check and export cells."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError
from nprep.kernels.nb101.cells import MAX_VERTICES, OUTPUT, UNUSED, VALID
from nprep.spaces.base import Stored
from nprep.spaces.nb101.cells import (
    OPERATION_NAMES,
    CellBatch,
    module_hashes,
    prune_cells,
    trainable_parameters,
)
from nprep.spaces.nb101.facts import CELLS_BY_VERTICES, SPACE_SIZE

STORED = {
    "adjacency_bits": Stored(
        np.uint32,
        (),
        "row",
        "bit k: edge of the k-th pair of (0,1),(0,2),..,(0,6),(1,2),..,(5,6)",
    ),
    "operations": Stored(
        np.uint8,
        (MAX_VERTICES,),
        "row, vertex",
        "operation codes of the vertices, see the file's operation_names; 255: no vertex",
    ),
    "num_vertices": Stored(
        np.uint8, (), "row", "vertices of the pruned cell, input and output included"
    ),
}
FACTS = {
    "module_hash": Stored(
        np.uint8, (16,), "row, byte", "official module hash (MD5), as bytes; rows ascend by it"
    ),
    "trainable_parameters": Stored(np.int32, (), "row", "of the full network"),
}

_PAIRS = MAX_VERTICES * (MAX_VERTICES - 1) // 2


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> CellBatch:
    """The cells of stored arrays.

    Raises:
        InvalidSpecError: If kernels, which do not look out for that, would be led astray by them.
    """
    cells = CellBatch(arrays["adjacency_bits"], arrays["operations"], arrays["num_vertices"])
    if len(cells) and not (
        # With 255, which is no vertex, going round to 0.
        (cells.operations + np.uint8(1)).max() <= OUTPUT + 1
        and cells.num_vertices.min() >= 2
        and cells.num_vertices.max() <= MAX_VERTICES
        and cells.adjacency_bits.max() < 1 << _PAIRS
    ):
        raise InvalidSpecError("its cells are none that could have been written.")
    return cells


def problems(cells: CellBatch, facts: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """What is wrong with a table's cells, hashes and numbers of parameters."""
    codes, pruned = prune_cells(cells)
    changed = (pruned.num_vertices != cells.num_vertices) | (codes != VALID)
    if changed.any():
        # What is computed below holds for valid, pruned cells alone.
        row = int(changed.argmax())
        yield f"row {row}: its cell is not a valid, pruned cell of the space"
        return
    for name, computed in (
        ("module_hash", module_hashes(cells, os.cpu_count() or 1)),
        ("trainable_parameters", trainable_parameters(cells)),
    ):
        wrong = (facts[name] != computed).reshape(len(cells), -1).any(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            shown = {
                "module_hash": "module hash",
                "trainable_parameters": "number of trainable parameters",
            }[name]
            yield (
                f"row {row}: its {shown} is {_show(facts[name][row])}, recomputed: "
                f"{_show(computed[row])}"
            )
    words = facts["module_hash"].view(">u8").astype(np.uint64)
    ascending = (words[1:, 0] > words[:-1, 0]) | (
        (words[1:, 0] == words[:-1, 0]) & (words[1:, 1] > words[:-1, 1])
    )
    if not ascending.all():
        row = int((~ascending).argmax())
        yield f"row {row + 1}: its module hash is not above that of the row before"
    if len(cells) == SPACE_SIZE:
        counts = np.bincount(cells.num_vertices, minlength=MAX_VERTICES + 1)
        for vertices, expected in CELLS_BY_VERTICES.items():
            if counts[vertices] != expected:
                yield (
                    f"{counts[vertices]} cells have {vertices} vertices, the space has {expected}"
                )


def _show(value: Any) -> str:
    return value.tobytes().hex() if isinstance(value, np.ndarray) else str(value)


def summary(cells: CellBatch) -> dict[str, object]:
    """The number of cells by their number of vertices."""
    counts = enumerate(np.bincount(cells.num_vertices).tolist())
    return {"cells_by_vertices": {str(size): count for size, count in counts if count}}


def export(cells: CellBatch, facts: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Hash (N,) of 32 bytes, adjacency bits, operations (N, 7), vertices and parameters."""
    text = facts["module_hash"].tobytes().hex().encode()
    return {
        "module_hash": np.frombuffer(text, "S32"),
        "adjacency_bits": cells.adjacency_bits,
        "operations": cells.operations,
        "num_vertices": cells.num_vertices,
        "trainable_parameters": facts["trainable_parameters"],
    }


def export_texts(columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The columns of ``export`` with the official texts of operations and matrix."""
    texts = {
        "module_hash": columns["module_hash"].astype("U32"),
        "adjacency": _matrix_texts(columns["adjacency_bits"], columns["num_vertices"]),
        "operations": _operation_texts(columns["operations"]),
    }
    return {**texts, **{n: columns[n] for n in ("num_vertices", "trainable_parameters")}}


def _operation_texts(operations: NDArray[np.uint8]) -> list[str]:
    names = [*OPERATION_NAMES]
    return [",".join(names[c] for c in codes if c != UNUSED) for codes in operations.tolist()]


def _matrix_texts(bits: NDArray[np.uint32], sizes: NDArray[np.uint8]) -> list[str]:
    """The official raw_adjacency of cells."""
    shifts = np.full((MAX_VERTICES, MAX_VERTICES), 31, np.uint32)
    shifts[np.triu_indices(MAX_VERTICES, 1)] = np.arange(_PAIRS)
    texts = []
    # Few matrices are shared by many labellings.
    known: dict[tuple[int, int], str] = {}
    for key in zip(bits.tolist(), sizes.tolist(), strict=True):
        if key not in known:
            edges = np.uint32(key[0]) >> shifts[: key[1], : key[1]] & np.uint32(1)
            known[key] = "".join(map(str, edges.reshape(-1).tolist()))
        texts.append(known[key])
    return texts
