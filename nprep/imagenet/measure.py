"""Measures a latency table on this device, and how well its sums match whole networks."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from nprep.imagenet.costs import AdditiveCost
from nprep.imagenet.mobile import MobileNetwork, build_block
from nprep.imagenet.ranking import kendall_tau
from nprep.imagenet.space import NUM_CHOICES, SKIP, MobileSpace


def time_call(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median time of a call, milliseconds.

    Args:
        call: What to time.
        device: Where it computes.
        repeats: Timed calls; a third as many go before, untimed.
    """
    times = []
    for number in range(repeats + max(2, repeats // 3)):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= max(2, repeats // 3):
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def _time_module(
    module: nn.Module, shape: tuple[int, ...], device: torch.device, repeats: int
) -> float:
    module = module.to(device).eval()
    images = torch.randn(shape, device=device)
    with torch.inference_mode():
        return time_call(lambda: module(images), device, repeats)


def measure_table(
    space: MobileSpace, device: torch.device, batch: int, repeats: int
) -> AdditiveCost:
    """Times every block and choice alone.

    Blocks of the same shape are timed once. The stem, head and classifier are timed together, as
    the smallest network less its blocks.

    Args:
        space: The space.
        device: Where.
        batch: Images at a time.
        repeats: Timed calls of each.

    Returns:
        The table, milliseconds for a whole batch.
    """
    table = np.full((space.num_blocks, NUM_CHOICES), np.nan)
    known: dict[tuple[object, ...], float] = {}
    for position, block in enumerate(space.blocks):
        shape = (batch, block.in_channels, block.in_size, block.in_size)
        for choice in block.choices:
            if choice == SKIP:
                table[position, choice] = 0.0
                continue
            kernel, expansion = block.kernel_and_expansion(choice, position == 0)
            key = (shape, block.out_channels, block.stride, kernel, expansion)
            if key not in known:
                module = build_block(space, position, choice)
                known[key] = _time_module(module, shape, device, repeats)
            table[position, choice] = known[key]
    smallest = space.known("smallest")
    network = MobileNetwork(space, smallest)
    image = (batch, 3, space.image_size, space.image_size)
    head_shape = (batch, space.blocks[-1].out_channels, *[space.blocks[-1].out_size] * 2)
    fixed = _time_module(network.stem, image, device, repeats)
    tail = nn.Sequential(network.head, nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier)
    fixed += _time_module(tail, head_shape, device, repeats)
    return AdditiveCost("latency", "ms", fixed, table)


def compare_with_networks(
    space: MobileSpace,
    cost: AdditiveCost,
    device: torch.device,
    batch: int,
    repeats: int,
    networks: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Times whole networks and compares with the sums of the table.

    Args:
        space: The space.
        cost: The table.
        device: Where.
        batch: Images at a time.
        repeats: Timed calls of each network.
        networks: How many random networks.
        seed: Which.

    Returns:
        Mean ratio of measured to summed time, mean absolute error in percent as it is and after
        that ratio is taken out, and Kendall's tau.
    """
    drawn = space.sample(np.random.default_rng(seed), networks)
    shape = (batch, 3, space.image_size, space.image_size)
    measured = np.array(
        [_time_module(MobileNetwork(space, one), shape, device, repeats) for one in drawn]
    )
    summed = cost.of(drawn)
    ratio = float((measured / summed).mean())

    def error(predicted: np.ndarray) -> float:
        return round(float(100 * np.abs(predicted / measured - 1).mean()), 3)

    return {
        "networks": networks,
        "mean_measured_ms": round(float(measured.mean()), 4),
        "mean_summed_ms": round(float(summed.mean()), 4),
        "ratio": round(ratio, 4),
        "error_percent": error(summed),
        "error_percent_scaled": error(summed * ratio),
        "kendall_tau": round(kendall_tau(measured, summed), 4),
    }


def describe_device(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
