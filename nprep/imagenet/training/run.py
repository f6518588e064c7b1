"""One training from settings to result, for the command line and for studies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nprep.errors import NprepError, SettingsError
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training.folder import RunFolder


def run_training(
    settings: TrainSettings,
    output: Path,
    resume: bool = False,
    listen: bool = False,
    patience: float = 0.0,
) -> dict[str, Any]:
    """Trains a network, or goes on with its training, or finds that it is done.

    Args:
        settings: The training.
        output: Its folder.
        resume: Whether to go on with a run that is there.
        listen: Whether signals stop it after the current step (main thread only).
        patience: Seconds to wait for another process that holds the folder.

    Returns:
        The result (see :meth:`nprep.imagenet.training.loop.Trainer.fit`).

    Raises:
        NprepError: If something is wrong with the settings, the data, the folder or the training.
    """
    # Here, not above: the command line parses and refuses without loading torch.
    from nprep.imagenet._imports import need

    need("torch", "train networks")
    need("torchvision", "train networks")
    if settings.tensorboard:
        # Now, not after the first epoch.
        need("torch.utils.tensorboard", "write TensorBoard events", "tensorboard")
    import torch.distributed as dist

    from nprep.imagenet.training import processes
    from nprep.imagenet.training.loop import Trainer

    folder = RunFolder(output)
    who = processes.join(settings.device)
    try:
        if who.first:
            folder.lock(patience)
        if resume:
            done = folder.result()
            if done is not None:
                return done
        there = folder.begin(settings, resume) if who.first else False
        there = bool(who.gather(there)[0])
        if listen and who.count == 1:
            folder.listen()
        trainer = Trainer(settings, folder, who)
        if there:
            trainer.resume(folder.last)
        if who.first:
            folder.note_start(trainer.step, who.count)
        return trainer.fit()
    except (RuntimeError, ValueError) as error:
        told = _told(error)
        if told is None:
            raise
        raise told from error
    finally:
        folder.stop_listening()
        folder.unlock()
        if dist.is_initialized() and os.environ.get("WORLD_SIZE", "1") != "1":
            dist.destroy_process_group()


def _told(error: Exception) -> NprepError | None:
    """What a user can mend among torch's own errors, as a sentence; None for all others."""
    text = str(error)
    if "out of memory" in text or "can't allocate memory" in text:
        return SettingsError(
            f"a training step does not fit in memory ({text.splitlines()[0][:120]}): use a smaller "
            "--batch-size with a larger --accumulate, a smaller --image-size, or --amp bf16"
        )
    if "DataLoader worker" in text:
        return NprepError(
            f"a process that loads images died ({text.splitlines()[0][:120]}): give this machine "
            "more (shared) memory or use fewer --workers, then resume the run"
        )
    if any(word in text for word in ("closed by peer", "gloo", "NCCL")):
        return NprepError(
            "another process of this training ended: mend what it said, then resume the run"
        )
    if "more than 1 value per channel" in text:
        return SettingsError(
            "batch_size is 1, and batch norm on maps of one pixel needs at least 2 images: use a "
            "larger --batch-size"
        )
    return None
