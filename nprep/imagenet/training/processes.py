"""The processes of one training: torchrun's, or just this one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nprep.errors import SettingsError


@dataclass(frozen=True)
class Processes:
    """This process among those of the training.

    Attributes:
        rank: Its number.
        count: How many there are.
        device: Where it computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """One value a process, in order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a name.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:N".
        local_rank: Number of the process on this machine; picks the GPU.

    Raises:
        SettingsError: If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"device {name!r} is unknown: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SettingsError(f"device {name} was asked for and there is no CUDA GPU: use cpu")
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise SettingsError(
                f"device {device} was asked for and there are {torch.cuda.device_count()} GPUs: "
                "start no more processes a machine than it has GPUs"
            )
        torch.cuda.set_device(device)
    return device


def join(device: str) -> Processes:
    """Joins the processes that torchrun started; alone, where it did not."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes(0, 1, choose_device(device))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), count, chosen)


class _SumOfProcesses(torch.autograd.Function):
    """all_reduce whose backward pass sums as well."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over all processes on any device; torch's own needs GPUs."""

    def forward(self, images: Tensor) -> Tensor:
        """Normalises (N, C, H, W); all processes have the same N."""
        if not self.training:
            return super().forward(images)
        count = images.numel() / images.shape[1] * dist.get_world_size()
        mean = _SumOfProcesses.apply(images.sum((0, 2, 3))) / count
        centred = images - mean[:, None, None]
        variance = _SumOfProcesses.apply((centred * centred).sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]


def synchronise_norms(model: nn.Module, processes: Processes) -> nn.Module:
    """Makes every batch norm one over all processes."""
    if processes.count == 1:
        return model
    if processes.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d
    return model
