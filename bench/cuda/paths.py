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

# Of a network's gradients in two memory formats, and how much bf16 may change the first loss. An
# untrained network with batch norms amplifies rounding so much that its gradients in bf16 and in
# float32 have little in common (on few images their cosine is 0.2), so those are not compared.
_LEAST_COSINE, _LOSS_TOLERANCE = 0.99, 0.02


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
    """Training steps of a network of the mobile space, and of torchvision's MobileNetV2.

    Both take the steps of ``nprep.imagenet``: bf16, ``channels_last``, its optimiser.
    """
    import torch
    from torchvision.models import mobilenet_v2

    from nprep.imagenet.networks.mobile import MobileNetwork
    from nprep.spaces.proxyless.space import MobileSpace

    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    batch, size = (256, 224) if gpu else (8, 64)
    space = MobileSpace()
    torch.manual_seed(0)
    models = {
        "mobilenet-v2-like": MobileNetwork(space, space.known("mobilenet-v2-like")),
        # Without dropout the same images give the same gradient twice.
        "torchvision": mobilenet_v2(dropout=0.0),
    }
    images, labels = torch.randn(batch, 3, size, size), torch.randint(1000, (batch,))
    record: dict[str, Any] = {"device": device.type, "batch": batch, "size": size}
    for name, model in models.items():
        record |= {
            f"{name}_{key}": value
            for key, value in _steps(name, model, images, labels, device, timed=gpu).items()
        }
    return record


def _steps(
    name: str, model: Any, images: Any, labels: Any, device: Any, timed: bool
) -> dict[str, float]:
    """Checks a network's outputs, gradient and loss, then times its training steps."""
    import torch
    from torch import nn
    from torch.nn import functional

    from nprep.imagenet.settings import TrainSettings
    from nprep.imagenet.training.evaluation import precision
    from nprep.imagenet.training.optimisers import make_optimiser

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    # The device's float32 outputs against the CPU's, in evaluation mode. TF32 has its own rounding.
    torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode():
        expected = model.eval()(images[:2])
    model = model.to(device)
    with torch.inference_mode():
        found = model(images[:2].to(device)).cpu()
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error < 1e-2:
        raise SystemExit(f"{name}: wrong results (error {error:.1e}), not timed")

    labels = labels.to(device)
    settings = TrainSettings(synthetic_data=True, amp="bf16", channels_last=True, lr=0.02)

    def backward(inputs: Any, amp: str) -> Any:
        model.zero_grad(set_to_none=True)
        with precision(amp, device):
            loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call] # torch does not annotate it
        return loss

    def gradient() -> Any:
        return torch.cat([weight.grad.double().flatten() for weight in model.parameters()])

    model.train()
    plain_loss = backward(images.to(device), "none")
    plain = gradient()
    model = model.to(memory_format=torch.channels_last)
    inputs = images.to(device).contiguous(memory_format=torch.channels_last)
    backward(inputs, "none")
    cosine = float(functional.cosine_similarity(plain, gradient(), dim=0))
    if not cosine > _LEAST_COSINE:
        raise SystemExit(f"{name}: wrong gradient (cosine {cosine:.3f}), not timed")

    optimiser = make_optimiser(model, settings)
    losses, seconds = [], []
    for _ in range(23 if timed else 4):
        begin = time.perf_counter()
        loss = backward(inputs, settings.amp)
        optimiser.step()
        # Waits for the device.
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    change = abs(losses[0] / plain_loss.item() - 1)
    if not change < _LOSS_TOLERANCE:
        raise SystemExit(f"{name}: bf16 changes the loss by {change:.1%}, not timed")
    if not np.isfinite(losses).all() or losses[-1] >= losses[0]:
        raise SystemExit(f"{name}: the loss did not fall ({losses}), not timed")
    record = {
        "error": float(f"{error:.1e}"),
        "cosine": round(cosine, 4),
        "bf16_loss_change": round(change, 4),
    }
    if timed:
        took = float(np.median(seconds[3:]))
        record["ms_per_step"] = round(1e3 * took, 2)
        record["images_per_second"] = round(len(images) / took)
    return record


PATHS = {"inference": inference, "imagenet": imagenet}

if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in PATHS]:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    print(json.dumps(PATHS[sys.argv[1]]()))
