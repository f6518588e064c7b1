"""Optimiser, learning-rate schedule and the average of the weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training.rmsprop import TensorFlowRMSprop

REFERENCE_BATCH = 256


def parameter_groups(model: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Weights with decay, and norms and biases without it (unless all decay).

    Args:
        model: The network.
        settings: Have the decay.
    """
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for weight in model.parameters():
        (decayed if weight.ndim > 1 or settings.decay_all else plain).append(weight)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimiser(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser of a training; :func:`learning_rate` sets its rate before every step."""
    groups = parameter_groups(model, settings)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            groups,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
        )
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=settings.lr, alpha=0.9, eps=settings.rms_eps, momentum=settings.momentum
        )
    return TensorFlowRMSprop(
        groups, lr=settings.lr, momentum=settings.momentum, eps=settings.rms_eps
    )


def learning_rate(
    settings: TrainSettings, step: int, steps_per_epoch: int, images_per_step: int
) -> float:
    """The learning rate of a step: linear warm-up, then a cosine to zero.

    Args:
        settings: The training.
        step: Steps done so far.
        steps_per_epoch: Optimiser steps in one epoch.
        images_per_step: Images of all processes in one optimiser step.
    """
    scale = images_per_step / REFERENCE_BATCH if settings.scale_lr else 1.0
    peak = settings.lr * scale
    total = settings.epochs * steps_per_epoch
    warmup = min(settings.warmup_epochs * steps_per_epoch, total - 1)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


class WeightAverage:
    """An exponential moving average of weights and batch-norm statistics.

    The decay starts low, min(decay, (1 + t) / (10 + t)) at step t, so that the average is of use
    from the first epoch on.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts from a copy of the model.

        Args:
            model: The network that is trained.
            decay: The final decay.
        """
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes in the weights after a step.

        Args:
            model: The network that is trained.
            step: Steps done before this one.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        mine = self.model.state_dict()
        pairs = [(mine[name], value) for name, value in model.state_dict().items()]
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
