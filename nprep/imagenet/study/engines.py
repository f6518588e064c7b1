"""The trainings of a study as tasks for worker processes, of this machine or of a Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nprep._optional import need
from nprep._workers import LocalWorkers, RayCluster, Workers
from nprep.errors import NprepError, SettingsError
from nprep.imagenet.settings import TrainSettings, with_fields

# Seconds to wait for a run folder: what worked there for a search that was killed, or on a node
# that left, ends by itself, on a busy machine not at once.
PATIENCE = 120.0


@dataclass(frozen=True)
class Task:
    """A training to run.

    Attributes:
        number: Its number in the ledger.
        settings: The training.
        folder: Its run folder; a training that is there is resumed.
    """

    number: int
    settings: TrainSettings
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        result: What it gave; None if it failed.
        error: Why it failed.
        hopeless: Whether the reason (data, settings, disk) would fail the others too.
    """

    result: dict[str, Any] | None
    error: str = ""
    hopeless: bool = False


class Engine(Protocol):
    """Something that runs trainings."""

    @property
    def parallel(self) -> int:
        """The number of trainings that run at a time."""

    def run(
        self,
        tasks: Sequence[Task],
        started: Callable[[Task], None],
        ended: Callable[[Task, Outcome], None],
    ) -> None:
        """Runs all tasks, in any order.

        Args:
            tasks: The trainings.
            started: Called, in this thread, when a training is handed out (again, after a death).
            ended: Called, in this thread, when it is done or failed for good; may raise, which
                ends the run.
        """

    def close(self) -> None:
        """Ends everything that the engine started."""


def execute(task: Task) -> Outcome:
    """Runs a training in this process and turns its errors into an outcome.

    A network that does not fit in memory is trained with half the batch and twice the passes a
    step, and again, as long as the batch can be halved; then it has failed, and it alone.
    """
    from nprep.imagenet.training.folder import StoppedError
    from nprep.imagenet.training.learner import DivergedError
    from nprep.imagenet.training.run import OutOfMemoryError, run_training

    settings = task.settings
    try:
        while True:
            try:
                return Outcome(
                    run_training(
                        settings,
                        task.folder,
                        resume=True,
                        # A signal to end lets it write a checkpoint first.
                        listen=True,
                        patience=PATIENCE,
                        alone=True,
                    )
                )
            except (OutOfMemoryError, MemoryError):
                batch, odd = divmod(settings.batch_size, 2)
                # Batch norm needs two images of a forward pass.
                if odd or batch < 2:
                    raise
                settings = with_fields(
                    settings, batch_size=batch, accumulate=2 * settings.accumulate
                )
            # Out of the handler, which keeps the failed step's tensors alive.
            _free_memory()
    except StoppedError:
        raise
    except (DivergedError, OutOfMemoryError) as error:
        return Outcome(None, str(error))
    except NprepError as error:
        return Outcome(None, str(error), hopeless=True)
    except MemoryError:
        return Outcome(None, f"training {task.folder} ran out of memory.")
    except RuntimeError as error:
        # torch's own: an operation that the device lacks.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return Outcome(None, f"training {task.folder} failed in torch: {first}.", hopeless=True)


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def on_device(place: str | float) -> Callable[[Task], Outcome]:
    """Makes what a worker process runs.

    Args:
        place: The name of its device; on a Ray cluster, the number of GPUs of a task, of which it
            sees no others.
    """
    device = place if isinstance(place, str) else ("cuda:0" if place else "cpu")

    def run(task: Task) -> Outcome:
        settings = with_fields(task.settings, device=device)
        return execute(Task(task.number, settings, task.folder))

    return run


class WorkerEngine:
    """Trainings in worker processes."""

    def __init__(self, workers: Workers, notice: Callable[[str], object]) -> None:
        """Takes the processes.

        Args:
            workers: Of this machine or a cluster.
            notice: Is told, in a sentence, what a user may want to know.
        """
        self._workers, self._notice = workers, notice

    @property
    def parallel(self) -> int:
        """See ``Engine``."""
        return max(1, self._workers.places)

    def run(
        self,
        tasks: Sequence[Task],
        started: Callable[[Task], None],
        ended: Callable[[Task, Outcome], None],
    ) -> None:
        """See ``Engine``; a training whose process dies is resumed a few times."""
        waiting = deque(tasks)
        deaths: dict[int, int] = {}
        for one in self._workers.run(
            on_device,
            waiting,
            name=lambda task: f"training {task.folder}",
            started=started,
            notice=self._notice,
        ):
            if one.answer is not None:
                ended(one.task, one.answer)
                continue
            deaths[one.task.number] = deaths.get(one.task.number, 0) + 1
            if deaths[one.task.number] <= self._workers.retries:
                waiting.appendleft(one.task)
            else:
                text = (
                    f"the process of training {one.task.folder} died "
                    f"{deaths[one.task.number]} times ({one.died}): {self._workers.advice}."
                )
                ended(one.task, Outcome(None, text))

    def close(self) -> None:
        """Ends the processes; what they were at can be resumed."""
        self._workers.close()


def make_engine(
    address: str | None,
    jobs: int,
    device: str,
    gpus: float,
    cpus: float,
    notice: Callable[[str], object],
) -> Engine:
    """The engine for a place.

    Args:
        address: Of a Ray cluster; None: this machine.
        jobs: Trainings at a time on this machine; 0: one a GPU, or one on the CPU.
        device: "auto", "cpu" or "cuda".
        gpus: GPUs of one training on a cluster.
        cpus: CPUs of one training on a cluster.
        notice: See ``WorkerEngine``.

    Raises:
        SettingsError: If jobs are negative or no cluster answers.
    """
    if jobs < 0:
        raise SettingsError(f"jobs is {jobs}: it must be at least 0.")
    if address is not None:
        cluster = RayCluster(address, cpus=cpus, gpus=gpus, may_grow=True)
        return WorkerEngine(cluster, notice)
    devices = ["cpu"] * (jobs or 1)
    if device != "cpu":
        # Only then: the search itself has no other use for torch until it exports.
        cuda = need("torch", "train networks", extra="imagenet").cuda
        if cuda.is_available():
            count = cuda.device_count()
            devices = [f"cuda:{number % count}" for number in range(jobs or count)]
        elif device != "auto":
            raise SettingsError(f"device {device} was asked for and there is no GPU: use cpu.")
    # Trainings start loader processes, which daemons may not.
    return WorkerEngine(LocalWorkers(devices, daemon=False), notice)
