"""Cells and specs on a device: launchers of ``space.cu`` and ``hash.cu``.

Everything is an array of the device in and out; nothing is copied to the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.cuda.device import Device, DeviceArray
from nprep.kernels.nb101.md5 import _first_digests
from nprep.kernels.numeric.lookup import KeyIndex

_HASH_THREADS = 128  # HASH_THREADS of hash.cu.


@dataclass(frozen=True)
class DeviceCells:
    """N cells or specs on a device.

    Attributes:
        adjacency_bits: (N,) uint32.
        operations: (N, 7) uint8.
        num_vertices: (N,) uint8.
    """

    adjacency_bits: DeviceArray
    operations: DeviceArray
    num_vertices: DeviceArray

    @classmethod
    def upload(
        cls,
        device: Device,
        adjacency_bits: NDArray[np.uint32],
        operations: NDArray[np.uint8],
        num_vertices: NDArray[np.uint8],
    ) -> DeviceCells:
        """Copies a batch to the device."""
        return cls(
            device.upload(adjacency_bits), device.upload(operations), device.upload(num_vertices)
        )

    def __len__(self) -> int:
        """The number of cells."""
        return len(self.adjacency_bits)

    @property
    def arrays(self) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
        """The three arrays, in the order in which kernels take them."""
        return self.adjacency_bits, self.operations, self.num_vertices


def prune(device: Device, specs: DeviceCells) -> tuple[DeviceArray, DeviceCells]:
    """Prunes N specs.

    Returns:
        The validity codes (N,) uint8 (see ``nprep.kernels.nb101.cells``) and the pruned cells;
        those of a disconnected spec are empty.
    """
    count = len(specs)
    codes = device.empty(count, np.uint8)
    pruned = DeviceCells(
        device.empty(count, np.uint32), device.empty((count, 7), np.uint8),
        device.empty(count, np.uint8),
    )  # fmt: skip
    device.launch(
        "space", "prune_specs", count, np.int64(count), *specs.arrays, codes, *pruned.arrays
    )
    return codes, pruned


def cell_keys(device: Device, cells: DeviceCells) -> DeviceArray:
    """The canonical keys (N,) uint64 of pruned cells."""
    keys = device.empty(len(cells), np.uint64)
    device.launch("space", "cell_keys", len(cells), np.int64(len(cells)), *cells.arrays, keys)
    return keys


def spec_keys(device: Device, specs: DeviceCells) -> tuple[DeviceArray, DeviceArray]:
    """Validity codes (N,) uint8 and keys (N,) uint64 of unpruned specs; key 0 of an invalid one."""
    codes = device.empty(len(specs), np.uint8)
    keys = device.empty(len(specs), np.uint64)
    device.launch(
        "space", "spec_keys", len(specs), np.int64(len(specs)), *specs.arrays, codes, keys
    )
    return codes, keys


def module_hashes(device: Device, cells: DeviceCells) -> DeviceArray:
    """The official module hashes of pruned cells.

    Returns:
        (N, 4) uint32; viewed as bytes in little-endian order, a row is the MD5 digest.
    """
    _, ranks = _first_digests()
    first = device.upload(ranks.astype(">u8").view("<u4").astype(np.uint32))
    hashes = device.empty((len(cells), 4), np.uint32)
    device.launch(
        "hash", "module_hashes", len(cells), np.int64(len(cells)), first, *cells.arrays, hashes,
        threads=_HASH_THREADS,
    )  # fmt: skip
    return hashes


@dataclass(frozen=True)
class DeviceIndex:
    """A ``KeyIndex`` on a device.

    Attributes:
        device: The device.
        slot_keys: (S,) uint64.
        slot_rows: (S,) int32.
    """

    device: Device
    slot_keys: DeviceArray
    slot_rows: DeviceArray

    @classmethod
    def upload(cls, device: Device, index: KeyIndex) -> DeviceIndex:
        """Copies an index to the device."""
        return cls(device, device.upload(index.slot_keys), device.upload(index.slot_rows))

    def find(self, keys: DeviceArray) -> DeviceArray:
        """The row (N,) int32 of each key, -1 where it is unknown."""
        rows = self.device.empty(len(keys), np.int32)
        self.device.launch(
            "space", "find_keys", len(keys), np.int64(len(keys)),
            np.uint64(len(self.slot_keys) - 1), self.slot_keys, self.slot_rows, keys, rows,
        )  # fmt: skip
        return rows

    def find_specs(self, specs: DeviceCells) -> DeviceArray:
        """The row (N,) int32 of each unpruned spec, -1 where it is invalid or unknown."""
        rows = self.device.empty(len(specs), np.int32)
        self.device.launch(
            "space", "find_specs", len(specs), np.int64(len(specs)),
            np.uint64(len(self.slot_keys) - 1), self.slot_keys, self.slot_rows, *specs.arrays,
            rows,
        )  # fmt: skip
        return rows


def parameter_counts(device: Device, cells: DeviceCells) -> DeviceArray:
    """Trainable parameters (N,) int32 of the networks of pruned cells."""
    counts = device.empty(len(cells), np.int32)
    device.launch(
        "space", "parameter_counts", len(cells), np.int64(len(cells)), *cells.arrays, counts
    )
    return counts


def encode(
    device: Device, cells: DeviceCells, symmetric: bool = False
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    """Dense encodings of pruned cells, as those of ``nprep.kernels.nb101.encode``.

    Args:
        device: The device.
        cells: N cells.
        symmetric: Normalise by both degrees rather than by rows.

    Returns:
        The normalised adjacency along and against the edges, (N, 7, 7) float32 each, and the
        one-hot operations (N, 7, 5) float32. Rows of vertices that a cell does not have are zero.
    """
    count = len(cells)
    along = device.empty((count, 7, 7), np.float32)
    against = device.empty((count, 7, 7), np.float32)
    one_hot = device.empty((count, 7, 5), np.float32)
    device.launch(
        "space", "encode_adjacency", 49 * count, np.int64(count), np.int32(symmetric),
        cells.adjacency_bits, cells.num_vertices, along, against,
    )  # fmt: skip
    device.launch(
        "space", "encode_operations", 35 * count, np.int64(count), cells.operations,
        cells.num_vertices, one_hot,
    )  # fmt: skip
    return along, against, one_hot


def random_specs(device: Device, states: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """One spec of the official sampler from each of N generators.

    Args:
        device: The device.
        states: (N, 4) uint64 states (see ``nprep.kernels.numeric.rng``), advanced.

    Returns:
        Adjacency bits (N,) uint32 and operations (N, 7) uint8; all have 7 vertices.
    """
    count = len(states)
    bits = device.empty(count, np.uint32)
    operations = device.empty((count, 7), np.uint8)
    device.launch("space", "random_specs", count, np.int64(count), states, bits, operations)
    return bits, operations


def _threshold(probability: float) -> np.uint64:
    """The probability in units of 2^-32, rounded as ``nprep.kernels.nb101.sample`` does."""
    return np.uint64(min(1.0, probability) * 4294967296.0 + 0.5)


def mutate_notebook(
    device: Device, states: DeviceArray, bits: DeviceArray, operations: DeviceArray, rate: float
) -> tuple[DeviceArray, DeviceArray]:
    """One valid child of each of N genotypes by the official notebook's mutation.

    Args:
        device: The device.
        states: (N, 4) uint64 generator states, advanced.
        bits: (N,) uint32 adjacency bits of 7-vertex specs.
        operations: (N, 7) uint8.
        rate: Mutation rate; 1 in the notebook.

    Returns:
        The children's bits and operations.
    """
    count = len(bits)
    child_bits = device.empty(count, np.uint32)
    child_operations = device.empty((count, 7), np.uint8)
    device.launch(
        "space", "mutate_notebook", count, np.int64(count), _threshold(rate / 7),
        _threshold(rate / 5), states, bits, operations, child_bits, child_operations,
    )  # fmt: skip
    return child_bits, child_operations


def mutate_one(
    device: Device,
    states: DeviceArray,
    bits: DeviceArray,
    operations: DeviceArray,
    until_valid: bool,
) -> tuple[DeviceArray, DeviceArray]:
    """One child of each of N genotypes that differs in exactly one edge or operation.

    Args:
        device: The device.
        states: (N, 4) uint64 generator states, advanced.
        bits: (N,) uint32 adjacency bits of 7-vertex specs.
        operations: (N, 7) uint8.
        until_valid: Draw again until the child is valid (a valid parent always has one).

    Returns:
        The children's bits and operations.
    """
    count = len(bits)
    child_bits = device.empty(count, np.uint32)
    child_operations = device.empty((count, 7), np.uint8)
    device.launch(
        "space", "mutate_one", count, np.int64(count), np.int32(until_valid), states, bits,
        operations, child_bits, child_operations,
    )  # fmt: skip
    return child_bits, child_operations
