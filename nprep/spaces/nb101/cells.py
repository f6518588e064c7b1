"""The NASBench-101 space: cells as arrays, and what can be computed from them.

A batch holds pruned cells (rows of the space) or unpruned specs with 7 vertices (genotypes, as
search methods make them); each function says which it takes. Single specs with names and nested
lists are ``nprep.spaces.nb101.spec.Spec``. Where a function takes ``device``, a GPU does the
work: give it ``nprep.kernels.cuda.device.cuda_device()``. Results are the same, but for what is
drawn at random, which comes from the same distribution.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError, SettingsError
from nprep.kernels.nb101 import cells as _cells
from nprep.kernels.nb101 import encode as _encode
from nprep.kernels.nb101 import sample as _sample
from nprep.kernels.nb101.cells import MAX_VERTICES
from nprep.kernels.nb101.enumerate import enumerate_cells
from nprep.kernels.nb101.md5 import module_hash_batch
from nprep.kernels.nb101.parameters import parameters_batch
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.spaces.nb101 import on_device as _on_device
from nprep.spaces.nb101.batch import CellBatch
from nprep.spaces.nb101.spec import OPERATION_NAMES, Spec

if TYPE_CHECKING:
    from nprep.kernels.cuda.device import Device

__all__ = [
    "MUTATION_RULES",
    "OPERATION_NAMES",
    "CellBatch",
    "Spec",
    "adjacency_matrices",
    "build_index",
    "cell_keys",
    "cells_from_specs",
    "encode_flat",
    "encode_one_hot",
    "enumerate_space",
    "find_rows",
    "format_hashes",
    "module_hashes",
    "mutate",
    "normalised_adjacency",
    "parse_hash",
    "prune_cells",
    "random_specs",
    "spec_keys",
    "specs_from_cells",
    "trainable_parameters",
]

MutationRule = Literal["notebook", "one", "one-valid"]
MUTATION_RULES: tuple[MutationRule, ...] = ("notebook", "one", "one-valid")


def _arrays(cells: CellBatch) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The arrays of a batch, copied where a kernel would be compiled anew for their layout."""
    return (
        np.require(cells.adjacency_bits, np.uint32, ["C", "W"]),
        np.require(cells.operations, np.uint8, ["C", "W"]),
        np.require(cells.num_vertices, np.uint8, ["C", "W"]),
    )


def enumerate_space(
    threads: int | None = None, device: Device | None = None
) -> tuple[CellBatch, NDArray[np.uint8]]:
    """All 423,624 cells of NASBench-101, from first principles.

    Args:
        threads: Threads for the hashes; by default one for each processor. The result does not
            depend on it.
        device: A GPU that computes the hashes, or None.

    Returns:
        The cells, with the matrices of the official files, in the order of their module hashes, and
        the hashes (N, 16) uint8.
    """
    if threads is None:
        threads = os.cpu_count() or 1
    bits, operations, sizes, _ = enumerate_cells()
    hashes = module_hashes(CellBatch(bits, operations, sizes), threads, device)
    words = hashes.view(">u8")
    order = np.lexsort((words[:, 1], words[:, 0]))
    return CellBatch(bits, operations, sizes).take(order), hashes[order]


def prune_cells(
    specs: CellBatch, device: Device | None = None
) -> tuple[NDArray[np.uint8], CellBatch]:
    """Prunes unpruned specs.

    Args:
        specs: N specs.
        device: A GPU for the work, or None.

    Returns:
        The validity codes (N,) uint8 of ``nprep.kernels.nb101.cells`` (0 is valid), and the
        pruned cells; a disconnected spec gives 0 vertices.
    """
    if device is not None:
        codes, cells = _on_device.prune(device, _arrays(specs))
        return codes, CellBatch(*cells)
    codes, bits, operations, sizes = _cells.prune_batch(*_arrays(specs))
    return codes, CellBatch(bits, operations, sizes)


def cell_keys(cells: CellBatch, device: Device | None = None) -> NDArray[np.uint64]:
    """The canonical keys (N,) uint64 of pruned cells: equal for isomorphic cells only."""
    if device is not None:
        return _on_device.keys(device, _arrays(cells))
    return _cells.key_batch(*_arrays(cells))


def spec_keys(
    specs: CellBatch, device: Device | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """Validity codes (N,) uint8 (0 is valid) and canonical keys (N,) uint64 of unpruned specs."""
    if device is not None:
        return _on_device.spec_keys(device, _arrays(specs))
    return _cells.spec_key_batch(*_arrays(specs))


def build_index(cells: CellBatch) -> KeyIndex:
    """An index from canonical keys to positions in a batch of distinct pruned cells."""
    return KeyIndex.build(cell_keys(cells))


def find_rows(index: KeyIndex, specs: CellBatch) -> NDArray[np.int32]:
    """The position of each spec, pruned or not, in the batch that ``index`` was built from.

    Returns:
        (N,) int32; -1 for specs that are invalid or outside the batch.
    """
    _, keys = _cells.spec_key_batch(*_arrays(specs))
    return index.find(keys)


def module_hashes(
    cells: CellBatch, threads: int = 1, device: Device | None = None
) -> NDArray[np.uint8]:
    """The official module hashes (N, 16) uint8 of pruned cells."""
    if device is not None:
        return _on_device.hashes(device, _arrays(cells))
    return module_hash_batch(*_arrays(cells), threads)


def format_hashes(hashes: NDArray[np.uint8]) -> list[str]:
    """Module hashes (N, 16) uint8 as 32 hex characters each."""
    text = np.ascontiguousarray(hashes, np.uint8).tobytes().hex()
    return [text[start : start + 32] for start in range(0, len(text), 32)]


def parse_hash(text: str) -> NDArray[np.uint8]:
    """A module hash of 32 hex characters as (16,) uint8.

    Raises:
        InvalidSpecError: If it is not 32 hex characters.
    """
    try:
        digest = bytes.fromhex(text)
    except (TypeError, ValueError):
        digest = b""
    if len(digest) != 16 or len(text) != 32:
        raise InvalidSpecError(f"{text!r} is not a module hash; give its 32 hex characters.")
    return np.frombuffer(digest, np.uint8).copy()


def trainable_parameters(cells: CellBatch, device: Device | None = None) -> NDArray[np.int32]:
    """Trainable parameters (N,) int32 of the full networks of pruned cells."""
    if device is not None:
        return _on_device.parameters(device, _arrays(cells))
    return parameters_batch(*_arrays(cells))


def cells_from_specs(specs: Iterable[Spec]) -> CellBatch:
    """The pruned cells of specs.

    Raises:
        InvalidSpecError: If one is no cell of the space; the message gives its position.
    """
    rows = []
    for position, spec in enumerate(specs):
        try:
            rows.append(spec.codes())
        except InvalidSpecError as error:
            raise InvalidSpecError(f"at position {position}, {error}") from None
    return CellBatch(
        np.array([bits for bits, _, _ in rows], np.uint32),
        np.array([codes for _, codes, _ in rows], np.uint8).reshape(-1, MAX_VERTICES),
        np.array([size for _, _, size in rows], np.uint8),
    )


def specs_from_cells(cells: CellBatch) -> list[Spec]:
    """The specs of cells, vertex by vertex as they stand."""
    parts = zip(cells.adjacency_bits, cells.operations, cells.num_vertices, strict=True)
    return [Spec.from_codes(*part) for part in parts]


def encode_one_hot(cells: CellBatch, device: Device | None = None) -> NDArray[np.float32]:
    """One-hot operations (N, 7, 5) float32: input, conv1x1, conv3x3, max-pool, output."""
    if device is not None:
        return _on_device.encodings(device, _arrays(cells), symmetric=False)[2]
    _, operations, sizes = _arrays(cells)
    return _encode.one_hot(operations, sizes)


def adjacency_matrices(cells: CellBatch) -> NDArray[np.uint8]:
    """Matrices (N, 7, 7) uint8 with 1 at [i, j] for an edge from i to j."""
    bits, _, sizes = _arrays(cells)
    return _encode.adjacency_matrices(bits, sizes)


def normalised_adjacency(
    cells: CellBatch,
    form: Literal["row", "symmetric"] = "row",
    device: Device | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Normalised adjacency with self-loops, along and against the edges.

    Args:
        cells: N cells.
        form: "row" divides every row of A + I, and of its transpose, by its sum; "symmetric"
            divides entry [i, j] by the root of row sum i times column sum j.
        device: A GPU for the work, or None.

    Returns:
        Two arrays (N, 7, 7) float32; rows of vertices that a cell lacks are zeros.

    Raises:
        SettingsError: If the form is unknown.
    """
    if device is not None and form in ("row", "symmetric"):
        along, against, _ = _on_device.encodings(device, _arrays(cells), form == "symmetric")
        return along, against
    bits, _, sizes = _arrays(cells)
    if form == "row":
        return _encode.row_normalised_adjacency(bits, sizes)
    if form == "symmetric":
        return _encode.symmetric_normalised_adjacency(bits, sizes)
    raise SettingsError(f"the form of normalisation is {form!r}; known are 'row' and 'symmetric'.")


def encode_flat(cells: CellBatch) -> NDArray[np.float32]:
    """One-hot operations, then the upper triangle: (N, 56) float32, for an MLP."""
    return _encode.flat_encoding(*_arrays(cells))


def _generator_state(rng: np.random.Generator) -> NDArray[np.uint64]:
    """A kernel generator state drawn from ``rng``."""
    state = rng.integers(0, 2**64, size=4, dtype=np.uint64)
    # Zeros throughout are the one state that the kernel's generator cannot leave.
    state[0] |= np.uint64(1)
    return state


def random_specs(count: int, rng: np.random.Generator, device: Device | None = None) -> CellBatch:
    """Draws valid unpruned specs with the official sampler (not uniform over cells).

    Every edge is there with probability 1/2, operations are uniform, and what is invalid is drawn
    again. For cells drawn uniformly, take random rows of the space.

    Args:
        count: How many.
        rng: Advanced by one draw, or one for each spec if a device draws.
        device: A GPU for the work, or None.

    Returns:
        Genotypes with 7 vertices.
    """
    if device is not None:
        return CellBatch(*_on_device.random_specs(device, count, rng))
    bits, operations = _sample.random_spec_batch(_generator_state(rng), count)
    return CellBatch(bits, operations, np.full(count, MAX_VERTICES, np.uint8))


def mutate(
    parents: CellBatch,
    rng: np.random.Generator,
    rule: MutationRule = "notebook",
    rate: float = 1.0,
    device: Device | None = None,
) -> CellBatch:
    """Draws one child of each parent.

    Args:
        parents: Genotypes with 7 vertices, valid unless the rule is "one".
        rng: Advanced by one draw, or one for each parent if a device draws.
        rule: "notebook": every pair flips with probability rate / 7 and every operation changes
            with probability rate / 5, until valid. "one": exactly one of the 21 pairs and 5
            operations changes; children may be invalid. "one-valid": that, until valid.
        rate: For the rule "notebook".
        device: A GPU for the work, or None.

    Returns:
        Genotypes with 7 vertices.

    Raises:
        InvalidSpecError: If a parent has fewer than 7 vertices, or is invalid where it may not be.
        SettingsError: If the rule is unknown or the rate is negative.
    """
    bits, operations, sizes = _arrays(parents)
    if rule not in MUTATION_RULES:
        raise SettingsError(
            f"the mutation rule is {rule!r}; known are {', '.join(MUTATION_RULES)}."
        )
    if not 0 <= rate < np.inf:
        raise SettingsError(f"the mutation rate is {rate}; give a number from 0 up.")
    if (sizes != MAX_VERTICES).any():
        raise InvalidSpecError(
            f"the parent at position {int(np.argmax(sizes != MAX_VERTICES))} has fewer than "
            f"{MAX_VERTICES} vertices; mutate unpruned specs."
        )
    if rule != "one":
        codes, _ = _cells.spec_key_batch(bits, operations, sizes)
        if codes.any():
            raise InvalidSpecError(
                f"the parent at position {int(np.argmax(codes != 0))} is invalid; its children may "
                "never be valid."
            )
    if device is not None:
        arrays = bits, operations, sizes
        return CellBatch(*_on_device.mutate(device, arrays, rng, rule, float(rate)))
    state = _generator_state(rng)
    if rule == "notebook":
        bits, operations = _sample.mutate_notebook_batch(state, bits, operations, float(rate))
    else:
        bits, operations = _sample.mutate_one_batch(state, bits, operations, rule == "one-valid")
    return CellBatch(bits, operations, sizes.copy())
