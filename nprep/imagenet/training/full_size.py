"""One full-size training step, its speed and memory, beside torchvision's MobileNetV2."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from nprep._optional import need
from nprep.imagenet.networks.measure import time_call
from nprep.imagenet.networks.mobile import MobileNetwork, count_flops, count_parameters
from nprep.imagenet.training.evaluation import precision
from nprep.spaces.proxyless.space import MobileSpace


@dataclass(frozen=True)
class StepMeasurement:
    """What training steps of a network take.

    Attributes:
        name: The network.
        parameters: Trainable parameters.
        mflop: Millions of FLOP of one image's forward pass.
        milliseconds: Median time of a training step.
        images_per_second: Training speed.
        loss: Of the last step; shows that it is a number.
    """

    name: str
    parameters: int
    mflop: float
    milliseconds: float
    images_per_second: float
    loss: float


def measure_steps(
    name: str, model: nn.Module, size: int, batch: int, repeats: int, amp: str, device: torch.device
) -> StepMeasurement:
    """Times forward, backward and optimiser step on random images.

    Args:
        name: What to call the network.
        model: The network, 1000 classes.
        size: Height and width of the images.
        batch: Images in a step.
        repeats: Timed steps.
        amp: "none", "bf16" or "fp16" (without a gradient scaler, which takes no time to speak of).
        device: Where.
    """
    flops = count_flops(model, size)
    model = model.to(device).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(batch, 3, size, size, device=device)
    labels = torch.randint(1000, (batch,), device=device)
    losses: list[float] = []

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with precision(amp, device):
            loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    milliseconds = time_call(step, device, repeats)
    return StepMeasurement(
        name, count_parameters(model), flops / 1e6, milliseconds,
        1e3 * batch / milliseconds, losses[-1],
    )  # fmt: skip


def peak_memory(device: torch.device) -> float:
    """Peak memory of the device, or of this process on a CPU, in MiB; NaN for a CPU on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return math.nan
    else:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Kilobytes on Linux, bytes on macOS.
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def full_size_report(
    batch: int, repeats: int, amp: str, device: torch.device, say: Callable[[str], None]
) -> None:
    """Measures known members of the full-size space and torchvision's MobileNetV2.

    Args:
        batch: Images in a step.
        repeats: Timed steps of each.
        amp: See ``measure_steps``.
        device: Where.
        say: Takes the lines.
    """
    models = need("torchvision.models", "compare with MobileNetV2", extra="imagenet")
    space = MobileSpace()
    makers: dict[str, Callable[[], nn.Module]] = {
        name: partial(MobileNetwork, space, space.known(name))
        for name in ("smallest", "mobilenet-v2-like", "largest")
    }
    makers["torchvision MobileNetV2"] = partial(models.mobilenet_v2, weights=None)
    # The loss starts near ln 1000 = 6.9 and falls: every step sees the same images.
    say("network                  parameters  MFLOP  ms/step  images/s  us/MFLOP  loss  MiB so far")
    for name, make in makers.items():
        row = measure_steps(name, make(), space.image_size, batch, repeats, amp, device)
        work = 3 * row.mflop * batch
        say(
            f"{row.name:<23} {row.parameters:>11,}  {row.mflop:>5.0f}  {row.milliseconds:>7.0f}  "
            f"{row.images_per_second:>8.1f}  {1e3 * row.milliseconds / work:>8.2f}  "
            f"{row.loss:>4.2f}  {peak_memory(device):>8.0f}"
        )
