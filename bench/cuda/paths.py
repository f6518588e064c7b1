"""Two paths of a GPU that the kernels' report lacks: inference by a plan, and training networks.

``python -m bench.cuda.paths inference`` and ``... imagenet`` print a line of JSON. Results are
compared before anything is timed. Without a GPU both run small on the CPU, as a rehearsal.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from bench.common import paper_weights
from nprep.errors import MissingDependencyError
from nprep.predictor.backends.make import make_backend
from nprep.predictor.plan import SharingPlan
from nprep.spaces.nb101.cells import CellBatch, enumerate_space


def inference() -> dict[str, Any]:
    """One predictor of the paper's size over the whole space, beside the CPU's outputs."""
    cells: CellBatch = enumerate_space()[0]
    try:
        backend = make_backend("cupy")
    except MissingDependencyError:
        backend = make_backend("numpy")
        cells = cells.take(np.arange(2000))
    plan, weights = SharingPlan.build(cells), paper_weights()
    expected = plan.outputs(weights, threads=2)
    found = next(backend.outputs(plan, [weights]))
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    record: dict[str, Any] = {
        "backend": backend.name, "cells": len(cells), "largest_error": float(f"{error:.1e}"),
    }  # fmt: skip
    if not error < 1e-4:
        raise SystemExit(f"wrong results, not timed: {record}")
    if backend.name == "cupy":
        seconds = []
        for _ in range(9):
            begin = time.perf_counter()
            next(backend.outputs(plan, [weights]))
            seconds.append(time.perf_counter() - begin)
        # From weights in host memory to outputs in host memory.
        record["milliseconds"] = round(1e3 * float(np.median(seconds)), 3)
    return record


def imagenet() -> dict[str, Any]:
    """Training steps of a member of the mobile space and of torchvision's MobileNetV2."""
    import torch
    from torch.nn import functional
    from torchvision.models import mobilenet_v2

    from nprep.imagenet.networks.mobile import MobileNetwork
    from nprep.spaces.proxyless.space import MobileSpace

    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    batch, size, steps = (256, 224, 20) if gpu else (2, 64, 2)
    space = MobileSpace()
    torch.manual_seed(0)
    models = {
        "mobilenet-v2-like": MobileNetwork(space, space.known("mobilenet-v2-like")),
        "torchvision": mobilenet_v2(),
    }
    images = torch.randn(batch, 3, size, size)
    labels = torch.randint(1000, (batch,), device=device)
    record: dict[str, Any] = {"device": device.type, "batch": batch, "size": size}
    for name, model in models.items():
        # The device's float32 outputs against the CPU's, in evaluation mode.
        with torch.inference_mode():
            expected = model.eval()(images[:2])
            model = model.to(device)
            found = model(images[:2].to(device)).cpu()
        error = float((found - expected).abs().max() / expected.abs().max())
        if not error < 1e-2:
            raise SystemExit(f"{name}: wrong results (error {error:.1e}), not timed")
        # The stubs of torch lack this keyword.
        move: Any = model.to
        model = move(memory_format=torch.channels_last).train()
        inputs = images.to(device).contiguous(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        losses, seconds = [], []
        for _ in range(steps + 3):
            begin = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16):
                loss = functional.cross_entropy(model(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call] # torch does not annotate it
            optimiser.step()
            # Waits for the device.
            losses.append(loss.item())
            seconds.append(time.perf_counter() - begin)
        if not np.isfinite(losses).all() or (gpu and losses[-1] >= losses[0]):
            raise SystemExit(f"{name}: the loss did not fall ({losses}), not timed")
        record[f"{name}_error"] = float(f"{error:.1e}")
        if gpu:
            took = float(np.median(seconds[3:]))
            record[f"{name}_ms_per_step"] = round(1e3 * took, 2)
            record[f"{name}_images_per_second"] = round(batch / took)
    return record


PATHS = {"inference": inference, "imagenet": imagenet}

if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in PATHS]:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    print(json.dumps(PATHS[sys.argv[1]]()))
