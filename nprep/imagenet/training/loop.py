"""The training loop: epochs, checkpoints, and resuming from them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import torch

from nprep.errors import SettingsError
from nprep.imagenet.data.layout import open_parts
from nprep.imagenet.data.loading import EpochKeys, ImageBatch, ImageSet, Loader, refuse_unreadable
from nprep.imagenet.data.transforms import training_transform
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training.checkpoints import refuse_other_training, save_checkpoint
from nprep.imagenet.training.evaluation import (
    NetworkEvaluator,
    Recalibration,
    Score,
    test_evaluator,
)
from nprep.imagenet.training.folder import RunFolder
from nprep.imagenet.training.learner import Learner
from nprep.imagenet.training.optimisers import learning_rate
from nprep.imagenet.training.processes import Processes
from nprep.imagenet.training.progress import TrainingProgress
from nprep.imagenet.training.trackers import Tracker


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
        self.learner = Learner(settings, processes, self.parts.num_classes, fresh)
        self._open_loaders()
        self.epoch = self.batches_done = 0
        self.best = -1.0
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._saved_at = time.monotonic()
        self._trackers = trackers
        # Of the weights as they are now; nothing yet.
        self._score: Score | None = None

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
                "smaller --batch-size or --accumulate."
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
        self._validation = NetworkEvaluator(self.parts.val, settings, who)
        self._recalibration: Recalibration | None = None
        if settings.bn_recalibrate:
            self._recalibration = Recalibration(source, settings, who)

    @property
    def images_per_step(self) -> int:
        """Images of all processes in one optimiser step."""
        return self.settings.batch_size * self.settings.accumulate * self.processes.count

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self.learner.step

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
        self._progress = TrainingProgress(
            self._last_step, self.images_per_step, settings.log_seconds, show
        )
        while self.epoch < settings.epochs and self.step < self._last_step:
            started = time.monotonic()
            self._train_epoch()
            self._end_epoch(time.monotonic() - started)
        return self._finish()

    def _train_epoch(self) -> None:
        accumulate = self.settings.accumulate
        self._progress.start_epoch()
        self.keys.move_to(self.epoch, self.batches_done)
        micro: list[ImageBatch] = []
        for batch in self._loader:
            refuse_unreadable(batch, self.settings.on_corrupt, least=2)
            micro.append(batch)
            if len(micro) < accumulate:
                continue
            self._train_step(micro)
            self.batches_done += accumulate
            micro = []
            self._progress.step(self.epoch, self.step, self.learner.sums)
            if self.step >= self._last_step:
                return
            # All processes save and stop together.
            asked, due = self.processes.any(self.folder.asked, self._checkpoint_is_due())
            if asked:
                self.folder.stop(self.save)
            if due:
                self.save()

    def _train_step(self, micro: list[ImageBatch]) -> None:
        rate = learning_rate(self.settings, self.step, self.steps_per_epoch, self.images_per_step)
        self.learner.train(micro, rate, self.epoch)
        self._score = None

    def _checkpoint_is_due(self) -> bool:
        settings = self.settings
        if settings.checkpoint_steps and self.step % settings.checkpoint_steps == 0:
            return True
        return time.monotonic() - self._saved_at > 60 * settings.checkpoint_minutes

    def _end_epoch(self, seconds: float) -> None:
        learner = self.learner
        learner.refuse_divergence(self.epoch)
        for model in learner.models:
            if self._recalibration is not None:
                self._recalibration.renew(model)
            self.processes.average_buffers(model)
        loss = learner.take_loss()
        score = None
        if (self.epoch + 1) % self.settings.val_every == 0 or self._is_last_epoch():
            score = self._score = self._validation.score(learner.evaluated_model)
        self.seconds += seconds
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "step": self.step,
                "learning_rate": learner.rate,
                "train_loss": loss,
                "val_loss": None if score is None else score.loss,
                "val_top1": None if score is None else score.top1,
                "val_top5": None if score is None else score.top5,
                "train_seconds": round(seconds, 3),
            }
        )
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
        norm = self.learner.take_gradient_norm()
        if norm is not None:
            numbers["gradient_norm"] = norm
        for tracker in self._trackers:
            tracker.log(row["epoch"], numbers)

    def _is_last_epoch(self) -> bool:
        return self.epoch + 1 >= self.settings.epochs or self.step >= self._last_step

    def _finish(self) -> dict[str, Any]:
        # Killed between the last epoch and here, a resumed run has yet to look.
        score = self._score or self._validation.score(self.learner.evaluated_model)
        tester = test_evaluator(self.parts, self.settings, self.processes)
        test: Score | None = None if tester is None else tester.score(self.learner.evaluated_model)
        result = {
            "arch": self.settings.arch,
            "val_top1": score.top1,
            "val_top5": score.top5,
            "val_images": score.images,
            "test_top1": None if test is None else test.top1,
            "epochs": self.epoch,
            "steps": self.step,
            "train_seconds": round(self.seconds, 3),
            "parameters": sum(p.numel() for p in self.learner.model.parameters()),
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
        return {
            "settings": dataclasses.asdict(self.settings),
            "processes": self.processes.count,
            "train_images": len(self.parts.train),
            "num_classes": self.parts.num_classes,
            "classes": list(self.parts.train.classes),
            **self.learner.state(),
            "epoch": self.epoch,
            # In images of a process: the size of a batch may change.
            "images_done": self.batches_done * self.settings.batch_size,
            "best": self.best,
            "history": self.history,
            "seconds": self.seconds,
        }

    def save(self, best: bool = False) -> None:
        """Writes the last checkpoint, and the best one too if it is the best.

        Raises:
            DivergedError: If the loss is not a number; the checkpoint from before stays.
        """
        self.learner.refuse_divergence(self.epoch)
        state = self.state()
        if self.processes.first:
            self.folder.keep_last()
            save_checkpoint(self.folder.last, state)
            if best:
                weights = self.learner.evaluated_model.state_dict()
                save_checkpoint(self.folder.best, {"model": weights})
        self._saved_at = time.monotonic()

    def resume(self) -> None:
        """Resumes from the folder's last checkpoint, or the one before it if that is damaged.

        Raises:
            RunFolderError: If both are damaged, or of a run with other settings or data.
        """
        path, state = self.folder.checkpoint()
        here = (self.processes.count, len(self.parts.train), self.parts.num_classes)
        refuse_other_training(path, state, self.settings, here)
        self.learner.restore(state)
        self.epoch = state["epoch"]
        if "images_done" in state:
            self.batches_done = state["images_done"] // self.settings.batch_size
        else:
            # Written before batches could change their size.
            self.batches_done = state["batches_done"]
        self.best, self.history, self.seconds = state["best"], state["history"], state["seconds"]
