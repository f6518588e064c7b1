"""Sharing plans kept on disk: built once for a space, mapped into memory by every process after.

A plan depends on the cells, the normalisation and the number of layers alone, so its file lies in
the user's cache folder (``NPREP_CACHE``, see ``nprep.kernels.cache``) under a digest of those. It
is an HDF5 file of contiguous data sets with a checksum of them all. It takes its name when it is
complete, so that writers need not know of each other; one that is damaged is built again; where
nothing can be written the plan is built in memory. Results never depend on the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nprep._files import replaced_when_done
from nprep.errors import OutputError
from nprep.kernels.cache import cache_folder
from nprep.predictor.plan import PART_GRAPHS, SharingPlan
from nprep.predictor.plan_building import CHUNK_NODES, PRODUCT_SLOTS, ROW_SLOTS
from nprep.predictor.schedule import Schedule
from nprep.spaces.graphs import HasDigest

# Part of the digest: raise it when plans come to hold something else.
_VERSION = 3
_ALIGNMENT = 64
# Below this a plan is built in less time than a file is worth.
FEWEST_CELLS = 100_000
# A whole space takes about 100 MB; the files used least recently go.
KEPT_FILES = 4


def plan_digest(cells: HasDigest, normalisation: str, layers: int) -> str:
    """The name of a plan: a digest of all that it depends on.

    Args:
        cells: The N cells.
        normalisation: Of the adjacency.
        layers: Number of GCN layers.
    """
    sizes = f"{CHUNK_NODES} {PRODUCT_SLOTS} {ROW_SLOTS} {PART_GRAPHS}"
    head = f"{_VERSION} {normalisation} {layers} {sizes} {len(cells)}"
    digest = hashlib.sha256(head.encode())
    digest.update(cells.digest().encode())
    return digest.hexdigest()[:32]


def stored_plan(
    cells: HasDigest, normalisation: str, layers: int, folder: Path | None = None
) -> SharingPlan:
    """The plan of some cells: loaded if it is on disk, else built, and stored if it can be.

    Args:
        cells: The cells.
        normalisation: Of the adjacency: "row", "symmetric" or "sum".
        layers: Number of GCN layers.
        folder: Where plans lie; None: in the user's cache folder.

    Returns:
        The plan. The arrays of a stored one are mapped, copy on write.
    """
    if len(cells) < FEWEST_CELLS:
        return SharingPlan.build(cells, normalisation, layers)
    if folder is None:
        folder = cache_folder()
    if folder is None:
        return SharingPlan.build(cells, normalisation, layers)
    name = plan_digest(cells, normalisation, layers)
    path = folder / f"plan-{name}.h5"
    try:
        plan = _read(path)
        with contextlib.suppress(OSError):
            os.utime(path)
        return plan
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        # Missing, cut short or damaged: what it should hold is known.
        plan = SharingPlan.build(cells, normalisation, layers)
    with contextlib.suppress(OSError, OutputError):
        _write(path, plan)
        _forget_old(folder)
    return plan


def _arrays(plan: SharingPlan) -> Iterator[tuple[str, NDArray[Any]]]:
    """All arrays of a plan and their names."""
    yield "palette", plan.palette
    for number, part in enumerate(plan.parts):
        for field in fields(Schedule):
            yield f"{number}/{field.name}", getattr(part, field.name)


def _write(path: Path, plan: SharingPlan) -> None:
    """Writes a plan.

    Raises:
        OSError: If it cannot be written; OutputError likewise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with (
        replaced_when_done(path) as temporary,
        h5py.File(
            temporary, "w", alignment_threshold=1, alignment_interval=_ALIGNMENT, locking=False
        ) as file,
    ):
        for name, array in _arrays(plan):
            file.create_dataset(name, data=array)
            digest.update(np.ascontiguousarray(array).data)
        file.attrs.update(
            count=plan.count,
            num_types=plan.num_types,
            normalisation=plan.normalisation,
            num_layers=plan.num_layers,
            parts=len(plan.parts),
            sha256=digest.hexdigest(),
        )


def _read(path: Path) -> SharingPlan:
    """Maps a plan and compares its checksum.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged; KeyError, TypeError and RuntimeError likewise.
    """
    # Copy on write: the arrays count as writable, for which alone the kernels are compiled.
    whole = np.asarray(np.memmap(path, np.uint8, mode="c"))
    digest = hashlib.sha256()
    arrays = {}
    with h5py.File(path, "r", locking=False) as file:
        known = dict(file.attrs)
        names = [field.name for field in fields(Schedule)]
        for name in ("palette", *(f"{n}/{k}" for n in range(int(known["parts"])) for k in names)):
            data = file[name]
            # A data set without elements has no place in the file.
            start = data.id.get_offset() or 0
            stop = start + data.dtype.itemsize * data.size
            arrays[name] = whole[start:stop].view(data.dtype).reshape(data.shape)
            digest.update(arrays[name].data)
    if digest.hexdigest() != known["sha256"]:
        raise ValueError("damaged")
    parts = tuple(
        Schedule(**{name: arrays[f"{number}/{name}"] for name in names})
        for number in range(int(known["parts"]))
    )
    return SharingPlan(
        int(known["count"]),
        int(known["num_types"]),
        str(known["normalisation"]),
        int(known["num_layers"]),
        arrays["palette"],
        parts,
    )


def _forget_old(folder: Path) -> None:
    """Removes all but the plans used last; one that is mapped stays readable where it is used."""
    # Files ending in .bin are those of versions before.
    for path in folder.glob("plan-*.bin"):
        with contextlib.suppress(OSError):
            path.unlink()
    files = sorted(folder.glob("plan-*.h5"), key=lambda path: path.stat().st_mtime)
    for path in files[:-KEPT_FILES]:
        with contextlib.suppress(OSError):
            path.unlink()
