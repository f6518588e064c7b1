"""The network of NAS-Bench-201 as a torch module, written from the authors' description."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


class _Zero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _operation(name: str, channels: int) -> nn.Module:
    if name == "none":
        return _Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return _conv(channels, channels, {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name])


class _Cell(nn.Module):
    def __init__(self, operations: list[str], channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(_operation(name, channels) for name in operations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes = [x, *([torch.zeros_like(x)] * 3)]
        for (tail, head), edge in zip(_EDGES, self.edges, strict=True):
            nodes[head] = nodes[head] + edge(nodes[tail])
        return nodes[3]


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inputs, outputs, 3, 2), _conv(outputs, outputs, 3))
        self.side = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.side(x) + self.body(x)


def network(operations: list[str], classes: int, channels: int = 16, cells: int = 5) -> nn.Module:
    """The whole network of a cell, given the operations of its six edges."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
    ]
    width = channels
    for stage in range(3):
        if stage:
            layers.append(_Residual(width, 2 * width))
            width *= 2
        layers += [_Cell(operations, width) for _ in range(cells)]
    return nn.Sequential(
        *layers, nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, classes),
    )  # fmt: skip


def count_parameters(model: nn.Module) -> int:
    """The trainable parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_multiplications(model: nn.Module, image_size: int) -> int:
    """Multiplications of convolutions and linear layers, biases counted, as hooks see them."""
    total = 0

    def hook(module: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        weights = module.weight[0].numel() + (module.bias is not None)
        total += output[0].numel() * weights

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, image_size, image_size))
    return total
