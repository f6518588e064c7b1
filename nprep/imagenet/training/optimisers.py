"""Optimiser, learning-rate schedule and the average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

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


class WeightAverage(AveragedModel):
    """An exponential moving average of weights and batch-norm statistics.

    torch's ``AveragedModel`` with an averaging function of its own: the decay starts low,
    min(decay, (1 + t) / (10 + t)) at step t, so that the average is of use from the first epoch on.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts from a copy of the model.

        Args:
            model: The network that is trained.
            decay: The final decay.
        """
        self.decay = decay
        super().__init__(model, multi_avg_fn=self._lerp, use_buffers=True)
        self.module.eval().requires_grad_(False)
        self.count_from(0)

    @property
    def model(self) -> nn.Module:
        """The network with the averaged weights."""
        return self.module

    def count_from(self, steps: int) -> None:
        """Says how many steps the average has seen.

        The copy that it starts from counts as one model: torch would let the first step replace it.
        """
        self._steps = steps
        self.n_averaged.fill_(steps + 1)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Averages in the weights after a step."""
        self.update_parameters(model)
        self._steps += 1

    def _lerp(self, averages: Any, values: Any, seen: Any) -> None:
        """Averages tensors of one type, in place."""
        if not averages[0].is_floating_point():
            # Counts of batches.
            torch._foreach_copy_(averages, values)
            return
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(averages, values, 1 - decay)
