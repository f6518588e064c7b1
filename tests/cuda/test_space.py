"""Cells and specs on a device: the numbers of the CPU kernels, on the whole space."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nprep.kernels.cuda import space as cuda_space
from nprep.kernels.cuda.device import Device
from nprep.kernels.cuda.space import DeviceCells, DeviceIndex
from nprep.kernels.nb101 import cells, encode, md5, parameters, sample
from nprep.kernels.numeric import lookup, rng
from nprep.spaces.nb101.cells import CellBatch

from .host_device import HostDevice

Specs = tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]


def upload(device: Device, batch: CellBatch) -> DeviceCells:
    return DeviceCells.upload(device, batch.adjacency_bits, batch.operations, batch.num_vertices)


def arbitrary_specs(count: int, seed: int) -> Specs:
    """Specs of all sizes, sparse and dense, many of them invalid in every way there is."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(2, 8, count).astype(np.uint8)
    density = generator.random((count, 1))
    pairs = generator.random((count, 21)) < density
    bits = (pairs << np.arange(21)).sum(1).astype(np.uint32)
    operations = generator.integers(0, 3, (count, 7)).astype(np.uint8)
    operations[:, 0] = 3
    operations[np.arange(count), sizes - 1] = 4
    wrong = generator.random(count) < 0.1
    places = generator.integers(0, 7, wrong.sum())
    operations[wrong, places] = generator.integers(0, 256, wrong.sum())
    operations[np.arange(7) >= sizes[:, None]] = 255
    return bits, operations, sizes


def generator_states(count: int, seed: int) -> NDArray[np.uint64]:
    children = np.random.SeedSequence(seed).spawn(count)
    return np.stack([rng.seed_state(child) for child in children])


def test_keys_and_rows_of_the_whole_space(device: Device, space: CellBatch) -> None:
    resident = upload(device, space)
    keys = device.download(cuda_space.cell_keys(device, resident))
    expected = cells.key_batch(space.adjacency_bits, space.operations, space.num_vertices)
    np.testing.assert_array_equal(keys, expected)
    codes, also = cuda_space.spec_keys(device, resident)
    assert not device.download(codes).any()
    np.testing.assert_array_equal(device.download(also), expected)

    index = DeviceIndex.upload(device, lookup.KeyIndex.build(expected))
    rows = np.arange(len(space))
    np.testing.assert_array_equal(device.download(index.find(device.upload(keys))), rows)
    np.testing.assert_array_equal(device.download(index.find_specs(resident)), rows)
    absent = np.append(expected[:999] + np.uint64(1), np.uint64(0))
    host_rows = lookup.KeyIndex.build(expected).find(absent)
    np.testing.assert_array_equal(device.download(index.find(device.upload(absent))), host_rows)
    assert (host_rows == -1).all()


@pytest.mark.slow
def test_module_hashes_of_the_whole_space(device: Device, space: CellBatch) -> None:
    hashes = device.download(cuda_space.module_hashes(device, upload(device, space)))
    expected = md5.module_hash_batch(space.adjacency_bits, space.operations, space.num_vertices, 2)
    np.testing.assert_array_equal(hashes.astype("<u4").view(np.uint8), expected)


def official_hash(bits: int, operations: NDArray[np.uint8], size: int) -> str:
    """The official hash, step by step in plain Python."""
    pairs = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    edges = [pair for k, pair in enumerate(pairs) if bits >> k & 1]
    sources = [[i for i, j in edges if j == v] for v in range(size)]
    targets = [[j for i, j in edges if i == v] for v in range(size)]
    labels = [{3: -1, 4: -2}.get(int(o), int(o)) for o in operations[:size]]

    def digest(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    hashes = [digest(str((len(targets[v]), len(sources[v]), labels[v]))) for v in range(size)]
    for _ in range(size):
        hashes = [
            digest(
                "".join(sorted(hashes[u] for u in sources[v]))
                + "|"
                + "".join(sorted(hashes[u] for u in targets[v]))
                + "|"
                + hashes[v]
            )
            for v in range(size)
        ]
    return digest(str(sorted(hashes)))


def test_module_hashes_equal_hashlib(device: Device, space: CellBatch) -> None:
    rows = np.concatenate([np.arange(40), np.random.default_rng(5).integers(0, len(space), 300)])
    batch = space.take(rows)
    hashes = device.download(cuda_space.module_hashes(device, upload(device, batch)))
    for i, row in enumerate(hashes.astype("<u4").view(np.uint8)):
        expected = official_hash(
            int(batch.adjacency_bits[i]), batch.operations[i], int(batch.num_vertices[i])
        )
        assert bytes(row).hex() == expected


def test_pruning_the_whole_space_changes_nothing(device: Device, space: CellBatch) -> None:
    codes, pruned = cuda_space.prune(device, upload(device, space))
    assert not device.download(codes).any()
    for got, expected in zip(
        pruned.arrays, (space.adjacency_bits, space.operations, space.num_vertices), strict=True
    ):
        np.testing.assert_array_equal(device.download(got), expected)


@pytest.mark.parametrize("count", [1, 7, 20_000])
def test_pruning_arbitrary_specs(device: Device, count: int) -> None:
    specs = arbitrary_specs(count, count)
    resident = DeviceCells.upload(device, *specs)
    codes, pruned = cuda_space.prune(device, resident)
    expected = cells.prune_batch(*specs)
    for got, wanted in zip((codes, *pruned.arrays), expected, strict=True):
        np.testing.assert_array_equal(device.download(got), wanted)
    if count == 20_000:
        # The sample has specs of every kind that it is meant to have.
        assert set(expected[0]) == {0, 1, 3, 4, 5, 6}
    codes, keys = cuda_space.spec_keys(device, resident)
    for got, wanted in zip((codes, keys), cells.spec_key_batch(*specs), strict=True):
        np.testing.assert_array_equal(device.download(got), wanted)


def test_lookup_of_specs_refuses_invalid_ones(device: Device, space: CellBatch) -> None:
    keys = cells.key_batch(space.adjacency_bits, space.operations, space.num_vertices)
    index = lookup.KeyIndex.build(keys[::2])
    specs = arbitrary_specs(5000, 11)
    resident = DeviceIndex.upload(device, index)
    rows = device.download(resident.find_specs(DeviceCells.upload(device, *specs)))
    codes, spec_keys = cells.spec_key_batch(*specs)
    np.testing.assert_array_equal(rows, index.find(spec_keys))
    assert (rows[codes != 0] == -1).all()
    assert (rows[codes == 0] >= 0).any()
    assert (rows[codes == 0] == -1).any()


def test_lookup_wraps_around_the_table(device: Device) -> None:
    # All keys want the last of 8 slots.
    keys = (np.arange(1, 5, dtype=np.uint64) << np.uint64(3)) + np.uint64(7)
    index = lookup.KeyIndex.build(keys[:3])
    assert len(index.slot_keys) == 8
    rows = DeviceIndex.upload(device, index).find(device.upload(keys))
    np.testing.assert_array_equal(device.download(rows), [0, 1, 2, -1])


@pytest.mark.parametrize("symmetric", [False, True])
def test_encodings_of_the_whole_space(device: Device, space: CellBatch, symmetric: bool) -> None:
    along, against, one_hot = cuda_space.encode(device, upload(device, space), symmetric)
    normalised = (
        encode.symmetric_normalised_adjacency if symmetric else encode.row_normalised_adjacency
    )
    expected = normalised(space.adjacency_bits, space.num_vertices)
    for got, wanted in zip((along, against), expected, strict=True):
        np.testing.assert_array_equal(device.download(got), wanted)
    hot = encode.one_hot(space.operations, space.num_vertices)
    np.testing.assert_array_equal(device.download(one_hot), hot)


def test_parameter_counts_of_the_whole_space(device: Device, space: CellBatch) -> None:
    counts = device.download(cuda_space.parameter_counts(device, upload(device, space)))
    expected = parameters.parameters_batch(
        space.adjacency_bits, space.operations, space.num_vertices
    )
    np.testing.assert_array_equal(counts, expected)
    # The extremes of the published table.
    assert counts.min() == 227_274
    assert counts.max() == 49_979_274


def test_random_specs_follow_the_cpu_streams(device: Device) -> None:
    states = generator_states(3000, 1)
    resident = device.upload(states)
    for _ in range(2):
        bits, operations = (
            device.download(array) for array in cuda_space.random_specs(device, resident)
        )
        for i, state in enumerate(states):
            expected = np.empty(7, np.uint8)
            assert bits[i] == sample.random_spec(state, expected)
            np.testing.assert_array_equal(operations[i], expected)
    np.testing.assert_array_equal(device.download(resident), states)


@pytest.mark.parametrize("rule", ["notebook", "gentle notebook", "one", "one valid"])
def test_mutations_follow_the_cpu_streams(device: Device, rule: str) -> None:
    states = generator_states(2000, 2)
    bits, operations = sample.random_spec_batch(rng.seed_state(np.random.SeedSequence(3)), 2000)
    resident = device.upload(states)
    parents = device.upload(bits), device.upload(operations)
    if rule.endswith("notebook"):
        rate = 1.0 if rule == "notebook" else 0.3
        got = cuda_space.mutate_notebook(device, resident, *parents, rate)
    else:
        got = cuda_space.mutate_one(device, resident, *parents, rule == "one valid")
    child_bits, child_operations = (device.download(array) for array in got)
    for i, state in enumerate(states):
        expected = np.empty(7, np.uint8)
        if rule.endswith("notebook"):
            wanted = sample.mutate_notebook(state, bits[i], operations[i], rate, expected)
        elif rule == "one valid":
            wanted = sample.mutate_one_valid(state, bits[i], operations[i], expected)
        else:
            wanted = sample.mutate_one(state, bits[i], operations[i], expected)
        assert child_bits[i] == wanted
        np.testing.assert_array_equal(child_operations[i], expected)
    np.testing.assert_array_equal(device.download(resident), states)


@settings(max_examples=20)
@given(
    count=st.integers(1, 40),
    blocks=st.integers(1, 9),
    threads=st.sampled_from([1, 3, 32, 128]),
    seed=st.integers(0, 2**31),
)
def test_results_do_not_depend_on_the_launch_shape(
    host: HostDevice, count: int, blocks: int, threads: int, seed: int
) -> None:
    specs = arbitrary_specs(count, seed)
    codes, bits, operations, sizes = cells.prune_batch(*specs)
    known = codes == 0
    usual = host.blocks, host.threads
    try:
        host.blocks, host.threads = blocks, threads
        _, pruned = cuda_space.prune(host, DeviceCells.upload(host, *specs))
        valid = DeviceCells.upload(host, bits[known], operations[known], sizes[known])
        hashes = cuda_space.module_hashes(host, valid)
    finally:
        host.blocks, host.threads = usual
    np.testing.assert_array_equal(pruned.operations, operations)
    expected = md5.module_hash_batch(bits[known], operations[known], sizes[known])
    np.testing.assert_array_equal(hashes.view(np.uint8).reshape(-1, 16), expected)


def test_an_empty_batch_is_no_launch(device: Device) -> None:
    nothing = DeviceCells.upload(
        device, np.empty(0, np.uint32), np.empty((0, 7), np.uint8), np.empty(0, np.uint8)
    )
    assert device.download(cuda_space.module_hashes(device, nothing)).shape == (0, 4)
