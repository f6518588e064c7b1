"""Measures a latency table on this device, and how well its sums match whole networks."""

from __future__ import annotations

import contextlib
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.benchmark import Timer

from nprep.imagenet.networks.mobile import MobileNetwork, build_block
from nprep.predictor.agreement import kendall_tau
from nprep.spaces.proxyless.costs import AdditiveCost
from nprep.spaces.proxyless.space import SKIP, MobileSpace

ROUNDS = 4
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def time_call(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median time of a call, milliseconds.

    Args:
        call: What to time.
        device: Where it computes.
        repeats: Timed calls; a third as many go before, untimed.
    """
    # It waits for GPUs, and would change the number of threads if it were not told.
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        timer.timeit(max(2, repeats // 3))
        return 1e3 * statistics.median(timer.timeit(1).mean for _ in range(repeats))


@dataclass(frozen=True)
class Deployment:
    """How networks are run where they are timed.

    Attributes:
        device: Where.
        precision: Of weights and activations, a key of PRECISIONS.
        compiled: Whether ``torch.compile`` comes first.
    """

    device: torch.device
    precision: str = "fp32"
    compiled: bool = False

    def ready(self, module: nn.Module) -> nn.Module:
        """A module as it is run."""
        module = module.to(self.device, PRECISIONS[self.precision]).eval()
        return torch.compile(module) if self.compiled else module  # type: ignore[return-value] # called alike

    def images(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Random images, or features, of a shape."""
        return torch.randn(shape, device=self.device, dtype=PRECISIONS[self.precision])


def _time_modules(
    makers: Sequence[Callable[[], nn.Module]],
    shapes: Sequence[tuple[int, ...]],
    where: Deployment,
    repeats: int,
) -> NDArray[np.float64]:
    """The median time of each module, milliseconds.

    The calls of a module are spread over several rounds: what disturbs the machine for some
    seconds then falls on all modules alike.
    """
    rounds = min(ROUNDS, repeats)
    times = np.empty((rounds, len(makers)))
    for row in times:
        for column, (make, shape) in enumerate(zip(makers, shapes, strict=True)):
            module, images = where.ready(make()), where.images(shape)
            with torch.inference_mode():
                call = partial(module, images)
                row[column] = time_call(call, where.device, -(-repeats // rounds))
    return np.median(times, axis=0)


def measure_table(space: MobileSpace, where: Deployment, batch: int, repeats: int) -> AdditiveCost:
    """Times every block and choice alone.

    Blocks of the same shape are timed once. Stem and head (with the classifier) are timed alone
    too and make the fixed part.

    Args:
        space: The space.
        where: The device, and how networks run on it.
        batch: Images at a time.
        repeats: Timed calls of each.

    Returns:
        The table, milliseconds for a whole batch.
    """
    network = MobileNetwork(space, space.known("smallest"))
    tail = nn.Sequential(network.head, nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier)
    last = space.blocks[-1]
    makers: list[Callable[[], nn.Module]] = [lambda: network.stem, lambda: tail]
    shapes: list[tuple[int, ...]] = [
        (batch, 3, space.image_size, space.image_size),
        (batch, last.out_channels, last.out_size, last.out_size),
    ]
    places: dict[tuple[int, int], int] = {}
    known: dict[tuple[object, ...], int] = {}
    for position, block in enumerate(space.blocks):
        shape = (batch, block.in_channels, block.in_size, block.in_size)
        for choice in block.choices:
            if choice == SKIP:
                continue
            kernel, expansion = block.kernel_and_expansion(choice, position == 0)
            key = (shape, block.out_channels, block.stride, kernel, expansion)
            if key not in known:
                known[key] = len(makers)
                makers.append(partial(build_block, space, position, choice))
                shapes.append(shape)
            places[position, choice] = known[key]
    times = _time_modules(makers, shapes, where, repeats)
    table = np.where(space.allowed, 0.0, np.nan)
    for place, number in places.items():
        table[place] = times[number]
    return AdditiveCost("latency", "ms", float(times[:2].sum()), table)


def compare_with_networks(
    space: MobileSpace,
    cost: AdditiveCost,
    where: Deployment,
    batch: int,
    repeats: int,
    networks: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Times whole random networks and compares with the sums of the table.

    A whole network is slower than its blocks alone, whose weights stay in the cache from call to
    call. One factor for all networks makes up for it: it is taken from the first half of the
    networks and judged on the others.

    Args:
        space: The space.
        cost: The table.
        where: The device, and how networks run on it.
        batch: Images at a time.
        repeats: Timed calls of each network.
        networks: How many random networks.
        seed: Which.

    Returns:
        The factor (mean ratio of measured to summed time), mean absolute error in percent of the
        other networks without and with it, and Kendall's tau over all.
    """
    drawn = space.sample(np.random.default_rng(seed), networks)
    shape = (batch, 3, space.image_size, space.image_size)
    makers = [partial(MobileNetwork, space, one) for one in drawn]
    measured = _time_modules(makers, [shape] * networks, where, repeats)
    summed = cost.of(drawn)
    half = networks // 2
    factor = float((measured / summed)[: half or None].mean())
    others = slice(half, None)

    def error(predicted: NDArray[np.float64]) -> float:
        return round(float(100 * np.abs(predicted / measured - 1)[others].mean()), 3)

    return {
        "networks": networks,
        "mean_measured_ms": round(float(measured.mean()), 4),
        "mean_summed_ms": round(float(summed.mean()), 4),
        "factor": round(factor, 4),
        "error_percent_without_factor": error(summed),
        "error_percent": error(summed * factor),
        "kendall_tau": round(kendall_tau(measured, summed, constant=0.0), 4),
    }


def describe_device(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
