"""Writes a table file: one HDF5 file whose datasets can be memory-mapped."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import nprep
from nprep import _files
from nprep.errors import TableError
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.spaces.nb101.cells import OPERATION_NAMES, cell_keys
from nprep.table._seal import seal
from nprep.table.schema import (
    BUDGETS,
    FORMAT,
    METRICS,
    PROVENANCE_NAMES,
    REPEATS,
    SCHEMA_VERSION,
    SPACE_SIZE,
    STAGES,
    UNITS,
    Content,
    Metric,
    Provenance,
)

# Every dataset begins at a multiple of this, so that a mapped array is aligned for any type.
_ALIGNMENT = 64

_CELL_NOTES = {
    "adjacency_bits": "bit k: edge of the k-th pair of (0,1),(0,2),..,(0,6),(1,2),..,(5,6)",
    "operations": "operation codes of the vertices, see the file's operation_names; 255: no vertex",
    "num_vertices": "vertices of the pruned cell, input and output included",
    "module_hash": "official module hash (MD5), as bytes; rows ascend by it",
    "key": "canonical 64-bit key, equal for isomorphic cells",
    "trainable_parameters": "of the full network",
}


def digest(array: NDArray[Any]) -> str:
    """The checksum that is stored beside a dataset."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


def replaced_when_done(path: Path) -> contextlib.AbstractContextManager[Path]:
    """A temporary file beside ``path`` that takes its place if all goes well and else vanishes.

    Raises:
        TableError: If the folder does not exist or can't be written.
    """
    return _files.replaced_when_done(
        path,
        error=TableError,
        advice="free some disk space, or name a file in a folder that exists and is yours to write",
    )


def _write(group: h5py.Group, name: str, array: NDArray[Any], axes: str, **notes: str) -> None:
    """Writes one contiguous, uncompressed dataset with its checksum."""
    dataset = group.create_dataset(name, data=np.ascontiguousarray(array))
    dataset.attrs["axes"] = axes
    for key, value in notes.items():
        dataset.attrs[key] = value
    dataset.attrs["blake2b"] = digest(array)


def _check_metric(name: str, metric: Metric, shape: tuple[int, ...]) -> None:
    if metric.values.shape != shape or metric.provenance.shape != shape:
        raise ValueError(f"{name} is {metric.values.shape}, not {shape}")
    if not np.array_equal(np.isnan(metric.values), metric.provenance == Provenance.MISSING):
        raise ValueError(f"{name}: provenance says missing where a value is, or the reverse")


def _write_metrics(
    file: h5py.File, kind: str, metrics: Mapping[tuple[str, str], Metric], rows: int
) -> None:
    """Writes the groups ``metrics`` or ``means``."""
    single = kind == "metrics"
    shape = (rows, len(BUDGETS), REPEATS) if single else (rows, len(BUDGETS))
    axes = "row, budget, repeat" if single else "row, budget"
    for (stage, name), metric in metrics.items():
        if stage not in STAGES or name not in METRICS:
            raise ValueError(f"{stage}/{name} is no metric")
        _check_metric(f"{kind}/{stage}/{name}", metric, shape)
        group = file.require_group(f"{kind}/{stage}")
        _write(group, name, metric.values.astype(np.float32), axes, unit=UNITS[name])
        codes = ", ".join(f"{code} {name}" for code, name in enumerate(PROVENANCE_NAMES))
        _write(group, f"{name}_provenance", metric.provenance, axes, codes=codes)


def write_table(path: Path, content: Content) -> None:
    """Writes a table, under a temporary name until it is complete.

    Args:
        path: The file, replaced if it exists.
        content: What goes into it.

    Raises:
        TableError: If the file can't be written.
        ValueError: If the content contradicts itself.
    """
    cells = content.cells
    rows = len(cells)
    keys = cell_keys(cells)
    index = KeyIndex.build(keys)
    arrays: dict[str, NDArray[Any]] = {
        "adjacency_bits": cells.adjacency_bits,
        "operations": cells.operations,
        "num_vertices": cells.num_vertices,
        "module_hash": content.module_hash,
        "key": keys,
        "trainable_parameters": content.trainable_parameters,
    }
    with replaced_when_done(path) as temporary:
        try:
            with h5py.File(
                temporary,
                "w",
                alignment_threshold=1024,
                alignment_interval=_ALIGNMENT,
                # Nobody else knows the file yet, and some file systems have no locks.
                locking=False,
            ) as file:
                group = file.create_group("cells")
                for name, array in arrays.items():
                    axes = {"operations": "row, vertex", "module_hash": "row, byte"}
                    _write(group, name, array, axes.get(name, "row"), meaning=_CELL_NOTES[name])
                group = file.create_group("index")
                meaning = "hash table from keys to rows"
                _write(group, "slot_keys", index.slot_keys, "slot", meaning=meaning)
                _write(group, "slot_rows", index.slot_rows, "slot", meaning=meaning)
                _write_metrics(file, "metrics", content.metrics, rows)
                _write_metrics(file, "means", content.means, rows)
                for name, attributes in content.sources.items():
                    file.create_group(f"sources/{name}").attrs.update(attributes)
                file.attrs.update(content.attributes)
                file.attrs.update(
                    {
                        "source": content.source,
                        "builder": f"nprep {nprep.__version__}",
                        "rows": rows,
                        "space": "complete" if rows == SPACE_SIZE else "part",
                        "budgets": np.array(BUDGETS, np.int32),
                        "budget_unit": "epochs",
                        "repeats": REPEATS,
                        "operation_names": json.dumps(OPERATION_NAMES),
                        "views": json.dumps(dict(content.views)),
                        "schema_version": SCHEMA_VERSION,
                        "format": FORMAT,
                    }
                )
            seal(temporary)
        except OSError as error:
            raise TableError(
                f"{path} can't be written ({error}): free some disk space or name another file."
            ) from error
