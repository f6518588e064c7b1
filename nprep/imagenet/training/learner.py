"""The network of a training with its optimiser: one step, and what a checkpoint holds of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nprep.errors import NprepError
from nprep.imagenet.data.loading import ImageBatch, derived_seed
from nprep.imagenet.data.transforms import batch_mixer
from nprep.imagenet.networks.architectures import build
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training.evaluation import precision
from nprep.imagenet.training.optimisers import WeightAverage, make_optimiser
from nprep.imagenet.training.processes import Processes, float_buffers, synchronise_norms
from nprep.imagenet.training.weights import load_initial

# Micro-batches in a row that may overflow in fp16 before a training counts as diverged: from the
# scaler's first scale, 2^16, down to 2^-14.
MAX_OVERFLOWS = 30


class DivergedError(NprepError):
    """A training whose loss is no longer a number."""


class Learner:
    """A network in training, in one or several processes.

    Attributes:
        model: The network that is trained.
        average: The average of its weights, or None.
        step: Optimiser steps done.
        sums: (2,) float64: sum of the losses of micro-batches in this epoch, and their number.
    """

    def __init__(
        self, settings: TrainSettings, processes: Processes, num_classes: int, fresh: bool
    ) -> None:
        """Builds the network, its weights drawn from the seed.

        Args:
            settings: The training.
            processes: Who takes part.
            num_classes: Of the data.
            fresh: Whether the training begins, rather than resumes.

        Raises:
            NprepError: If the settings or the initial weights are of no use.
        """
        self.settings, self.processes = settings, processes
        device = processes.device
        torch.manual_seed(derived_seed(settings.seed, "weights"))
        model = build(settings, num_classes)
        if fresh and settings.initial_weights:
            load_initial(model, Path(settings.initial_weights))
        model = model.to(device)
        if settings.channels_last:
            # Not in the type stubs of every torch release.
            move: Any = model.to
            model = move(memory_format=torch.channels_last)
        if settings.sync_bn:
            model = synchronise_norms(model, processes)
        self.model = model.train()
        self.average = WeightAverage(model, settings.ema) if settings.ema else None
        self._optimiser = make_optimiser(model, settings)
        self._scaler = torch.amp.GradScaler(device.type, enabled=settings.amp == "fp16")
        # Dropout and the like differ between processes; weights, drawn above, do not.
        torch.manual_seed(derived_seed(settings.seed, "steps", processes.rank))
        self._loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        self._mixer = batch_mixer(settings, num_classes)
        self._forward: nn.Module = model
        if settings.compile:
            self._forward = torch.compile(model)  # type: ignore[assignment] # called alike
        if processes.count > 1:
            ids = [device.index] if device.type == "cuda" else None
            self._forward = DistributedDataParallel(self._forward, device_ids=ids)
            self._settle_buckets()
        self.step = 0
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._norms = torch.zeros(2, dtype=torch.float64, device=device)
        self._overflows = torch.zeros((), dtype=torch.float64, device=device)

    def _settle_buckets(self) -> None:
        """Makes torch choose its final layout of gradients before the first step.

        After its first backward pass torch arranges the gradients anew for their exchange. The
        order in which three and more processes add them depends on where they lie, so that the
        first step of a resumed run would round otherwise than that step did before. This pass is on
        grey images, and leaves nothing behind but the layout.
        """
        settings, device = self.settings, self.processes.device
        images = torch.zeros(
            (settings.batch_size, 3, settings.image_size, settings.image_size), device=device
        )
        if settings.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        random = torch.get_rng_state()
        gpu_random = torch.cuda.get_rng_state() if device.type == "cuda" else None
        before = [values.clone() for values in self.model.buffers()]
        with precision(settings.amp, device):
            outputs = self._forward(images)
        outputs.sum().backward()
        with torch.no_grad():
            for values, kept in zip(self.model.buffers(), before, strict=True):
                values.copy_(kept)
        self._optimiser.zero_grad(set_to_none=True)
        torch.set_rng_state(random)
        if gpu_random is not None:
            torch.cuda.set_rng_state(gpu_random)

    @property
    def evaluated_model(self) -> nn.Module:
        """The network whose accuracy counts: the average, where there is one."""
        return self.model if self.average is None else self.average.model

    @property
    def models(self) -> list[nn.Module]:
        """The network that is trained, and its average where there is one."""
        return [self.model] if self.average is None else [self.model, self.average.model]

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        rate: float = self._optimiser.param_groups[0]["lr"]
        return rate

    def train(self, micro: list[ImageBatch], rate: float, epoch: int) -> None:
        """One optimiser step.

        Args:
            micro: The batches of its forward passes.
            rate: The learning rate.
            epoch: From 0; batches may be mixed in the first epochs alone.

        Raises:
            DivergedError: If the loss is not a number (on a GPU only ``refuse_divergence`` looks).
        """
        settings = self.settings
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        for number, batch in enumerate(micro):
            last = number == len(micro) - 1
            if isinstance(self._forward, DistributedDataParallel):
                self._forward.require_backward_grad_sync = last
            images, labels = self._to_device(batch, number, epoch)
            with precision(settings.amp, self.processes.device):
                loss = self._loss(self._forward(images), labels)
            self._scaler.scale(loss / len(micro)).backward()
            self._count_loss(loss.detach().double())
        if settings.clip_norm:
            self._scaler.unscale_(self._optimiser)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
            self._norms += torch.stack([norm.detach().double(), torch.ones_like(self._norms[0])])
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self.average is not None:
            self.average.update(self.model)
        self.step += 1
        # On a GPU this would wait for it at every step; there the checkpoints look.
        if self.processes.device.type == "cpu":
            self.refuse_divergence(epoch)

    def _count_loss(self, loss: Tensor) -> None:
        one = torch.ones_like(loss)
        if self._scaler.is_enabled():
            # The scaler skips a step that overflows in fp16, and lowers its scale; only a loss that
            # stays without a number is a divergence.
            finite = torch.isfinite(loss)
            self._overflows = torch.where(finite, 0.0, self._overflows + 1)
            loss, one = torch.where(finite, loss, 0.0), finite.double()
            loss = torch.where(self._overflows > MAX_OVERFLOWS, torch.nan, loss)
        self.sums += torch.stack([loss, one])

    def _to_device(self, batch: ImageBatch, number: int, epoch: int) -> tuple[Tensor, Tensor]:
        device = self.processes.device
        images = batch.images.to(device, non_blocking=True)
        labels = batch.labels.to(device, non_blocking=True)
        off = self.settings.mix_off_epoch
        if self._mixer is not None and not (off and epoch >= off):
            state = torch.default_generator.get_state()
            who = (self.processes.rank, self.step, number)
            torch.default_generator.manual_seed(derived_seed(self.settings.seed, "mix", *who))
            images, labels = self._mixer(images, labels)
            torch.default_generator.set_state(state)
        if self.settings.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, labels

    def refuse_divergence(self, epoch: int) -> None:
        """Raises DivergedError if the loss of the epoch (from 0) is not a number."""
        if not math.isfinite(float(self.sums[0])):
            raise DivergedError(
                f"the loss of {self.settings.arch} is not a number at step {self.step} (epoch "
                f"{epoch + 1}): lower --lr, add --clip-norm or drop --amp fp16, and start a "
                "new run; checkpoints from before are kept."
            )

    def take_loss(self) -> float:
        """The mean loss of the epoch over all processes; the next epoch starts from nothing."""
        loss, batches = self.processes.total(self.sums.clone()).tolist()
        self.sums.zero_()
        return float(loss / max(1, batches))

    def take_gradient_norm(self) -> float | None:
        """The mean norm since the last call, before clipping, over the steps of this process."""
        norm, steps = self._norms.tolist()
        self._norms.zero_()
        return norm / steps if steps else None

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the network and its optimiser."""
        gpu = torch.cuda.get_rng_state() if self.processes.device.type == "cuda" else None
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": self.processes.gather((torch.get_rng_state(), gpu)),
            "buffers": self.processes.gather(
                [[values.cpu() for values in float_buffers(model)] for model in self.models]
            ),
            "step": self.step,
            "sums": self.processes.gather(self.sums.cpu()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` gave, in the same number of processes."""
        rank = self.processes.rank
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
            self.average.count_from(state["step"])
        if "buffers" in state:
            for model, kept in zip(self.models, state["buffers"][rank], strict=True):
                for values, before in zip(float_buffers(model), kept, strict=True):
                    values.copy_(before)
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        cpu, gpu = state["random"][rank]
        torch.set_rng_state(cpu)
        if gpu is not None and self.processes.device.type == "cuda":
            torch.cuda.set_rng_state(gpu)
        self.step = state["step"]
        self.sums.copy_(state["sums"][rank])
