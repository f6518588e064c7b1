"""How cost grows with the predictor's sizes: samples and width, layers, vertices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.common import first, paper_weights, record
from nprep.predictor.gcn import train
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import WIDTHS, GcnSettings
from nprep.spaces.graphs import GraphBatch
from nprep.spaces.nb101.cells import CellBatch
from nprep.spaces.proxyless.chains import chain_graphs

EPOCHS = 300
CELLS = 20_000


def train_part(
    benchmark: Any, path: str, cells: CellBatch | GraphBatch, settings: GcnSettings, smoke: bool
) -> None:
    """Times a few epochs and scales them to 300."""
    nodes = cells.num_nodes if isinstance(cells, GraphBatch) else int(cells.num_vertices.sum())
    epochs = 1 if smoke else 20
    width = settings.width or 0
    flops = 12.0 * nodes * width * width * (settings.layers - 1) * epochs
    record(benchmark, path, flops=flops, items=len(cells) * epochs, unit=epochs / EPOCHS)
    labels = np.random.default_rng(0).normal(0.92, 0.01, len(cells)).astype(np.float32)
    part = replace(settings, epochs=epochs)
    seed = np.random.SeedSequence(0)
    benchmark.pedantic(train, (cells, labels, part, seed), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize(("samples", "width"), WIDTHS.items(), ids=lambda n: str(n))
def test_train(benchmark: Any, shuffled: CellBatch, samples: int, width: int, smoke: bool) -> None:
    path = f"train, N = {samples}, width {width}, 300 epochs"
    train_part(benchmark, path, first(shuffled, samples), GcnSettings(width=width), smoke)


def test_train_imagenet_predictor(benchmark: Any, smoke: bool) -> None:
    settings = GcnSettings(width=96, layers=18, head=(512, 128), initialisation="he")
    encodings = np.random.default_rng(0).integers(0, 6, (119, 22)).astype(np.uint8)
    path = "train, N = 119, width 96, 18 layers, 22 vertices, 300 epochs"
    train_part(benchmark, path, chain_graphs(encodings), settings, smoke)


@pytest.mark.parametrize("width", WIDTHS.values())
def test_ask(benchmark: Any, shuffled: CellBatch, width: int) -> None:
    plan = SharingPlan.build(first(shuffled, CELLS))
    weights = paper_weights(settings=GcnSettings(width=width))
    rows = plan.products
    flops = 4.0 * rows * width * width + 2.0 * CELLS * (width + 1) * 128
    record(benchmark, f"ask {CELLS:,} cells, width {width}", flops=flops, items=CELLS)
    benchmark.pedantic(plan.outputs, (weights,), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 6])
def test_ask_by_layers(benchmark: Any, shuffled: CellBatch, layers: int) -> None:
    plan = SharingPlan.build(first(shuffled, CELLS), layers=layers)
    weights = paper_weights(settings=GcnSettings(width=144, layers=layers))
    record(benchmark, f"ask {CELLS:,} cells, width 144, {layers} layers", items=CELLS)
    benchmark.pedantic(plan.outputs, (weights,), rounds=5, warmup_rounds=1)
