"""Sharing plans kept on disk: built once for a space, mapped into memory by every process after.

A plan depends on the cells, the normalisation and the number of layers alone, so its file lies in
the user's cache folder (``NPREP_CACHE``, see ``nprep.table.default``) under a digest of those. The
file is a line of JSON, which says where the arrays lie and has their checksum, then the arrays,
each on a multiple of 64 bytes. It takes its name when it is complete, so that writers need not know
of each other; one that is damaged is built again; where nothing can be written the plan is built in
memory. Results never depend on the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.cache import cache_folder
from nprep.predictor.plan import CHUNK_CELLS, SEGMENT_CELLS, Gather, Segment, SharingPlan
from nprep.spaces.graphs import HasDigest

# Part of the digest: raise it when plans come to hold something else.
_VERSION = 2
_ALIGNMENT = 64
_HEADER = 1 << 16
# Below this a plan is built in less time than a file is worth.
FEWEST_CELLS = 100_000
# A whole space takes about 140 MB; the files used least recently go.
KEPT_FILES = 4

_GATHER = ("out_starts", "out_sources", "out_weights", "in_starts", "in_sources", "in_weights")


def plan_digest(cells: HasDigest, normalisation: str, layers: int) -> str:
    """The name of a plan: a digest of all that it depends on.

    Args:
        cells: The N cells.
        normalisation: Of the adjacency.
        layers: Number of GCN layers.
    """
    head = f"{_VERSION} {normalisation} {layers} {CHUNK_CELLS} {SEGMENT_CELLS} {len(cells)}"
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
    path = folder / f"plan-{name}.bin"
    try:
        plan = _read(path, name)
        with contextlib.suppress(OSError):
            os.utime(path)
        return plan
    except (OSError, ValueError, KeyError, TypeError):
        # Missing, cut short or damaged: what it should hold is known.
        plan = SharingPlan.build(cells, normalisation, layers)
    with contextlib.suppress(OSError):
        _write(path, name, plan)
        _forget_old(folder)
    return plan


def _arrays(plan: SharingPlan) -> Iterator[tuple[str, NDArray[Any]]]:
    """All arrays of a plan and their names."""
    for number, segment in enumerate(plan.segments):
        yield f"{number}/cells", segment.cells
        yield f"{number}/cell_starts", segment.cell_starts
        yield f"{number}/chunk_rows", segment.chunk_rows
        for layer, gather in enumerate(segment.layers):
            for name in _GATHER:
                yield f"{number}/{layer}/{name}", getattr(gather, name)


def _write(path: Path, name: str, plan: SharingPlan) -> None:
    """Writes a plan.

    Raises:
        OSError: If it cannot be written.
    """
    places: dict[str, Any] = {}
    position = _HEADER
    digest = hashlib.sha256()
    for key, array in _arrays(plan):
        places[key] = [position, str(array.dtype), list(array.shape)]
        position += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        digest.update(np.ascontiguousarray(array).data)
    header = {
        "plan": name,
        "count": plan.count,
        "num_types": plan.num_types,
        "normalisation": plan.normalisation,
        "segments": len(plan.segments),
        "layers": plan.num_layers,
        "size": position,
        "sha256": digest.hexdigest(),
        "arrays": places,
    }
    line = json.dumps(header).encode() + b"\n"
    if len(line) > _HEADER:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".plan-", suffix=".part")
    try:
        with open(handle, "wb") as file:
            file.write(line)
            for key, array in _arrays(plan):
                file.seek(places[key][0])
                file.write(np.ascontiguousarray(array).data)
            file.truncate(position)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _read(path: Path, name: str) -> SharingPlan:
    """Maps a plan and compares its checksum.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not what its name says, or damaged; KeyError and TypeError likewise.
    """
    with open(path, "rb") as file:
        line = file.read(_HEADER).partition(b"\n")[0]
        size = os.fstat(file.fileno()).st_size
    header = json.loads(line)
    if header["plan"] != name or header["size"] != size:
        raise ValueError("another plan, or cut short")
    # Copy on write: the arrays count as writable, for which alone the kernels are compiled.
    whole = np.asarray(np.memmap(path, np.uint8, mode="c"))
    digest = hashlib.sha256()
    arrays = {}
    for key, (start, dtype, shape) in header["arrays"].items():
        stop = start + np.dtype(dtype).itemsize * int(np.prod(shape))
        arrays[key] = whole[start:stop].view(dtype).reshape(shape)
        digest.update(arrays[key].data)
    if digest.hexdigest() != header["sha256"]:
        raise ValueError("damaged")
    segments = tuple(
        Segment(
            arrays[f"{number}/cells"],
            tuple(
                Gather(*(arrays[f"{number}/{layer}/{field}"] for field in _GATHER))
                for layer in range(header["layers"])
            ),
            arrays[f"{number}/cell_starts"],
            arrays[f"{number}/chunk_rows"],
        )
        for number in range(header["segments"])
    )
    return SharingPlan(header["count"], header["num_types"], header["normalisation"], segments)


def _forget_old(folder: Path) -> None:
    """Removes all but the plans used last; one that is mapped stays readable where it is used."""
    files = sorted(folder.glob("plan-*.bin"), key=lambda path: path.stat().st_mtime)
    for path in files[:-KEPT_FILES]:
        with contextlib.suppress(OSError):
            path.unlink()
