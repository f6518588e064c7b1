"""Tables of NASBench-101 in formats that other projects made of the official files.

- The HDF5 file of ultmaster/neuralpredictor.pytorch: ``hash``, ``num_vertices``,
  ``trainable_parameters``, ``adjacency``, ``operations`` (-1 input, -2 output) and ``metrics``
  (N, 4, 3, 2, 4).
- The pickle of NASLib and of those who share its data: a dict from the module hash to the two
  dicts that the official ``get_metrics_from_hash`` returns.
- The pickle of NASBenchAPI: a dict whose ``entries_by_arch`` keeps the official records' texts.

Pickles are read by ``nprep.table.sources._unpickle``, which runs nothing that they name.
Whatever the format, the cells are joined by their canonical keys, and their hashes and parameter
counts are recomputed and compared.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nprep._files import fault_of_surroundings
from nprep.errors import TableError
from nprep.spaces.nb101.cells import (
    CellBatch,
    cell_keys,
    format_hashes,
    prune_cells,
    trainable_parameters,
)
from nprep.spaces.nb101.facts import BUDGETS, CITATION, REPEATS
from nprep.table.sources._nasbench_record import (
    RecordError,
    check_metrics,
    decode_metrics,
    parse_adjacency,
    parse_operations,
)
from nprep.table.sources._runs import STAGES, VALUES, Runs, SpaceRows, empty_values
from nprep.table.sources._unpickle import Inert, load_inert, to_array

HDF5_NAMES = ("hash", "num_vertices", "trainable_parameters", "adjacency", "operations", "metrics")
_KEYS = tuple(
    f"{stage}_{value}"
    for stage in ("halfway", "final")
    for value in ("training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex characters.

    Raises:
        TableError: The file cannot be read.
    """
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror or error}).") from error


def join_cells(
    path: Path,
    hashes: NDArray[np.uint8],
    cells: CellBatch,
    parameters: NDArray[np.integer],
    space: SpaceRows,
) -> NDArray[np.int32]:
    """The rows of M cells, each checked against the space.

    Args:
        path: The file, for messages.
        hashes: (M, 16) uint8; what the file says their module hashes are.
        cells: The cells.
        parameters: (M,); what it says their trainable parameters are.
        space: What to join them to.

    Returns:
        (M,) int32, all different.

    Raises:
        TableError: A cell is invalid, unknown or there twice, or its hash or parameter count is
            not the one that its matrix gives.
    """
    names = format_hashes(hashes)
    codes, pruned = prune_cells(cells)
    bad = (codes != 0) | (pruned.num_vertices != cells.num_vertices)
    if bad.any():
        at = int(np.argmax(bad))
        raise TableError(f"{path}: the cell of {names[at]} (number {at}) is no pruned, valid cell.")
    rows = space.index.find(cell_keys(cells))
    unknown = rows < 0
    if unknown.any():
        at = int(np.argmax(unknown))
        raise TableError(f"{path}: the cell of {names[at]} (number {at}) is not in the space.")
    wrong = (space.module_hash[rows] != hashes).any(axis=1)
    if wrong.any():
        at = int(np.argmax(wrong))
        right = format_hashes(space.module_hash[rows[at]][None])[0]
        raise TableError(
            f"{path}: the cell of {names[at]} (number {at}) has the module hash {right}."
        )
    _, first = np.unique(rows, return_index=True)
    if len(first) < len(rows):
        at = int(np.setdiff1d(np.arange(len(rows)), first)[0])
        raise TableError(f"{path}: the cell of {names[at]} (number {at}) is there a second time.")
    expected = trainable_parameters(cells)
    differs = expected != parameters
    if differs.any():
        at = int(np.argmax(differs))
        raise TableError(
            f"{path}: {names[at]} (number {at}) is said to have {parameters[at]} trainable "
            f"parameters, but has {expected[at]}."
        )
    return rows


def _check_values(path: Path, values: NDArray[np.float32]) -> None:
    """Raises ``TableError`` for accuracies outside 0 to 1 and negative times."""
    low = values < 0
    high = values[..., 1:] > 1
    if low.any() or high.any() or np.isinf(values).any():
        raise TableError(f"{path}: it holds accuracies outside 0 to 1, or impossible times.")


def _attributes(path: Path, kind: str, cells: int) -> dict[str, str | int | float]:
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "format": kind,
        "citation": CITATION,
        "cells": cells,
    }


def _warnings(values: NDArray[np.float32], rows: NDArray[np.int32], extra: int) -> tuple[str, ...]:
    """Sentences about cells and runs that a source lacks or has too many of."""
    sentences = []
    if len(rows) < len(values):
        sentences.append(f"{len(values) - len(rows)} cells of the space are missing.")
    if extra:
        sentences.append(f"{extra} runs come after a third of the same budget and are left out.")
    return tuple(sentences)


def read_neural_predictor_hdf5(path: Path, space: SpaceRows) -> Runs:
    """Reads the HDF5 file of ultmaster/neuralpredictor.pytorch.

    Args:
        path: The file.
        space: What to join it to.

    Raises:
        TableError: The file is no such file, is damaged or contradicts the space.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            absent = [name for name in HDF5_NAMES if not isinstance(file.get(name), h5py.Dataset)]
            if absent:
                raise TableError(
                    f"{path}: the HDF5 file has no {', '.join(absent)}: it is not one of "
                    "neuralpredictor.pytorch."
                )
            content = {name: file[name][()] for name in HDF5_NAMES}
    except TableError:
        raise
    # A damaged file makes h5py fail in many ways.
    except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
        because = fault_of_surroundings(error)
        what = (
            f"it cannot be read ({because})"
            if because
            else f"it is no readable HDF5 file ({' '.join(str(error).split())})"
        )
        raise TableError(f"{path}: {what}.") from error
    count = len(content["hash"])
    shapes = {
        "num_vertices": (count,),
        "trainable_parameters": (count,),
        "adjacency": (count, 7, 7),
        "operations": (count, 7),
        "metrics": (count, len(BUDGETS), REPEATS, len(STAGES), len(VALUES)),
    }
    for name, shape in shapes.items():
        if content[name].shape != shape or content[name].dtype.kind not in "iuf":
            raise TableError(
                f"{path}: {name} is {content[name].dtype} {content[name].shape}, not {shape}."
            )
    try:
        texts = [h.decode() if isinstance(h, bytes) else str(h) for h in content["hash"].tolist()]
        hashes = np.array([list(bytes.fromhex(text)) for text in texts], np.uint8).reshape(-1, 16)
    except ValueError as error:
        raise TableError(f"{path}: hash holds something other than module hashes.") from error
    vertices = content["num_vertices"].astype(np.int64)
    adjacency = content["adjacency"]
    used = np.arange(7) < vertices[:, None]
    upper = np.triu(np.ones((7, 7), bool), 1) & used[:, :, None] & used[:, None, :]
    if (
        ((vertices < 2) | (vertices > 7)).any()
        or not np.isin(adjacency, (0, 1)).all()
        or adjacency[~upper].any()
    ):
        raise TableError(f"{path}: adjacency holds something other than upper triangular matrices.")
    pairs = np.triu_indices(7, 1)
    weights = np.uint32(1) << np.arange(21, dtype=np.uint32)
    bits = (adjacency[:, pairs[0], pairs[1]].astype(np.uint32) * weights).sum(axis=1)
    codes = np.full(256, 254, np.uint8)
    codes[[0, 1, 2, 255, 254]] = (0, 1, 2, 3, 4)
    named = codes[content["operations"].astype(np.int64) & 255]
    operations = np.where(used, named, 255).astype(np.uint8)
    cells = CellBatch(bits.astype(np.uint32), operations, vertices.astype(np.uint8))
    rows = join_cells(path, hashes, cells, content["trainable_parameters"], space)
    values = empty_values(len(space))
    values[rows] = content["metrics"]
    _check_values(path, values)
    return Runs(
        values,
        _attributes(path, "neuralpredictor.pytorch HDF5", count),
        _warnings(values, rows, extra=0),
    )


def _number(value: Any) -> float:
    """A Python or NumPy number; raises ValueError for anything else."""
    if isinstance(value, (int, float)):
        return float(value)
    array = to_array(value)
    if array.ndim:
        raise ValueError("a metric is no number")
    return float(array)


class _Collector:
    """Cells and runs of a pickle, gathered one by one and joined together at the end."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.cells: list[tuple[int, list[int], int]] = []
        self.parameters: list[int] = []
        self.runs: list[tuple[int, int, int, list[float]]] = []
        self.extra = 0
        self._counts: dict[tuple[int, int], int] = {}

    def add_cell(self, name: Any, bits: int, operations: tuple[int, ...], parameters: int) -> None:
        """Begins a cell."""
        if not isinstance(name, str) or len(name) != 32:
            raise ValueError(f"a key is {str(name)[:40]!r}, which is no module hash")
        codes = [*operations, *[255] * (7 - len(operations))]
        self.names.append(name)
        self.cells.append((bits, codes, len(operations)))
        self.parameters.append(parameters)

    def add_run(self, epochs: Any, metrics: list[float]) -> None:
        """Adds a run to the last cell."""
        if epochs not in BUDGETS:
            raise ValueError(f"{self.names[-1]} has runs of {str(epochs)[:20]} epochs")
        place = (len(self.names) - 1, BUDGETS.index(epochs))
        repeat = self._counts.get(place, 0)
        self._counts[place] = repeat + 1
        if repeat < REPEATS:
            self.runs.append((*place, repeat, metrics))
        else:
            self.extra += 1

    def join(self, path: Path, kind: str, space: SpaceRows) -> Runs:
        """Checks the cells and puts the runs in their places."""
        try:
            hashes = np.array([list(bytes.fromhex(name)) for name in self.names], np.uint8)
        except ValueError as error:
            raise TableError(f"{path}: a key of the dict is no module hash.") from error
        cells = CellBatch(
            np.array([bits for bits, _, _ in self.cells], np.uint32),
            np.array([codes for _, codes, _ in self.cells], np.uint8),
            np.array([size for _, _, size in self.cells], np.uint8),
        )
        rows = join_cells(path, hashes, cells, np.array(self.parameters), space)
        values = empty_values(len(space))
        for cell, budget, repeat, metrics in self.runs:
            values[rows[cell], budget, repeat] = np.reshape(metrics, (len(STAGES), len(VALUES)))
        _check_values(path, values)
        attributes = _attributes(path, kind, len(self.names))
        return Runs(values, attributes, _warnings(values, rows, self.extra))


def _collect_statistics(content: Mapping[Any, Any], collector: _Collector) -> None:
    """Gathers a dict of (fixed statistics, computed statistics)."""
    for name, pair in content.items():
        fixed, computed = pair
        matrix = to_array(fixed["module_adjacency"])
        size = len(matrix)
        if matrix.shape != (size, size) or not np.isin(matrix, (0, 1)).all():
            raise ValueError(f"the adjacency matrix of {name} is no square of 0 and 1")
        text = "".join(str(int(value)) for value in matrix.reshape(-1))
        bits, vertices = parse_adjacency(text)
        operations = parse_operations(",".join(fixed["module_operations"]), vertices)
        collector.add_cell(name, bits, operations, int(_number(fixed["trainable_parameters"])))
        for epochs, repeats in computed.items():
            for run in repeats:
                collector.add_run(epochs, [_number(run[key]) for key in _KEYS])


def _collect_entries(content: Mapping[Any, Any], collector: _Collector) -> None:
    """Gathers the records of NASBenchAPI."""
    for name, entries in content["entries_by_arch"].items():
        for i, entry in enumerate(entries):
            metrics = decode_metrics(base64.b64decode(entry["metrics_b64"]))
            check_metrics(metrics)
            if i == 0:
                bits, vertices = parse_adjacency(entry["adjacency_str"])
                operations = parse_operations(entry["operations_str"], vertices)
                collector.add_cell(name, bits, operations, metrics.parameters or 0)
            stages = metrics.evaluations[1:]
            collector.add_run(entry["epoch"], [v for stage in stages for v in stage[1:]])


def read_nasbench_pickle(path: Path, space: SpaceRows) -> Runs:
    """Reads a pickle of NASLib or of NASBenchAPI.

    All of it is held in memory as Python objects: several times the size of the file.

    Args:
        path: The file.
        space: What to join it to.

    Raises:
        TableError: The file is no such pickle, names anything but containers, numbers and NumPy
            arrays, or contradicts the space.
    """
    try:
        with path.open("rb") as file:
            content = load_inert(file, path)
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror or error}).") from error
    if not isinstance(content, dict) or isinstance(content, Inert) or not content:
        raise TableError(f"{path}: the pickle holds no dict of cells.")
    collector = _Collector()
    try:
        if "entries_by_arch" in content:
            kind = "NASBenchAPI pickle"
            _collect_entries(content, collector)
        else:
            kind = "NASLib pickle"
            _collect_statistics(content, collector)
    except TableError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        # RecordError is a ValueError; the others mean that a value is not of the expected kind.
        detail = str(error) if isinstance(error, RecordError) else repr(error)
        last = f" near {collector.names[-1]}" if collector.names else ""
        raise TableError(f"{path}: it is no pickle of NASBench-101{last} ({detail}).") from error
    if not collector.names:
        raise TableError(f"{path}: the pickle holds no cells.")
    return collector.join(path, kind, space)
