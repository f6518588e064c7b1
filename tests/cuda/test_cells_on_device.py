"""The functions of the NASBench-101 space give the same on a device as on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from nprep.kernels.cuda.device import Device
from nprep.spaces.nb101 import cells as nb101
from nprep.spaces.nb101.cells import CellBatch


@pytest.fixture(scope="module")
def some(space: CellBatch) -> CellBatch:
    return space.take(np.random.default_rng(0).choice(len(space), 300, replace=False))


@pytest.fixture(scope="module")
def specs() -> CellBatch:
    """Unpruned specs, valid and invalid ones."""
    rng = np.random.default_rng(1)
    operations = rng.integers(0, 3, (300, 7)).astype(np.uint8)
    operations[:, 0], operations[:, 6] = 3, 4
    bits = rng.integers(0, 1 << 21, 300).astype(np.uint32)
    return CellBatch(bits, operations, np.full(300, 7, np.uint8))


def test_hashes_keys_and_parameters(device: Device, some: CellBatch) -> None:
    np.testing.assert_array_equal(
        nb101.module_hashes(some, device=device), nb101.module_hashes(some)
    )
    np.testing.assert_array_equal(nb101.cell_keys(some, device), nb101.cell_keys(some))
    np.testing.assert_array_equal(
        nb101.trainable_parameters(some, device), nb101.trainable_parameters(some)
    )


def test_specs(device: Device, specs: CellBatch) -> None:
    codes, cells = nb101.prune_cells(specs)
    assert 0 < (codes == 0).sum() < len(codes)
    found, pruned = nb101.prune_cells(specs, device)
    np.testing.assert_array_equal(found, codes)
    for name in ("adjacency_bits", "operations", "num_vertices"):
        np.testing.assert_array_equal(getattr(pruned, name), getattr(cells, name))
    for one, two in zip(nb101.spec_keys(specs, device), nb101.spec_keys(specs), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("form", ["row", "symmetric"])
def test_encodings(device: Device, some: CellBatch, form: str) -> None:
    pairs = zip(
        nb101.normalised_adjacency(some, form, device),  # type: ignore[arg-type] # of the list above
        nb101.normalised_adjacency(some, form),  # type: ignore[arg-type] # likewise
        strict=True,
    )
    for one, two in pairs:
        np.testing.assert_allclose(one, two, rtol=1e-6)
    np.testing.assert_array_equal(nb101.encode_one_hot(some, device), nb101.encode_one_hot(some))


def test_samples_and_children_are_valid_and_reproducible(device: Device) -> None:
    drawn = nb101.random_specs(200, np.random.default_rng(3), device)
    again = nb101.random_specs(200, np.random.default_rng(3), device)
    np.testing.assert_array_equal(drawn.adjacency_bits, again.adjacency_bits)
    assert not nb101.spec_keys(drawn)[0].any()
    for rule in nb101.MUTATION_RULES:
        children = nb101.mutate(drawn, np.random.default_rng(4), rule, device=device)
        changed = children.adjacency_bits != drawn.adjacency_bits
        changed |= (children.operations != drawn.operations).any(axis=1)
        assert changed.mean() > 0.9
        if rule != "one":
            assert not nb101.spec_keys(children)[0].any()
