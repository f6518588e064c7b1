"""Hashes, keys, look-ups, encodings and random specs, beside plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.common import CORES, first, record
from nprep.kernels.nb101.cells import key_batch
from nprep.kernels.nb101.md5 import module_hash_batch
from nprep.spaces.nb101.cells import (
    CellBatch,
    build_index,
    cell_keys,
    encode_one_hot,
    enumerate_space,
    find_rows,
    format_hashes,
    module_hashes,
    mutate,
    normalised_adjacency,
    prune_cells,
    random_specs,
)
from tests import naive

# Cells that plain Python does; its time is scaled to the rest.
PLAIN = 1000


def arrays(cells: CellBatch) -> tuple[Any, Any, Any]:
    return cells.adjacency_bits, cells.operations, cells.num_vertices


def plain_cells(cells: CellBatch) -> list[naive.Cell]:
    some = first(cells, PLAIN)
    return [naive.unpack(*cell) for cell in zip(*arrays(some), strict=True)]


def test_enumerate(benchmark: Any) -> None:
    record(benchmark, "enumerate the space, with hashes", items=423_624, cores=CORES)
    benchmark.pedantic(enumerate_space, (CORES,), rounds=3, warmup_rounds=1)


def test_official_style_hash(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    cells = plain_cells(shuffled)
    record(
        benchmark, f"module hash of {size:,} cells", baseline=True, items=len(cells),
        unit=len(cells) / size,
    )  # fmt: skip
    hashes = benchmark.pedantic(lambda: [naive.module_hash(cell) for cell in cells], rounds=3)
    assert hashes == format_hashes(module_hashes(first(shuffled, PLAIN)))


@pytest.mark.parametrize("threads", sorted({1, CORES}), ids=lambda n: f"{n} threads")
def test_hash(benchmark: Any, shuffled: CellBatch, size: int, threads: int) -> None:
    given = arrays(first(shuffled, size))
    record(benchmark, f"module hash of {size:,} cells", items=size, cores=threads)
    benchmark.name = f"test_compiled_on_{threads}_threads"
    benchmark.pedantic(module_hash_batch, (*given, threads), rounds=5, warmup_rounds=1)


def test_keys(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    given = arrays(first(shuffled, size))
    record(benchmark, f"canonical keys of {size:,} cells", items=size)
    benchmark.pedantic(key_batch, given, rounds=9, warmup_rounds=1)


def test_dictionary(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    hashes = format_hashes(module_hashes(first(shuffled, size)))
    rows = {text: row for row, text in enumerate(hashes)}
    wanted = np.random.default_rng(0).permutation(size)
    texts = [hashes[row] for row in wanted]
    record(benchmark, f"rows of {size:,} known hashes or keys", baseline=True, items=size)
    found = benchmark.pedantic(lambda: [rows[text] for text in texts], rounds=5, warmup_rounds=1)
    assert found == wanted.tolist()


def test_key_index(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    cells = first(shuffled, size)
    index, keys = build_index(cells), cell_keys(cells)
    wanted = np.random.default_rng(0).permutation(size)
    record(benchmark, f"rows of {size:,} known hashes or keys", items=size)
    found = benchmark.pedantic(index.find, (keys[wanted],), rounds=9, warmup_rounds=1)
    assert (found == wanted).all()


def test_plain_specs_to_rows(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    cells = plain_cells(shuffled)
    rows = {naive.module_hash(cell): row for row, cell in enumerate(cells)}
    record(
        benchmark, f"rows of {size:,} specs: prune, key, find", baseline=True, items=len(cells),
        unit=len(cells) / size,
    )  # fmt: skip

    def find() -> list[int]:
        return [rows[naive.module_hash(naive.prune(cell) or cell)] for cell in cells]

    assert benchmark.pedantic(find, rounds=3) == list(range(len(cells)))


def test_specs_to_rows(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    cells = first(shuffled, size)
    index = build_index(cells)
    record(benchmark, f"rows of {size:,} specs: prune, key, find", items=size)
    found = benchmark.pedantic(find_rows, (index, cells), rounds=5, warmup_rounds=1)
    assert (found == np.arange(size)).all()


def test_prune(benchmark: Any, size: int) -> None:
    specs = random_specs(size, np.random.default_rng(0))
    record(benchmark, f"prune {size:,} specs", items=size)
    benchmark.pedantic(prune_cells, (specs,), rounds=5, warmup_rounds=1)


def test_one_hot(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    cells = first(shuffled, size)
    written = size * 35 * 4.0
    record(benchmark, f"one-hot operations of {size:,} cells", items=size, bytes_moved=written)
    benchmark.pedantic(encode_one_hot, (cells,), rounds=5, warmup_rounds=1)


def test_adjacency(benchmark: Any, shuffled: CellBatch, size: int) -> None:
    cells = first(shuffled, size)
    written = size * 2 * 49 * 4.0
    record(benchmark, f"normalised adjacency of {size:,} cells", items=size, bytes_moved=written)
    benchmark.pedantic(normalised_adjacency, (cells,), rounds=5, warmup_rounds=1)


def test_random_specs(benchmark: Any, size: int) -> None:
    record(benchmark, f"{size:,} random valid specs", items=size)
    benchmark.pedantic(
        lambda: random_specs(size, np.random.default_rng(0)), rounds=5, warmup_rounds=1
    )


def test_mutate(benchmark: Any, size: int) -> None:
    specs = random_specs(size, np.random.default_rng(0))
    record(benchmark, f"{size:,} mutations of specs", items=size)
    benchmark.pedantic(lambda: mutate(specs, np.random.default_rng(0)), rounds=5, warmup_rounds=1)
