"""The training loop: steps, epochs, checkpoints, and resuming from them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nprep.errors import NprepError, RunFolderError, SettingsError
from nprep.imagenet.data.layout import open_parts
from nprep.imagenet.data.loading import (
    Batch,
    EpochKeys,
    ImageSet,
    Loader,
    derived_seed,
    refuse_unreadable,
)
from nprep.imagenet.data.transforms import batch_mixer, training_transform
from nprep.imagenet.networks.architectures import build
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training.checkpoints import save_checkpoint
from nprep.imagenet.training.evaluation import (
    Evaluator,
    Recalibration,
    Score,
    precision,
    test_evaluator,
)
from nprep.imagenet.training.folder import RunFolder
from nprep.imagenet.training.optimisers import WeightAverage, learning_rate, make_optimiser
from nprep.imagenet.training.processes import Processes, float_buffers, synchronise_norms
from nprep.imagenet.training.progress import Progress
from nprep.imagenet.training.trackers import Tracker
from nprep.imagenet.training.weights import load_initial

# Micro-batches in a row that may overflow in fp16 before a training counts as diverged: from the
# scaler's first scale, 2^16, down to 2^-14.
MAX_OVERFLOWS = 30


class DivergedError(NprepError):
    """A training whose loss is no longer a number."""


class Trainer:
    """One training of one network, in one or several processes."""

    def __init__(
        self,
        settings: TrainSettings,
        folder: RunFolder,
        processes: Processes,
        fresh: bool = True,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        """Opens the data and builds the network, its weights drawn from the seed.

        Args:
            settings: The training.
            folder: Where it writes.
            processes: Who takes part.
            fresh: Whether the training begins, rather than resumes.
            trackers: Take the numbers of each epoch.

        Raises:
            NprepError: If the data or the settings are of no use.
        """
        self.settings, self.folder, self.processes = settings, folder, processes
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.parts = open_parts(settings)
        device = processes.device
        torch.manual_seed(derived_seed(settings.seed, "weights"))
        model = build(settings, self.parts.num_classes)
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
        self.optimiser = make_optimiser(model, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.amp == "fp16")
        # Dropout and the like differ between processes; weights, drawn above, do not.
        torch.manual_seed(derived_seed(settings.seed, "steps", processes.rank))
        self._loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        self._mixer = batch_mixer(settings, self.parts.num_classes)
        self._forward: nn.Module = model
        if settings.compile:
            self._forward = torch.compile(model)  # type: ignore[assignment] # called alike
        if processes.count > 1:
            ids = [device.index] if device.type == "cuda" else None
            self._forward = DistributedDataParallel(self._forward, device_ids=ids)
            self._settle_buckets()
        self._open_loaders()
        self.epoch = self.step = self.batches_done = 0
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self.best = -1.0
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._saved_at = time.monotonic()
        self._trackers = trackers
        self._norms = torch.zeros(2, dtype=torch.float64, device=device)
        self._overflows = torch.zeros((), dtype=torch.float64, device=device)
        # Of the weights as they are now; nothing yet.
        self._score: Score | None = None

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
        self.optimiser.zero_grad(set_to_none=True)
        torch.set_rng_state(random)
        if gpu_random is not None:
            torch.cuda.set_rng_state(gpu_random)

    def _open_loaders(self) -> None:
        settings, who = self.settings, self.processes
        source = self.parts.train
        self.keys = EpochKeys(
            source,
            settings.seed,
            settings.batch_size,
            who.rank,
            who.count,
            same_order=settings.overfit_batches > 0,
        )
        batches = self.keys.batches
        if settings.overfit_batches:
            batches = min(batches, settings.overfit_batches)
        self.steps_per_epoch = batches // settings.accumulate
        if not self.steps_per_epoch:
            needed = settings.batch_size * settings.accumulate * who.count
            raise SettingsError(
                f"one step takes {needed} images and there are {len(source)} to train on: use a "
                "smaller --batch-size or --accumulate"
            )
        self.keys.limit = self.steps_per_epoch * settings.accumulate
        images = ImageSet(source, training_transform(settings), settings.seed, settings.cache)
        self._loader = Loader(
            images,
            self.keys,
            settings.workers,
            who.device.type == "cuda",
            settings.loader_timeout,
            settings.bytes_of(settings.batch_size),
        )
        self._validation = Evaluator(self.parts.val, settings, who)
        self._recalibration: Recalibration | None = None
        if settings.bn_recalibrate:
            self._recalibration = Recalibration(source, settings, who)

    @property
    def images_per_step(self) -> int:
        """Images of all processes in one optimiser step."""
        return self.settings.batch_size * self.settings.accumulate * self.processes.count

    @property
    def evaluated_model(self) -> nn.Module:
        """The network whose accuracy counts: the average, where there is one."""
        return self.model if self.average is None else self.average.model

    def _models(self) -> list[nn.Module]:
        """The network that is trained, and its average where there is one."""
        return [self.model] if self.average is None else [self.model, self.average.model]

    def fit(self) -> dict[str, Any]:
        """Trains to the end.

        Returns:
            The result: accuracy on validation (and test) images, epochs, steps, seconds.

        Raises:
            NprepError: If the loss diverges, an image cannot be read or nothing can be written;
                the last checkpoint stays and the run can be resumed.
        """
        settings = self.settings
        steps = self.steps_per_epoch * settings.epochs
        self._last_step = min(steps, settings.max_steps or steps)
        show = self.processes.first and not settings.quiet
        self._progress = Progress(self._last_step, self.images_per_step, settings.log_seconds, show)
        while self.epoch < settings.epochs and self.step < self._last_step:
            started = time.monotonic()
            self._train_epoch()
            self._end_epoch(time.monotonic() - started)
        return self._finish()

    def _train_epoch(self) -> None:
        accumulate = self.settings.accumulate
        self._progress.start_epoch()
        self.keys.move_to(self.epoch, self.batches_done)
        micro: list[Batch] = []
        for batch in self._loader:
            refuse_unreadable(batch, self.settings.on_corrupt, least=2)
            micro.append(batch)
            if len(micro) < accumulate:
                continue
            self._train_step(micro)
            self.batches_done += accumulate
            micro = []
            self._progress.step(self.epoch, self.step, self.sums)
            if self.step >= self._last_step:
                return
            # All processes save and stop together.
            asked, due = self.processes.any(self.folder.asked, self._checkpoint_is_due())
            if asked:
                self.folder.stop(self.save)
            if due:
                self.save()

    def _train_step(self, micro: list[Batch]) -> None:
        settings, device = self.settings, self.processes.device
        rate = learning_rate(settings, self.step, self.steps_per_epoch, self.images_per_step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        for number, batch in enumerate(micro):
            last = number == len(micro) - 1
            if isinstance(self._forward, DistributedDataParallel):
                self._forward.require_backward_grad_sync = last
            images, labels = self._to_device(batch, number)
            with precision(settings.amp, device):
                loss = self._loss(self._forward(images), labels)
            self.scaler.scale(loss / len(micro)).backward()
            self._count_loss(loss.detach().double())
        if settings.clip_norm:
            self.scaler.unscale_(self.optimiser)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
            self._norms += torch.stack([norm.detach().double(), torch.ones_like(self._norms[0])])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model)
        self.step += 1
        self._score = None
        # On a GPU this would wait for it at every step; there the checkpoints look.
        if device.type == "cpu":
            self._refuse_divergence()

    def _count_loss(self, loss: Tensor) -> None:
        one = torch.ones_like(loss)
        if self.scaler.is_enabled():
            # The scaler skips a step that overflows in fp16, and lowers its scale; only a loss that
            # stays without a number is a divergence.
            finite = torch.isfinite(loss)
            self._overflows = torch.where(finite, 0.0, self._overflows + 1)
            loss, one = torch.where(finite, loss, 0.0), finite.double()
            loss = torch.where(self._overflows > MAX_OVERFLOWS, torch.nan, loss)
        self.sums += torch.stack([loss, one])

    def _to_device(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        device = self.processes.device
        images = batch.images.to(device, non_blocking=True)
        labels = batch.labels.to(device, non_blocking=True)
        off = self.settings.mix_off_epoch
        if self._mixer is not None and not (off and self.epoch >= off):
            state = torch.default_generator.get_state()
            who = (self.processes.rank, self.step, number)
            torch.default_generator.manual_seed(derived_seed(self.settings.seed, "mix", *who))
            images, labels = self._mixer(images, labels)
            torch.default_generator.set_state(state)
        if self.settings.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, labels

    def _refuse_divergence(self) -> None:
        if not math.isfinite(float(self.sums[0])):
            raise DivergedError(
                f"the loss of {self.settings.arch} is not a number at step {self.step} (epoch "
                f"{self.epoch + 1}): lower --lr, add --clip-norm or drop --amp fp16, and start a "
                "new run; checkpoints from before are kept"
            )

    def _checkpoint_is_due(self) -> bool:
        settings = self.settings
        if settings.checkpoint_steps and self.step % settings.checkpoint_steps == 0:
            return True
        return time.monotonic() - self._saved_at > 60 * settings.checkpoint_minutes

    def _end_epoch(self, seconds: float) -> None:
        self._refuse_divergence()
        for model in self._models():
            if self._recalibration is not None:
                self._recalibration.renew(model)
            self.processes.average_buffers(model)
        loss, batches = self.processes.total(self.sums.clone()).tolist()
        score = None
        if (self.epoch + 1) % self.settings.val_every == 0 or self._is_last_epoch():
            score = self._score = self._validation.score(self.evaluated_model)
        self.seconds += seconds
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "step": self.step,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "train_loss": loss / max(1, batches),
                "val_loss": None if score is None else score.loss,
                "val_top1": None if score is None else score.top1,
                "val_top5": None if score is None else score.top5,
                "train_seconds": round(seconds, 3),
            }
        )
        self.sums.zero_()
        self.epoch, self.batches_done = self.epoch + 1, 0
        improved = score is not None and score.top1 > self.best
        if score is not None:
            self.best = max(self.best, score.top1)
        self.save(best=improved)
        if self.processes.first:
            self.folder.keep_epoch(self.epoch, self.settings.checkpoint_hist)
            self.folder.write_history(self.history)
            self._report(self.history[-1])
            self._progress.epoch(self.history[-1], self.settings.epochs)
        if self.processes.any(self.folder.asked)[0]:
            self.folder.stop(None)

    def _report(self, row: dict[str, Any]) -> None:
        """Hands the numbers of an epoch to the trackers."""
        numbers = {k: float(v) for k, v in row.items() if k != "epoch" and v is not None}
        norm, steps = self._norms.tolist()
        if steps:
            # Before it is clipped; the mean over the steps of this process.
            numbers["gradient_norm"] = norm / steps
        self._norms.zero_()
        for tracker in self._trackers:
            tracker.log(row["epoch"], numbers)

    def _is_last_epoch(self) -> bool:
        return self.epoch + 1 >= self.settings.epochs or self.step >= self._last_step

    def _finish(self) -> dict[str, Any]:
        # Killed between the last epoch and here, a resumed run has yet to look.
        score = self._score or self._validation.score(self.evaluated_model)
        tester = test_evaluator(self.parts, self.settings, self.processes)
        test: Score | None = None if tester is None else tester.score(self.evaluated_model)
        result = {
            "arch": self.settings.arch,
            "val_top1": score.top1,
            "val_top5": score.top5,
            "val_images": score.images,
            "test_top1": None if test is None else test.top1,
            "epochs": self.epoch,
            "steps": self.step,
            "train_seconds": round(self.seconds, 3),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            # What made it: a resumed run compares it with what it is asked for.
            "settings": self.settings.identity(),
            "train_images": len(self.parts.train),
            "num_classes": self.parts.num_classes,
        }
        if self.processes.first:
            self.folder.write_result(result)
        return result

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs to continue as if it had not stopped."""
        devices = torch.cuda.get_rng_state() if self.processes.device.type == "cuda" else None
        return {
            "settings": dataclasses.asdict(self.settings),
            "processes": self.processes.count,
            "train_images": len(self.parts.train),
            "num_classes": self.parts.num_classes,
            "classes": list(self.parts.train.classes),
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": self.processes.gather((torch.get_rng_state(), devices)),
            "buffers": self.processes.gather(
                [[values.cpu() for values in float_buffers(model)] for model in self._models()]
            ),
            "epoch": self.epoch,
            "step": self.step,
            # In images of a process: the size of a batch may change.
            "images_done": self.batches_done * self.settings.batch_size,
            "sums": self.processes.gather(self.sums.cpu()),
            "best": self.best,
            "history": self.history,
            "seconds": self.seconds,
        }

    def save(self, best: bool = False) -> None:
        """Writes the last checkpoint, and the best one too if it is the best.

        Raises:
            DivergedError: If the loss is not a number; the checkpoint from before stays.
        """
        self._refuse_divergence()
        state = self.state()
        if self.processes.first:
            self.folder.keep_last()
            save_checkpoint(self.folder.last, state)
            if best:
                save_checkpoint(self.folder.best, {"model": self.evaluated_model.state_dict()})
        self._saved_at = time.monotonic()

    def resume(self) -> None:
        """Resumes from the folder's last checkpoint, or the one before it if that is damaged.

        Raises:
            RunFolderError: If both are damaged, or of a run with other settings or data.
        """
        path, state = self.folder.checkpoint()
        known = {f.name for f in dataclasses.fields(TrainSettings)}
        before = TrainSettings(**{k: v for k, v in state["settings"].items() if k in known})
        changed = self.settings.differences(before)
        if changed:
            name = changed[0]
            raise RunFolderError(
                f"{path} was trained with {name} {getattr(before, name)!r} and the resumed run has "
                f"{getattr(self.settings, name)!r}: resume with the same settings or choose "
                "another --out"
            )
        mine = (self.processes.count, len(self.parts.train), self.parts.num_classes)
        theirs = (state["processes"], state["train_images"], state["num_classes"])
        if mine != theirs:
            raise RunFolderError(
                f"{path} was trained by {theirs[0]} processes on {theirs[1]} images of {theirs[2]} "
                f"classes and now there are {mine[0]}, {mine[1]} and {mine[2]}: restore them or "
                "choose another --out"
            )
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
            self.average.count_from(state["step"])
        if "buffers" in state:
            for model, kept in zip(
                self._models(), state["buffers"][self.processes.rank], strict=True
            ):
                for values, before in zip(float_buffers(model), kept, strict=True):
                    values.copy_(before)
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        cpu, gpu = state["random"][self.processes.rank]
        torch.set_rng_state(cpu)
        if gpu is not None and self.processes.device.type == "cuda":
            torch.cuda.set_rng_state(gpu)
        self.epoch, self.step = state["epoch"], state["step"]
        if "images_done" in state:
            self.batches_done = state["images_done"] // self.settings.batch_size
        else:
            # Written before batches could change their size.
            self.batches_done = state["batches_done"]
        self.sums.copy_(state["sums"][self.processes.rank])
        self.best, self.history, self.seconds = state["best"], state["history"], state["seconds"]
