"""Ways in which bytes and HDF5 files go wrong, each decided by a generator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Rng = np.random.Generator


def place_in(rng: Rng, data: bytes, hot: Sequence[tuple[int, int]]) -> int:
    """A place anywhere, or as often in one of the parts that are read first."""
    if hot and rng.random() < 0.5:
        begin, end = hot[rng.integers(len(hot))]
        return int(rng.integers(begin, end))
    return int(rng.integers(len(data)))


def damage_bytes(rng: Rng, data: bytes, hot: Sequence[tuple[int, int]] = ()) -> tuple[bytes, str]:
    """Bytes with one kind of damage, and what was done; may by chance be the same bytes.

    Args:
        rng: Decides.
        data: At least one byte.
        hot: Parts, as begin and end, that half of the damage is in.
    """
    out = bytearray(data)
    kind = int(rng.integers(9))
    at = place_in(rng, data, hot)
    length = int(min(2 ** rng.uniform(0, 12), len(data) - at))
    if kind <= 2:
        count = 1 if kind < 2 else int(rng.integers(2, 9))
        places = [place_in(rng, data, hot) for _ in range(count)]
        for place in places:
            out[place] ^= 1 << int(rng.integers(8))
        return bytes(out), f"flip a bit at {places}"
    if kind == 3:
        value = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
        out[at] = value
        return bytes(out), f"write {value} at {at}"
    if kind == 4:
        return bytes(out[:at]), f"cut at {at} of {len(data)}"
    if kind == 5:
        filling = rng.choice(["zeros", "ones", "noise"])
        new = {"zeros": bytes(length), "ones": b"\xff" * length, "noise": rng.bytes(length)}
        out[at : at + length] = new[str(filling)]
        return bytes(out), f"{filling} from {at}, {length} bytes"
    if kind == 6:
        del out[at : at + length]
        return bytes(out), f"remove {length} bytes at {at}"
    if kind == 7:
        out[at:at] = rng.bytes(length)
        return bytes(out), f"insert {length} bytes at {at}"
    other = place_in(rng, data, hot)
    length = min(length, len(data) - other)
    out[at : at + length] = data[other : other + length]
    return bytes(out), f"copy {length} bytes from {other} to {at}"


_DTYPES: tuple[Any, ...] = (
    "f8", "f2", ">f4", "i8", "i4", "u1", "u4", "u8", ">u8", "i1", "?", "S3", "c8",
)  # fmt: skip


def _attribute(rng: Rng) -> Any:
    values: tuple[Any, ...] = (
        0, -1, 1, 2**31, 2**62, -(2**62), 0.5, float("nan"), "", "text", "{", "[]", '{"a": 1}',
        "null", '{"measured": 3}', np.arange(3), np.zeros((0,)), np.bytes_(b"\xff\xfe"),
        h5py.Empty("f4"), np.float64("inf"), np.array(["a", "b"], dtype="S1"), True,
    )  # fmt: skip
    return values[rng.integers(len(values))]


def _other_shape(rng: Rng, array: np.ndarray) -> np.ndarray:
    shapes: tuple[Callable[[], np.ndarray], ...] = (
        lambda: array[:-1],
        lambda: array[:0],
        lambda: np.concatenate([array, array[:1]]),
        lambda: np.concatenate([array, array]),
        lambda: array.reshape(-1),
        lambda: array.T.copy(),
        lambda: array[..., None],
        lambda: array.reshape(-1)[0],
    )
    return shapes[rng.integers(len(shapes))]()


def _random_like(rng: Rng, array: np.ndarray) -> np.ndarray:
    data = rng.bytes(array.nbytes)
    return np.frombuffer(data, array.dtype).reshape(array.shape)


def damage_structure(rng: Rng, path: Path) -> str:
    """Changes an HDF5 file by the library's own means; what was done.

    Args:
        rng: Decides.
        path: The file, changed in place.
    """
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        name, other = (names[i] for i in rng.choice(len(names), 2, replace=False))
        array = file[name][...]
        kind = int(rng.integers(14))
        if kind == 0:
            file.move(name, "aside")
            file.move(other, name)
            file.move("aside", other)
            return f"swap {name} and {other}"
        if kind == 1:
            del file[name]
            file.copy(other, name)
            return f"copy {other} over {name}"
        if kind == 2:
            del file[name]
            return f"delete {name}"
        if kind == 3:
            dtype = _DTYPES[rng.integers(len(_DTYPES))]
            del file[name]
            with np.errstate(all="ignore"), contextlib.suppress(TypeError):
                file[name] = array.astype(dtype)
            return f"make {name} {dtype}"
        if kind == 4:
            changed = _other_shape(rng, array)
            del file[name]
            file[name] = changed
            return f"make {name} {changed.shape}"
        if kind == 5:
            options: tuple[dict[str, Any], ...] = (
                {"chunks": True}, {"compression": "gzip"}, {"shuffle": True},
                {"fletcher32": True}, {"maxshape": (None,) * array.ndim},
            )  # fmt: skip
            chosen = options[rng.integers(len(options))]
            del file[name]
            file.create_dataset(name, data=array, **chosen)
            return f"store {name} with {chosen}"
        if kind == 6:
            file[name][...] = _random_like(rng, array)
            return f"noise in all of {name}"
        if kind == 7:
            flat = array.reshape(-1).copy()
            places = rng.integers(len(flat), size=int(rng.integers(1, 5)))
            flat[places] = _random_like(rng, flat[places])
            file[name][...] = flat.reshape(array.shape)
            return f"noise at {places.tolist()} of {name}"
        if kind == 8:
            del file[name]
            choice = int(rng.integers(6))
            if choice == 0:
                file.create_group(name)
            elif choice == 1:
                file[name] = h5py.SoftLink("/nowhere")
            elif choice == 2:
                file[name] = h5py.ExternalLink("elsewhere.h5", "/")
            elif choice == 3:
                file[name] = file["/"]
            elif choice == 4:
                file.create_dataset(name, data=["a", "b"], dtype=h5py.string_dtype())
            else:
                file[name] = h5py.Empty("f4")
            return f"something else ({choice}) in place of {name}"
        if kind == 9:
            space = h5py.h5s.create_simple(array.shape)
            creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            creation.set_layout(h5py.h5d.COMPACT)
            del file[name]
            small = array.nbytes < 60_000
            if small:
                made = h5py.h5d.create(
                    file.id, name.encode(), h5py.h5t.py_create(array.dtype), space, creation
                )
                made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array))
            return f"store {name} inside its header" if small else f"delete {name}"
        if kind == 10:
            where = file[name] if rng.random() < 0.3 else file
            attribute = str(rng.choice(list(where.attrs)))
            del where.attrs[attribute]
            return f"delete attribute {attribute} of {where.name}"
        if kind == 11:
            attribute = str(rng.choice(["rows", "views", "space", "source", "builder", "format"]))
            value = _attribute(rng)
            file.attrs[attribute] = value
            return f"set {attribute} to {value!r}"
        if kind == 12:
            del file["sources"]
            file["sources"] = _attribute(rng)
            return "sources are a dataset"
        value = _attribute(rng)
        file["sources"].create_group("more").attrs["file"] = value
        file["extra"] = _other_shape(rng, array)
        return f"add a source with file {value!r} and a dataset"
