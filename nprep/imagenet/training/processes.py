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

    def average_buffers(self, model: nn.Module) -> None:
        """Gives every process the mean over processes of the network's running statistics.

        Each process updates the averages of batch norm with its own images. What is evaluated and
        saved must be one network, so they are averaged first (timm's ``--dist-bn reduce``).
        """
        if self.count > 1:
            for values in float_buffers(model):
                dist.all_reduce(values)
                values /= self.count

    def any(self, *flags: bool) -> list[bool]:
        """Whether each flag is set in some process; the same answer in all of them.

        It travels between CPUs, so that no process waits for its GPU.
        """
        if self.count == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """One value a process, in order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values


def float_buffers(model: nn.Module) -> list[Tensor]:
    """The running statistics of a network (batch norm's means and variances), in order."""
    return [values for values in model.buffers() if values.is_floating_point()]


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
        raise SettingsError(
            f"device {name!r} is unknown: use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SettingsError(f"device {name} was asked for and there is no CUDA GPU: use cpu.")
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise SettingsError(
                f"device {device} was asked for and there are {torch.cuda.device_count()} GPUs: "
                "start no more processes a machine than it has GPUs."
            )
        torch.cuda.set_device(device)
    return device


def refuse_precision(amp: str, device: torch.device) -> None:
    """Raises SettingsError if the device cannot compute in that precision."""
    if (
        amp == "bf16"
        and device.type == "cuda"
        and torch.cuda.get_device_capability(device) < (8, 0)
    ):
        raise SettingsError(
            f"amp is bf16 and {torch.cuda.get_device_name(device)} does not compute in it: use "
            "--amp fp16 or none."
        )


# What torchrun tells each of its processes.
_TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def join(device: str, alone: bool = False) -> Processes:
    """Joins the processes that torchrun started; alone, where it did not.

    Args:
        device: See ``choose_device``.
        alone: Whether this process trains by itself, whatever the environment says.

    Raises:
        SettingsError: If the environment is half torchrun's, or all processes would share a GPU.
    """
    count = 1 if alone else _world_size()
    if count == 1:
        return Processes(0, 1, choose_device(device))
    missing = [name for name in _TORCHRUN if name not in os.environ]
    if missing:
        raise SettingsError(
            f"WORLD_SIZE is {count} and {missing[0]} is not set: start the processes with "
            "torchrun, or remove WORLD_SIZE from the environment."
        )
    if device.startswith("cuda:") and int(os.environ.get("LOCAL_WORLD_SIZE", count)) > 1:
        raise SettingsError(
            f"device {device} would be shared by all {count} processes: use --device cuda, which "
            "gives each process its own GPU."
        )
    chosen = choose_device(device, int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        # Gloo beside NCCL: decisions travel between CPUs (see Processes.any).
        dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), count, chosen)


def _world_size() -> int:
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(
            f"WORLD_SIZE is {text!r} in the environment: start the processes with torchrun, or "
            "remove the variable."
        )
    return int(text)


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
