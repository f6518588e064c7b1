"""A part of the space, made-up runs of its cells, and official records of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nprep.spaces.nb101.cells import (
    build_index,
    cell_keys,
    module_hashes,
    prune_cells,
    random_specs,
    trainable_parameters,
)
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources._runs import SpaceRows, empty_values
from tests import tfrecord_writer as writer


@lru_cache(maxsize=4)
def small_space(cells: int = 60, seed: int = 0) -> SpaceRows:
    """Real cells of all sizes, in the order of their real hashes."""
    _, drawn = prune_cells(random_specs(50 * cells, np.random.default_rng(seed)))
    _, first = np.unique(cell_keys(drawn), return_index=True)
    sizes = drawn.num_vertices[first]
    share = -(-cells // 3)
    chosen = [row for size in range(2, 8) for row in first[sizes == size][:share]]
    batch = drawn.take(np.array(chosen[-cells:]))
    hashes = module_hashes(batch)
    order = np.array(sorted(range(cells), key=lambda i: hashes[i].tobytes()))
    batch = batch.take(order)
    return SpaceRows(batch, hashes[order], trainable_parameters(batch), build_index(batch))


def made_up_values(
    space: SpaceRows, budgets: tuple[int, ...] = (108,), seed: int = 0
) -> np.ndarray:
    """(N, 4, 3, 2, 4) float32 runs, some of them failed or equal to another."""
    rng = np.random.default_rng(seed)
    values = empty_values(len(space))
    for place, epochs in enumerate(BUDGETS):
        if epochs not in budgets:
            continue
        shape = (len(space), 3, 2)
        values[:, place, :, :, 0] = rng.uniform(100, 4000, shape)
        for field in range(1, 4):
            correct = rng.integers(8000, 9500, shape)
            correct[rng.random(shape) < 0.05] = 999  # A failed run, at 10 %.
            values[:, place, :, :, field] = correct / 9984
        values[0, place, 1] = values[0, place, 0]
    return values


def record(space: SpaceRows, row: int, epochs: int, half: object, final: object) -> bytes:
    """The payload of one run."""
    cells = space.cells
    adjacency, operations = writer.cell_texts(
        int(cells.adjacency_bits[row]), cells.operations[row].tolist(), int(cells.num_vertices[row])
    )
    metrics = writer.run_metrics(
        epochs,
        [float(v) for v in half],  # type: ignore[attr-defined]
        [float(v) for v in final],  # type: ignore[attr-defined]
        int(space.trainable_parameters[row]),
    )
    name = space.module_hash[row].tobytes().hex()
    return writer.payload(name, epochs, adjacency, operations, metrics)


def records(space: SpaceRows, values: np.ndarray) -> list[bytes]:
    """The payloads of all runs, in the official order; runs that are NaN are left out."""
    payloads = []
    for row in range(len(space)):
        for place, epochs in enumerate(BUDGETS):
            for half, final in values[row, place]:
                if not np.isnan(final).all():
                    payloads.append(record(space, row, epochs, half, final))
    return payloads
