"""Optimiser, learning-rate schedule and the average of the weights."""

from __future__ import annotations

import importlib
import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nprep.errors import SettingsError
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
    """The optimiser of a training; ``learning_rate`` sets its rate before every step."""
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
    if settings.optimiser == "rmsprop-tf":
        return TensorFlowRMSprop(
            groups, lr=settings.lr, momentum=settings.momentum, eps=settings.rms_eps
        )
    return _named_optimiser(groups, settings)


def _named_optimiser(
    groups: list[dict[str, Any]], settings: TrainSettings
) -> torch.optim.Optimizer:
    """An optimiser of torch, or of timm where it is installed, with the options that it has.

    Raises:
        SettingsError: If neither has one of that name.
    """
    wanted = settings.optimiser.lower()
    known = {
        name.lower(): made
        for name, made in vars(torch.optim).items()
        if isinstance(made, type)
        and issubclass(made, torch.optim.Optimizer)
        # It needs two passes a step, and the base class trains nothing.
        and name not in ("LBFGS", "Optimizer", "SparseAdam")
    }
    options: dict[str, Any] = {"lr": settings.lr}
    if settings.opt_eps:
        options["eps"] = settings.opt_eps
    betas = settings.numbers("opt_betas")
    if betas:
        options["betas"] = betas
    make: Any = known.get(wanted)
    if make is None:
        try:
            timm: Any = importlib.import_module("timm.optim")
            made: torch.optim.Optimizer = timm.create_optimizer_v2(
                groups, opt=wanted, momentum=settings.momentum, **options
            )
            return made
        except ImportError:
            more = "; with timm installed, any of its optimisers"
        except (AssertionError, ValueError, KeyError):
            more = ", and timm has none of that name either"
        raise SettingsError(
            f"optimiser {settings.optimiser!r} is unknown: use sgd, rmsprop, rmsprop-tf or "
            f"{', '.join(sorted(known))}{more}."
        )
    has = inspect.signature(make).parameters
    if "momentum" in has:
        options["momentum"] = settings.momentum
    unknown = [name for name in options if name not in has]
    if unknown:
        raise SettingsError(
            f"optimiser {settings.optimiser} has no {unknown[0]}: leave --opt-{unknown[0]} out."
        )
    optimiser: torch.optim.Optimizer = make(groups, **options)
    return optimiser


def learning_rate(
    settings: TrainSettings, step: int, steps_per_epoch: int, images_per_step: int
) -> float:
    """The learning rate of a step: linear warm-up, then the schedule down to the minimum.

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
    low = settings.min_lr * scale
    if settings.schedule == "constant":
        return peak
    if settings.schedule == "step":
        steps = (step - warmup) // max(1.0, settings.decay_epochs * steps_per_epoch)
        return max(low, peak * settings.decay_rate**steps)
    if settings.schedule == "poly":
        part = min(1.0, (step - warmup) / max(1, total - warmup))
        return low + (peak - low) * (1 - part) ** settings.decay_rate
    angle = math.pi * (step - warmup) / max(1, total - warmup)
    return low + (peak - low) * 0.5 * (1 + math.cos(angle))


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
