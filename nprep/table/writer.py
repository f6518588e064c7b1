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
from nprep.table._seal import seal
from nprep.table.schema import (
    FORMAT,
    PROVENANCE_NAMES,
    SCHEMA_VERSION,
    STAGES,
    STORED_METRICS,
    UNITS,
    Content,
    Metric,
    Provenance,
)

# Every dataset begins at a multiple of this, so that a mapped array is aligned for any type.
_ALIGNMENT = 64

_KEY = "canonical 64-bit key, equal for the same architecture only"


def digest(array: NDArray[Any]) -> str:
    """The checksum that is stored beside a dataset."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


def replaced_when_done(path: Path) -> contextlib.AbstractContextManager[Path]:
    """A temporary file beside ``path`` that takes its place if all goes well and else vanishes.

    Raises:
        TableError: If the folder does not exist or cannot be written.
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
    file: h5py.File, kind: str, metrics: Mapping[tuple[str, str], Metric], shape: tuple[int, ...]
) -> None:
    """Writes the groups ``metrics`` or ``means``, whose arrays have a shape."""
    axes = ", ".join(("row", "budget", "repeat")[: len(shape)])
    for (stage, name), metric in metrics.items():
        if stage not in STAGES or name not in STORED_METRICS:
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
        TableError: If the file cannot be written.
        ValueError: If the content contradicts itself.
    """
    space, rows = content.space, len(content.cells)
    budgets = content.budgets
    if (
        not budgets
        or list(budgets) != sorted({*budgets})
        or not 1 <= budgets[0] <= budgets[-1] < 1 << 16
    ):
        raise ValueError(f"budgets are {budgets}, not ascending numbers of epochs")
    keys = space.keys(content.cells)
    index = KeyIndex.build(keys)
    described = {**space.stored, **space.facts}
    arrays = {**space.to_arrays(content.cells), **content.facts}
    if arrays.keys() != described.keys():
        raise ValueError(f"the table has {sorted(arrays)}, not {sorted(described)}")
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
                for name, what in described.items():
                    array = np.asarray(arrays[name], what.dtype)
                    _write(group, name, array, what.axes, meaning=what.meaning)
                _write(group, "key", keys, "row", meaning=_KEY)
                group = file.create_group("index")
                meaning = "hash table from keys to rows"
                _write(group, "slot_keys", index.slot_keys, "slot", meaning=meaning)
                _write(group, "slot_rows", index.slot_rows, "slot", meaning=meaning)
                shape = (rows, len(budgets), content.repeats)
                _write_metrics(file, "metrics", content.metrics, shape)
                _write_metrics(file, "means", content.means, shape[:2])
                for name, attributes in content.sources.items():
                    file.create_group(f"sources/{name}").attrs.update(attributes)
                file.attrs.update(content.attributes)
                file.attrs.update(
                    {
                        "source": content.source,
                        "builder": f"nprep {nprep.__version__}",
                        "rows": rows,
                        "search_space": space.name,
                        "space": "complete" if rows == space.size else "part",
                        "budgets": np.array(budgets, np.int32),
                        "budget_unit": "epochs",
                        "repeats": content.repeats,
                        "operation_names": json.dumps(space.node_types),
                        "views": json.dumps(dict(content.views)),
                        "schema_version": SCHEMA_VERSION,
                        "format": FORMAT,
                    }
                )
            seal(temporary)
        except OSError as error:
            raise TableError(
                f"{path} cannot be written ({error}): free some disk space or name another file."
            ) from error
