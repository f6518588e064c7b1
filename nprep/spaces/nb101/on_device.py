"""What ``nprep.spaces.nb101.cells`` computes, on a GPU: host arrays in and out.

The functions there take ``device`` and come here with it. A device is what
``nprep.kernels.cuda.device.cuda_device()`` gives; arrays that are to stay on it are made by
``nprep.kernels.cuda.space`` itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.cuda import space as _space
from nprep.kernels.cuda.device import Device
from nprep.kernels.cuda.space import DeviceCells
from nprep.kernels.nb101.cells import MAX_VERTICES

# Adjacency bits, operations, numbers of vertices.
Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def prune(device: Device, specs: Arrays) -> tuple[NDArray[np.uint8], Arrays]:
    """See ``nprep.spaces.nb101.cells.prune_cells``."""
    codes, cells = _space.prune(device, DeviceCells.upload(device, *specs))
    bits, operations, sizes = (device.download(array) for array in cells.arrays)
    return device.download(codes), (bits, operations, sizes)


def keys(device: Device, cells: Arrays) -> NDArray[np.uint64]:
    """See ``nprep.spaces.nb101.cells.cell_keys``."""
    return device.download(_space.cell_keys(device, DeviceCells.upload(device, *cells)))


def spec_keys(device: Device, specs: Arrays) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """See ``nprep.spaces.nb101.cells.spec_keys``."""
    codes, found = _space.spec_keys(device, DeviceCells.upload(device, *specs))
    return device.download(codes), device.download(found)


def hashes(device: Device, cells: Arrays) -> NDArray[np.uint8]:
    """See ``nprep.spaces.nb101.cells.module_hashes``."""
    words = device.download(_space.module_hashes(device, DeviceCells.upload(device, *cells)))
    return np.ascontiguousarray(words.astype("<u4", copy=False)).view(np.uint8).reshape(-1, 16)


def parameters(device: Device, cells: Arrays) -> NDArray[np.int32]:
    """See ``nprep.spaces.nb101.cells.trainable_parameters``."""
    return device.download(_space.parameter_counts(device, DeviceCells.upload(device, *cells)))


def encodings(
    device: Device, cells: Arrays, symmetric: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Adjacency along and against the edges, and one-hot operations (see ``.cells``)."""
    along, against, one_hot = _space.encode(
        device, DeviceCells.upload(device, *cells), symmetric=symmetric
    )
    return device.download(along), device.download(against), device.download(one_hot)


def random_specs(device: Device, count: int, rng: np.random.Generator) -> Arrays:
    """See ``nprep.spaces.nb101.cells.random_specs``; every spec has a generator of its own."""
    bits, operations = _space.random_specs(device, _states(device, count, rng))
    sizes = np.full(count, MAX_VERTICES, np.uint8)
    return device.download(bits), device.download(operations), sizes


def mutate(
    device: Device, parents: Arrays, rng: np.random.Generator, rule: str, rate: float
) -> Arrays:
    """See ``nprep.spaces.nb101.cells.mutate``, which has checked the arguments."""
    bits, operations = device.upload(parents[0]), device.upload(parents[1])
    states = _states(device, len(parents[0]), rng)
    if rule == "notebook":
        children = _space.mutate_notebook(device, states, bits, operations, rate)
    else:
        children = _space.mutate_one(device, states, bits, operations, rule == "one-valid")
    return device.download(children[0]), device.download(children[1]), parents[2].copy()


def _states(device: Device, count: int, rng: np.random.Generator) -> Any:
    """One generator state for each item, on the device."""
    states = rng.integers(0, 2**64, size=(count, 4), dtype=np.uint64)
    # Zeros throughout are the one state that the kernel's generator cannot leave.
    states[:, 0] |= np.uint64(1)
    return device.upload(states)
