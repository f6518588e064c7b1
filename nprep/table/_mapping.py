"""Opens a table file and maps its datasets into memory, trusting nothing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nprep._files import fault_of_surroundings, reason
from nprep.errors import InvalidSpecError, SettingsError, TableError
from nprep.spaces.base import Space, Stored
from nprep.spaces.registry import get_space
from nprep.table._seal import BrokenSealError, Piece, contiguous_datasets, read_seal
from nprep.table._sealed import REBUILD, SealedArrays
from nprep.table.schema import (
    FORMAT,
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    STAGES,
    STORED_METRICS,
)

_SIGNATURE = b"\x89HDF\r\n\x1a\n"

_INDEX: dict[str, type[np.generic]] = {"slot_keys": np.uint64, "slot_rows": np.int32}


@dataclass(frozen=True)
class MappedFile:
    """A table file's attributes and arrays.

    Attributes:
        attributes: Of the file.
        space: The space that its architectures are of.
        budgets: Lengths of the B trainings in epochs, ascending.
        repeats: The number R of training runs of each length.
        cells: The architectures, a batch of the space.
        sources: Attributes of each source.
        arrays: Path inside the file to the array. Pages of mapped arrays are shared between
            processes; writing to an array changes this process's copy alone, never the file.
        digests: Path inside the file to the stored checksum.
    """

    attributes: dict[str, Any]
    space: Space
    budgets: tuple[int, ...]
    repeats: int
    cells: Any
    sources: dict[str, dict[str, Any]]
    arrays: SealedArrays
    digests: dict[str, str]


def _plain(value: Any) -> Any:
    """An attribute as a plain Python value."""
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _array_of(
    path: Path, name: str, dataset: Any, size: int, piece: Piece | None, in_memory: bool
) -> NDArray[Any]:
    """Maps one dataset, or reads it.

    Raises:
        TableError: If it is not one contiguous piece that lies inside the file, where its checksum
            was taken.
    """
    if dataset.shape is None:
        raise TableError(f"{path} is damaged: its dataset {name} is void; {REBUILD}.")
    offset = dataset.id.get_offset()
    contiguous = dataset.chunks is None and dataset.id.get_create_plist().get_nfilters() == 0
    if not contiguous or (offset is None and dataset.size):
        raise TableError(
            f"{path} cannot be mapped: its dataset {name} is not contiguous and uncompressed; "
            f"{REBUILD}."
        )
    if dataset.size == 0:
        return np.empty(dataset.shape, dataset.dtype)
    if offset + dataset.size * dataset.dtype.itemsize > size:
        raise TableError(
            f"{path} is truncated: its dataset {name} ends beyond the {size} bytes of the file; "
            "copy the whole file again or " + REBUILD + "."
        )
    if piece is None or (piece.offset, piece.size) != (offset, dataset.nbytes):
        raise TableError(
            f"{path} is damaged: its dataset {name} is not where its checksum was taken; {REBUILD}."
        )
    if in_memory:
        values = np.fromfile(path, dataset.dtype, dataset.size, offset=offset)
        if values.size < dataset.size:
            raise TableError(f"{path} was cut short while it was read: open it again.")
        return values.reshape(dataset.shape)
    # Copy-on-write: the arrays count as writable, for which alone the kernels are compiled.
    mapped = np.memmap(path, dataset.dtype, mode="c", offset=offset, shape=dataset.shape)
    array = np.asarray(mapped)
    return array if array.flags.aligned else array.copy()


def _expect(path: Path, name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise TableError(
            f"{path} is damaged or foreign: its dataset {name} is {array.dtype} {array.shape}, not "
            f"{np.dtype(dtype)} {shape}; {REBUILD}."
        )


def _check_attributes(path: Path, attributes: dict[str, Any]) -> None:
    if attributes.get("format") != FORMAT:
        raise TableError(
            f"{path} is an HDF5 file but no nprep table; {REBUILD} (other formats are sources)."
        )
    version = attributes.get("schema_version")
    if version not in READABLE_VERSIONS:
        raise TableError(
            f"{path} has schema version {version}, and this nprep reads versions 1 to "
            f"{SCHEMA_VERSION}: {REBUILD}."
        )
    for name in ("rows", "views", "source", "builder", "space"):
        if name not in attributes:
            raise TableError(f"{path} is damaged: it lacks the attribute {name}; {REBUILD}.")
        kind = int if name == "rows" else str
        if not isinstance(attributes[name], kind) or isinstance(attributes[name], bool):
            raise TableError(
                f"{path} is damaged: its attribute {name} is {attributes[name]!r}; {REBUILD}."
            )
    budgets, repeats = attributes.get("budgets"), attributes.get("repeats")
    if not (
        isinstance(budgets, list)
        and budgets
        and all(isinstance(budget, int) and 1 <= budget < 1 << 16 for budget in budgets)
        and budgets == sorted({*budgets})
        and isinstance(repeats, int)
        and 1 <= repeats < 1 << 8
    ):
        raise TableError(
            f"{path} is damaged: its budgets are {budgets} and its repeats {repeats}; {REBUILD}."
        )
    try:
        views = json.loads(attributes["views"])
    except (ValueError, RecursionError):
        views = None
    if not isinstance(views, dict) or not all(isinstance(text, str) for text in views.values()):
        raise TableError(f"{path} is damaged: its attribute views is no list of them; {REBUILD}.")


def _space_of(path: Path, attributes: dict[str, Any]) -> Space:
    """The space of a file's architectures.

    Raises:
        TableError: If this installation has none of that name.
    """
    try:
        return get_space(str(attributes.get("search_space", "nb101")))
    except SettingsError as error:
        raise TableError(f"{path} cannot be read: {error}") from error


def _check_arrays(
    path: Path, attributes: dict[str, Any], space: Space, sealed: SealedArrays
) -> None:
    rows = attributes["rows"]
    # Types and shapes are known from metadata, which have been compared with their checksum.
    arrays = sealed.unchecked
    wanted = {**space.stored, **space.facts, "key": Stored(np.uint64, (), "row", "")}
    for name, what in wanted.items():
        if f"cells/{name}" not in arrays:
            raise TableError(f"{path} is damaged: it lacks the dataset cells/{name}; {REBUILD}.")
        _expect(path, f"cells/{name}", arrays[f"cells/{name}"], what.dtype, (rows, *what.shape))
    # A dataset may also be a scalar, which has no length.
    slots = int(np.size(arrays.get("index/slot_keys", ())))
    for name, dtype in _INDEX.items():
        if f"index/{name}" not in arrays:
            raise TableError(f"{path} is damaged: it lacks the dataset index/{name}; {REBUILD}.")
        _expect(path, f"index/{name}", arrays[f"index/{name}"], dtype, (slots,))
    # A table of slots that is full or not a power of two would send a search round for ever.
    if slots <= rows or slots & (slots - 1):
        raise TableError(f"{path} is damaged: its index has {slots} slots; {REBUILD}.")
    for kind, shape in (
        ("metrics", (rows, len(attributes["budgets"]), attributes["repeats"])),
        ("means", (rows, len(attributes["budgets"]))),
    ):
        for stage in STAGES:
            for metric in STORED_METRICS:
                name = f"{kind}/{stage}/{metric}"
                if (name in arrays) != (f"{name}_provenance" in arrays):
                    raise TableError(
                        f"{path} is damaged: {name} has no provenance or the reverse; {REBUILD}."
                    )
                if name in arrays:
                    _expect(path, name, arrays[name], np.float32, shape)
                    _expect(
                        path, f"{name}_provenance", arrays[f"{name}_provenance"], np.uint8, shape
                    )


def _cells_of(path: Path, rows: int, space: Space, arrays: SealedArrays) -> Any:
    """The architectures of a file.

    Raises:
        TableError: If they or the index would lead kernels astray, which do not look out for them.
    """
    slot_rows, slot_keys = arrays["index/slot_rows"], arrays["index/slot_keys"]
    try:
        cells = space.from_arrays({name: arrays[f"cells/{name}"] for name in space.stored})
    except InvalidSpecError as error:
        raise TableError(f"{path} is damaged: {str(error).rstrip('.')}; {REBUILD}.") from error
    if rows and not (
        # Else the search for an absent key would go round for ever.
        (slot_keys == 0).any() and slot_rows.min() >= -1 and slot_rows.max() < rows
    ):
        raise TableError(
            f"{path} is damaged: its index is none that could have been written; {REBUILD}."
        )
    return cells


def map_file(path: Path, in_memory: bool = False) -> MappedFile:
    """Opens a table file.

    Args:
        path: The file.
        in_memory: Whether to read all arrays now instead of mapping them.

    Raises:
        TableError: If it is missing, unreadable, foreign, truncated, of another schema version or
            damaged; damaged values of a metric are found when they are first asked for.
    """
    try:
        size = os.stat(path).st_size
        if path.is_dir():
            raise TableError(f"{path} is a folder, not a table: name the table file in it.")
        with open(path, "rb") as stream:
            signature = stream.read(len(_SIGNATURE))
    except OSError as error:
        raise TableError(
            f"{path} cannot be read ({reason(error)}): check the name, or {REBUILD}."
        ) from error
    if signature != _SIGNATURE:
        what = "empty" if size == 0 else "no HDF5 file"
        raise TableError(f"{path} is {what}, so no nprep table: {REBUILD}.")
    try:
        pieces = read_seal(path)
    except (BrokenSealError, OSError) as error:
        because = fault_of_surroundings(error)
        if because:
            raise TableError(f"{path} cannot be read ({because}).") from error
        raise TableError(
            f"{path} is no nprep table, or is truncated or damaged: it {error}; copy the whole "
            f"file again or {REBUILD}."
        ) from error
    try:
        # Nothing is written, and some file systems have no locks.
        with h5py.File(path, "r", locking=False) as file:
            attributes = {name: _plain(value) for name, value in file.attrs.items()}
            _check_attributes(path, attributes)
            datasets = contiguous_datasets(file)
            arrays = {
                name: _array_of(path, name, item, size, pieces.get(name), in_memory)
                for name, item in datasets.items()
            }
            digests = {name: str(item.attrs.get("blake2b", "")) for name, item in datasets.items()}
            group = file.get("sources", {})
            if isinstance(group, h5py.Dataset):
                raise ValueError("its sources are a dataset")
            sources = {
                name: {key: _plain(value) for key, value in source.attrs.items()}
                for name, source in group.items()
            }
    except TableError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
        because = fault_of_surroundings(error)
        if because:
            raise TableError(f"{path} cannot be read ({because}).") from error
        raise TableError(
            f"{path} is truncated or damaged ({' '.join(str(error).split())}): copy the whole file "
            f"again or {REBUILD}."
        ) from error
    sealed = SealedArrays(path, arrays, pieces)
    space = _space_of(path, attributes)
    _check_arrays(path, attributes, space, sealed)
    cells = _cells_of(path, attributes["rows"], space, sealed)
    return MappedFile(
        attributes,
        space,
        tuple(attributes["budgets"]),
        attributes["repeats"],
        cells,
        sources,
        sealed,
        digests,
    )
