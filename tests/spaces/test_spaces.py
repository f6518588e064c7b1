"""What every space must satisfy, on those that ship."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nprep.errors import InvalidSpecError, SettingsError
from nprep.spaces.base import Space
from nprep.spaces.choices import mix
from nprep.spaces.graphs import graphs_from_matrices
from nprep.spaces.nb101.batch import cell_graphs
from nprep.spaces.nb101.cells import adjacency_matrices, cell_keys
from nprep.spaces.nb101.space import NB101, unpruned
from nprep.spaces.proxyless.chains import ProxylessSpace, chain_graphs
from nprep.spaces.proxyless.space import MobileSpace
from nprep.spaces.registry import get_space, register, space_names


@pytest.mark.parametrize("normalisation", ["row", "symmetric", "sum"])
def test_graphs_from_matrices_are_those_of_the_kernel(normalisation: str) -> None:
    cells = NB101.pruned(NB101.sample(60, np.random.default_rng(0)))
    built = graphs_from_matrices(
        np.where(cells.operations == 255, 0, cells.operations),
        adjacency_matrices(cells),
        5,
        normalisation,
        np.arange(7) < cells.num_vertices[:, None],
    )
    wanted = cell_graphs(cells, normalisation)
    for name, array in vars(wanted).items():
        np.testing.assert_array_equal(getattr(built, name), array, err_msg=name)


@pytest.mark.parametrize("normalisation", ["row", "symmetric", "sum"])
def test_chains_are_those_of_a_matrix(normalisation: str) -> None:
    codes = ProxylessSpace(MobileSpace(depth=1)).sample(5, np.random.default_rng(1)).values
    chain = np.eye(codes.shape[1], k=1)
    built = chain_graphs(codes, normalisation)
    wanted = graphs_from_matrices(codes, chain, 7, normalisation)
    assert built.chain_length == (codes.shape[1] if normalisation == "row" else 0)
    for name, array in vars(dataclasses.replace(wanted, chain_length=built.chain_length)).items():
        np.testing.assert_array_equal(getattr(built, name), array, err_msg=name)


def test_a_pruned_cell_and_its_unpruned_specs_are_the_same_architecture() -> None:
    rng = np.random.default_rng(2)
    cells = NB101.pruned(NB101.sample(300, rng))
    assert (cells.num_vertices < 7).any()
    specs = unpruned(cells, rng)
    assert (specs.num_vertices == 7).all()
    np.testing.assert_array_equal(NB101.keys(specs), cell_keys(cells))


def test_neighbours_of_a_cell_differ_in_one_edge_or_operation() -> None:
    # The line of input, 1x1, output: three edges and vertices, hence few ways to stay valid.
    cell = NB101.parse(
        '[[[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv1x1-bn-relu", "output"]]'
    )
    found = NB101.neighbours(cell)
    texts = set(NB101.format(found))
    assert (found.num_vertices == 7).all()
    assert texts == {
        # One more edge, or another operation. Without an edge no path is left.
        '[[[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "conv1x1-bn-relu", "output"]]',
        '[[[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv3x3-bn-relu", "output"]]',
        '[[[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "maxpool3x3", "output"]]',
    }


def test_mixing_keeps_numbers_apart_and_avoids_zero() -> None:
    mixed = mix(np.arange(100_000, dtype=np.uint64))
    assert len(np.unique(mixed)) == len(mixed)
    assert (mixed != 0).all()
    # The low bits are spread: a table of 1,024 slots is filled evenly.
    counts = np.bincount((mixed & np.uint64(1023)).astype(np.int64), minlength=1024)
    assert counts.min() > 50
    assert counts.max() < 160


def test_the_largest_mobile_space_has_keys_though_it_exceeds_64_bits() -> None:
    space = ProxylessSpace(MobileSpace(depth=8))
    assert space.size > 2**64
    batch = space.sample(500, np.random.default_rng(3))
    assert len(np.unique(space.keys(batch))) == len(np.unique(batch.values, axis=0))


def test_spaces_by_name() -> None:
    assert {"nb101", "proxyless"} <= {*space_names()}
    assert get_space("nb101") is NB101
    with pytest.raises(SettingsError, match="space 'nb999' is unknown"):
        get_space("nb999")
    with pytest.raises(SettingsError, match="is there already"):
        register(NB101)
    with pytest.raises(SettingsError, match="is no space"):
        register("nb101")  # type: ignore[arg-type]


@pytest.mark.parametrize("space", [NB101, ProxylessSpace(MobileSpace(depth=1))])
def test_codes_that_are_no_architecture_are_refused(space: Space) -> None:
    codes = np.full((2, space.code_width), 254, np.uint8)
    with pytest.raises(InvalidSpecError, match="row 0"):
        space.from_codes(codes)
    with pytest.raises(InvalidSpecError, match="are"):
        space.from_codes(codes[:, 1:])
