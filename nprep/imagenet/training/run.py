"""One training from settings to result, for the command line and for studies."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nprep.errors import NprepError, SettingsError
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training.folder import RunFolder
from nprep.imagenet.training.trackers import Tracker, make_trackers


def run_training(
    settings: TrainSettings,
    output: Path,
    resume: bool = False,
    listen: bool = False,
    patience: float = 0.0,
    alone: bool = False,
) -> dict[str, Any]:
    """Trains a network, or resumes its training, or finds that it is done.

    Args:
        settings: The training.
        output: Its folder.
        resume: Whether to resume a run that is there.
        listen: Whether signals stop it after the current step (main thread only).
        patience: Seconds to wait for another process that holds the folder.
        alone: Whether this process trains by itself, whatever torchrun's variables say.

    Returns:
        The result (see ``nprep.imagenet.training.loop.Trainer.fit``).

    Raises:
        NprepError: If something is wrong with the settings, the data, the folder or the training.
    """
    # Here, not above: the command line parses and refuses without loading torch.
    from nprep._optional import need

    torch = need("torch", "train networks", extra="imagenet")
    need("torchvision", "train networks", extra="imagenet")
    import torch.distributed as dist

    from nprep.imagenet.training import processes
    from nprep.imagenet.training.loop import Trainer

    trackers: list[Tracker] = []
    folder: RunFolder | None = None
    who = processes.join(settings.device, alone)
    try:
        processes.refuse_precision(settings.amp, who.device)
        if who.device.type == "cuda":
            torch.backends.cudnn.benchmark = settings.cudnn_benchmark
        folder = RunFolder(output)
        if who.first:
            folder.lock(patience)
        if resume:
            done = folder.result()
            if done is not None:
                folder.refuse_other_result(done, settings)
                return done
        there = folder.begin(resume) if who.first else False
        there = bool(who.gather(there)[0])
        if listen:
            folder.listen()
        # Now, not after the first epoch.
        names = ",".join(["tensorboard"] * settings.tensorboard + [settings.track])
        if who.first:
            trackers += make_trackers(names, output, asdict(settings))
        trainer = Trainer(settings, folder, who, fresh=not there, trackers=trackers)
        if there:
            trainer.resume()
        if who.first:
            folder.write_settings(settings)
            folder.note_start(trainer.step, who.count)
        return trainer.fit()
    except (RuntimeError, ValueError) as error:
        told = None if isinstance(error, NprepError) else _told(error)
        if told is None:
            raise
        raise told from error
    finally:
        for tracker in trackers:
            tracker.close()
        if folder is not None:
            folder.stop_listening()
            folder.unlock()
        if who.count > 1 and dist.is_initialized():
            dist.destroy_process_group()


class OutOfMemoryError(SettingsError):
    """A training step that does not fit in memory; a smaller batch may."""


# What gloo and NCCL say when the other end is gone.
_LOST_PROCESS = (
    "closed by peer",
    "reset by peer",
    "Connection refused",
    "Broken pipe",
    "Timed out waiting",
    "remote process exited",
    "ncclRemoteError",
)


def _told(error: Exception) -> NprepError | None:
    """What a user can mend among torch's own errors, as a sentence; None for all others."""
    text = str(error)
    if "out of memory" in text or "cannot allocate memory" in text:
        return OutOfMemoryError(
            f"a training step does not fit in memory ({text.splitlines()[0][:120]}): use a smaller "
            "--batch-size with a larger --accumulate, a smaller --image-size, or --amp bf16."
        )
    if "DataLoader worker" in text:
        return NprepError(
            f"a process that loads images died ({text.splitlines()[0][:120]}): give this machine "
            "more (shared) memory or use fewer --workers, then resume the run."
        )
    first = text.splitlines()[0][:160] if text else ""
    if any(word in text for word in _LOST_PROCESS):
        return NprepError(
            f"another process of this training ended or stopped answering ({first}): see what it "
            "printed, then resume the run."
        )
    if "gloo" in text or "NCCL" in text or "nccl" in text:
        return NprepError(
            f"the processes of this training cannot exchange tensors ({first}): check the network "
            "between them (NCCL_DEBUG=INFO prints more, NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME "
            "names the interface), then resume the run."
        )
    if "DataLoader timed out" in text:
        return NprepError(
            f"the images of one batch were not loaded in time ({first}): check the disk or network "
            "that they are on and the room in /dev/shm, or raise --loader-timeout, then resume."
        )
    if "more than 1 value per channel" in text:
        return SettingsError(
            "batch_size is 1, and batch norm on maps of one pixel needs at least 2 images: use a "
            "larger --batch-size."
        )
    return None
