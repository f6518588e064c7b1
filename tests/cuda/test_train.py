"""Training on a device: the CPU trainer's numbers, and gradients against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from nprep.kernels.cuda.device import Device
from nprep.kernels.cuda.gcn_train import (
    CudaTrainer,
    TrainingGraphs,
    TrainingRules,
    schedule,
    transposed_weights,
)
from nprep.kernels.cuda.layout import GcnLayout
from nprep.kernels.graphs.train import train_gcn
from nprep.kernels.nb101.graphs import ROW, SYMMETRIC, count_entries, fill_graphs
from nprep.spaces.nb101.cells import CellBatch

from .naive_gcn import NUM_TYPES, matrices, random_parameters, unpack

PLAIN = TrainingRules(
    epochs=3,
    batch=4,
    peak_rate=1e-3,
    decay=1e-3,
    decoupled=False,
    loss_kind=0,
    layer_biased=True,
    head_biased=True,
    rectify=True,
    drop_layers=0.0,
    drop_readout=0.0,
    drop_head=0.0,
)


def graphs_of(
    cells: CellBatch, offsets: list[int], targets: NDArray[np.float32], normalisation: int = ROW
) -> TrainingGraphs:
    nodes, edges = count_entries(cells.adjacency_bits, cells.num_vertices)
    graphs = TrainingGraphs(
        cell_offsets=np.array(offsets, np.int32),
        types=np.empty(nodes, np.uint8),
        cell_starts=np.empty(len(cells) + 1, np.int32),
        out_starts=np.empty(nodes + 1, np.int32),
        out_nodes=np.empty(nodes + edges, np.int32),
        out_weights=np.empty(nodes + edges, np.float32),
        in_starts=np.empty(nodes + 1, np.int32),
        in_nodes=np.empty(nodes + edges, np.int32),
        in_weights=np.empty(nodes + edges, np.float32),
        targets=targets,
    )
    fill_graphs(
        cells.adjacency_bits, cells.operations, cells.num_vertices, normalisation, graphs.types,
        graphs.cell_starts, graphs.out_starts, graphs.out_nodes, graphs.out_weights,
        graphs.in_starts, graphs.in_nodes, graphs.in_weights,
    )  # fmt: skip
    return graphs


def plain_orders(rules: TrainingRules, samples: list[int]) -> list[NDArray[np.int32]]:
    return [np.tile(np.arange(n, dtype=np.int32), (rules.epochs, 1)) for n in samples]


def train_on_cpu(
    graphs: TrainingGraphs, layout: GcnLayout, rules: TrainingRules, start: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]]:
    """Parameters, losses and last gradients of the CPU trainer, for one trial's graphs."""
    parameters, gradients = start.copy(), np.zeros_like(start)
    losses = np.empty(rules.epochs)
    train_gcn(
        graphs.types, layout.num_types, graphs.cell_starts, graphs.out_starts, graphs.out_nodes,
        graphs.out_weights, graphs.in_starts, graphs.in_nodes, graphs.in_weights, graphs.targets,
        parameters, layout.layers, layout.width, np.array([layout.width, *layout.head, 1]),
        rules.layer_biased, rules.head_biased, rules.rectify, rules.drop_layers,
        rules.drop_readout, rules.drop_head, rules.loss_kind, rules.epochs, rules.batch,
        rules.peak_rate, rules.decay, rules.decoupled, False, np.ones(4, np.uint64), losses,
        gradients,
    )  # fmt: skip
    return parameters, losses, gradients


def draw(space: CellBatch, counts: list[int], seed: int) -> tuple[CellBatch, NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    # Cells of all sizes: most of the space has 7 vertices.
    rows = np.where(
        generator.random(sum(counts)) < 0.5,
        generator.integers(0, 2000, sum(counts)),
        generator.integers(0, len(space), sum(counts)),
    )
    return space.take(rows), generator.standard_normal(sum(counts)).astype(np.float32)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("normalisation", [ROW, SYMMETRIC])
def test_gradients_equal_the_cpu_trainers(
    device: Device, space: CellBatch, kind: int, normalisation: int
) -> None:
    rules = replace(PLAIN, epochs=1, batch=9, loss_kind=kind)
    layout = GcnLayout(NUM_TYPES, 3, 10, (6,))
    cells, targets = draw(space, [9], kind)
    targets = (targets > 0).astype(np.float32) if kind == 2 else targets
    graphs = graphs_of(cells, [0, 9], targets, normalisation)
    start = random_parameters(np.random.default_rng(kind), 1, 3, 10, (6,))
    trainer = CudaTrainer(
        device, layout, rules, graphs, start, plain_orders(rules, [9]), np.ones(1, np.uint64)
    )
    trained, losses = trainer.train()
    expected, expected_losses, gradients = train_on_cpu(graphs, layout, rules, start[0])
    got = layout.unpad(device.download(trainer.gradients))[0]
    assert np.abs(gradients).max() > 0
    scale = np.abs(gradients).max()
    np.testing.assert_allclose(got, gradients, rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_allclose(losses[0], expected_losses, rtol=1e-5)
    # Adam's first step is the rate times the sign: tiny gradients may take either.
    clear = np.abs(gradients) > 1e-4 * scale
    np.testing.assert_allclose(trained[0][clear], expected[clear], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("head", [(6,), (7, 5), ()], ids=str)
def test_trials_of_different_sizes_train_as_on_the_cpu(
    device: Device, space: CellBatch, head: tuple[int, ...], biased: bool, decoupled: bool
) -> None:
    rules = replace(PLAIN, decoupled=decoupled, layer_biased=biased, head_biased=biased)
    counts = [10, 3, 8]
    layout = GcnLayout(NUM_TYPES, 2, 6, head)
    cells, targets = draw(space, counts, 5)
    offsets = [0, 10, 13, 21]
    start = random_parameters(np.random.default_rng(1), 3, 2, 6, head)
    if not biased:
        for tensor_start, length in _bias_ranges(layout):
            start[:, tensor_start : tensor_start + length] = 0
    together = CudaTrainer(
        device, layout, rules, graphs_of(cells, offsets, targets), start,
        plain_orders(rules, counts), np.ones(3, np.uint64),
    ).train()  # fmt: skip
    for trial, count in enumerate(counts):
        rows = np.arange(offsets[trial], offsets[trial + 1])
        alone = graphs_of(cells.take(rows), [0, count], targets[rows])
        expected, losses, _ = train_on_cpu(alone, layout, rules, start[trial])
        np.testing.assert_allclose(together[1][trial], losses, rtol=1e-4)
        # 3 epochs of a rate of 1e-3 move a weight by up to 6e-3; all but a few agree closely.
        difference = np.abs(together[0][trial] - expected)
        assert np.quantile(difference, 0.99) < 2e-5
        assert difference.max() < 2e-3
        assert np.abs(expected - start[trial]).max() > 1e-3


def _bias_ranges(layout: GcnLayout) -> list[tuple[int, int]]:
    sizes = [
        (layout.num_types if layer == 0 else layout.width, 2 * layout.width)
        for layer in range(layout.layers)
    ]
    sizes += zip((layout.width, *layout.head), (*layout.head, 1), strict=True)
    ranges, start = [], 0
    for rows, columns in sizes:
        ranges.append((start + rows * columns, columns))
        start += (rows + 1) * columns
    return ranges


def test_orders_are_followed(device: Device, space: CellBatch) -> None:
    layout = GcnLayout(NUM_TYPES, 2, 6, (6,))
    cells, targets = draw(space, [10], 6)
    start = random_parameters(np.random.default_rng(2), 1, 2, 6, (6,))
    generator = np.random.default_rng(3)
    rules = replace(PLAIN, epochs=1)
    order = generator.permutation(10).astype(np.int32)
    shuffled, _ = CudaTrainer(
        device, layout, rules, graphs_of(cells, [0, 10], targets), start, [order[None]],
        np.ones(1, np.uint64),
    ).train()  # fmt: skip
    moved = graphs_of(cells.take(order), [0, 10], targets[order])
    expected, _, _ = train_on_cpu(moved, layout, rules, start[0])
    assert np.quantile(np.abs(shuffled[0] - expected), 0.99) < 2e-5


def masks(
    seed: int, step: int, site: int, numbers: NDArray[np.integer], columns: int, rate: float
) -> NDArray:
    """The dropout mask of rows with these numbers, columns padded to a multiple of 4."""
    limit = round(rate * 65536)
    quads = (numbers[:, None] * (columns // 4) + np.arange(columns // 4)).ravel()
    counter = (((step * 64 + site) << 32) + quads).astype(np.uint64)
    word = np.uint64(seed) + counter * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    parts = word[:, None] >> np.arange(0, 64, 16, dtype=np.uint64) & np.uint64(0xFFFF)
    return np.where(parts < limit, 0.0, 1 / (1 - rate)).reshape(-1, columns)


def masked_loss(
    cells: CellBatch,
    targets: NDArray[np.float32],
    packed: NDArray[np.float64],
    layout: GcnLayout,
    rules: TrainingRules,
    seed: int,
) -> float:
    """The squared loss of the first step over all cells with its dropout masks, in float64."""
    tensors = unpack(packed, layout.layers, layout.width, layout.head)
    along, against = matrices(cells)
    used = (np.arange(7) < cells.num_vertices[:, None])[:, :, None]
    states = (cells.operations[:, :, None] == np.arange(NUM_TYPES)).astype(np.float64)
    count, width = len(cells), layout.width
    for layer, (matrix, bias) in enumerate(tensors[: layout.layers]):
        products = states @ matrix
        left = along @ products[:, :, :width] + bias[:width]
        right = against @ products[:, :, width:] + bias[width:]
        states = (np.maximum(left, 0) + np.maximum(right, 0)) / 2 * used
        rows = (256 * np.arange(count)[:, None] + np.arange(7)).ravel()
        mask = masks(seed, 0, layer, rows, width, rules.drop_layers)
        states = states * mask.reshape(states.shape)
    values = states.sum(1) / cells.num_vertices[:, None]
    values = values * masks(seed, 0, layout.layers, np.arange(count), width, rules.drop_readout)
    for number, (matrix, bias) in enumerate(tensors[layout.layers :]):
        values = values @ matrix + bias
        if number < len(layout.head):
            values = np.maximum(values, 0)
            site = layout.layers + 1 + number
            mask = masks(seed, 0, site, np.arange(count), values.shape[1], rules.drop_head)
            values = values * mask
    return float(np.square(values[:, 0] - targets).mean())


def test_gradients_under_dropout_equal_finite_differences(device: Device, space: CellBatch) -> None:
    rules = replace(PLAIN, epochs=1, batch=8, drop_layers=0.2, drop_readout=0.3, drop_head=0.4)
    layout = GcnLayout(NUM_TYPES, 2, 8, (8, 4))
    cells, targets = draw(space, [8], 8)
    cells = CellBatch(cells.adjacency_bits, cells.operations, cells.num_vertices)
    start = random_parameters(np.random.default_rng(4), 1, 2, 8, (8, 4))
    seed = 12345
    trainer = CudaTrainer(
        device, layout, rules, graphs_of(cells, [0, 8], targets), start, plain_orders(rules, [8]),
        np.array([seed], np.uint64),
    )  # fmt: skip
    _, losses = trainer.train()
    precise = start[0].astype(np.float64)
    assert losses[0, 0] == pytest.approx(
        masked_loss(cells, targets, precise, layout, rules, seed), rel=1e-4
    )
    without = replace(rules, drop_layers=0.0, drop_readout=0.0, drop_head=0.0)
    assert losses[0, 0] != pytest.approx(
        masked_loss(cells, targets, precise, layout, without, seed), rel=1e-2
    )
    gradients = layout.unpad(device.download(trainer.gradients))[0]
    checked = np.random.default_rng(5).choice(len(precise), 60, replace=False)
    small = 1e-6
    for place in checked:
        up, down = precise.copy(), precise.copy()
        up[place] += small
        down[place] -= small
        slope = (
            masked_loss(cells, targets, up, layout, rules, seed)
            - masked_loss(cells, targets, down, layout, rules, seed)
        ) / (2 * small)
        assert gradients[place] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_dropout_masks_have_their_rate() -> None:
    drawn = np.concatenate(
        [masks(9, step, 3, np.arange(70), 144, 0.1).ravel() for step in range(20)]
    )
    # 200,000 draws: the standard deviation of the share is 0.0007.
    assert (drawn == 0).mean() == pytest.approx(0.1, abs=0.003)
    rows = np.arange(70)
    assert not np.array_equal(masks(9, 0, 3, rows, 144, 0.1), masks(9, 1, 3, rows, 144, 0.1))


def test_a_trial_does_not_depend_on_its_block(device: Device, space: CellBatch) -> None:
    rules = replace(PLAIN, drop_layers=0.1, drop_readout=0.1, drop_head=0.1)
    layout = GcnLayout(NUM_TYPES, 2, 8, (8,))
    # The neighbour is larger in both the number of its cells and their sizes.
    small = space.take(np.arange(1, 7))
    large, targets = draw(space, [10, 6], 9)
    cells = CellBatch(
        np.append(large.adjacency_bits[:10], small.adjacency_bits),
        np.append(large.operations[:10], small.operations, axis=0),
        np.append(large.num_vertices[:10], small.num_vertices),
    )
    assert cells.num_vertices[:10].max() > cells.num_vertices[10:].max()
    start = random_parameters(np.random.default_rng(6), 2, 2, 8, (8,))
    seeds = np.array([3, 4], np.uint64)
    orders = plain_orders(rules, [10, 6])
    both, _ = CudaTrainer(
        device, layout, rules, graphs_of(cells, [0, 10, 16], targets), start, orders, seeds
    ).train()
    second = graphs_of(cells.take(np.arange(10, 16)), [0, 6], targets[10:])
    alone, _ = CudaTrainer(device, layout, rules, second, start[1:], orders[1:], seeds[1:]).train()
    assert np.quantile(np.abs(both[1] - alone[0]), 0.99) < 2e-5


def test_schedule_and_transposed_weights(space: CellBatch) -> None:
    sizes, shrinks, scales = schedule(replace(PLAIN, decoupled=True), np.array([10, 3, 0]))
    assert sizes.shape == (3, 9)
    assert (sizes[0] > 0).all()
    assert (sizes[1] > 0).sum() == 3
    assert not sizes[2].any()
    assert sizes[0, 0] == pytest.approx(PLAIN.peak_rate / (1 - 0.9))
    assert shrinks[0, 0] == pytest.approx(1 - PLAIN.peak_rate * PLAIN.decay)
    assert scales[0] == pytest.approx(1 / np.sqrt(1 - 0.999))

    cells, targets = draw(space, [30], 10)
    graphs = graphs_of(cells, [0, 30], targets, ROW)
    back = transposed_weights(
        graphs.out_starts, graphs.out_nodes, graphs.out_weights, graphs.in_starts, graphs.in_nodes
    )
    for vertex in range(len(graphs.types)):
        for entry in range(graphs.in_starts[vertex], graphs.in_starts[vertex + 1]):
            reader = graphs.in_nodes[entry]
            row = slice(graphs.out_starts[reader], graphs.out_starts[reader + 1])
            place = np.nonzero(graphs.out_nodes[row] == vertex)[0]
            assert back[entry] == graphs.out_weights[row][place[0]]
