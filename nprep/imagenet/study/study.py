"""The search: sample and train, predict, train the best, deploy. All state is in one folder."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import RunFolderError, SettingsError
from nprep.imagenet.files import write_atomically
from nprep.imagenet.networks.latency import Limits
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.study.engines import Engine, LocalEngine, Outcome, Task
from nprep.imagenet.study.ledger import Ledger, Training
from nprep.imagenet.study.ranking import Ranker, fit_ranker, save_ranker
from nprep.imagenet.study.strategies import METHODS, Plan, ask, best_of

FULL, PROXY = "full", "proxy"


@dataclass(frozen=True)
class StudySettings:
    """What decides a study.

    Attributes:
        methods: The methods, run one after another; they share trainings.
        train_samples: N.
        top_k: K.
        candidates: Random networks that the predictor ranks.
        seed: Of everything that the study draws.
        proxy: Settings of the N trainings.
        full: Settings of the K trainings; equal to ``proxy`` where both train alike.
        population: Of regularized evolution.
        tournament: Of regularized evolution.
        parallel: Children of regularized evolution at a time.
        threads: Threads of the predictor.
    """

    methods: tuple[str, ...]
    train_samples: int
    top_k: int
    candidates: int
    seed: int
    proxy: TrainSettings
    full: TrainSettings
    population: int = 16
    tournament: int = 5
    parallel: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuses numbers that make no study."""
        unknown = set(self.methods) - set(METHODS)
        if unknown or not self.methods:
            raise SettingsError(
                f"methods {', '.join(self.methods) or 'none'}: use some of {', '.join(METHODS)}"
            )
        for name in ("train_samples", "top_k", "candidates", "population", "tournament"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if "predictor" in self.methods and self.train_samples < 2:
            raise SettingsError("train_samples is 1: a predictor needs at least 2 trained networks")
        if self.candidates < self.top_k:
            raise SettingsError(
                f"candidates is {self.candidates}, fewer than top_k {self.top_k}: use more"
            )

    def identity(self) -> dict[str, Any]:
        """What a resumed study must have in common with the one before."""
        values = asdict(self)
        for name in ("methods", "threads", "parallel"):
            values.pop(name)
        for stage in (PROXY, FULL):
            for name in ("data", "device", "workers", "quiet", "checkpoint_minutes", "log_seconds"):
                values[stage].pop(name)
        return values


class Study:
    """A study folder that is open for writing."""

    def __init__(
        self, folder: Path, settings: StudySettings, limits: Limits, engine: Engine, resume: bool
    ) -> None:
        """Opens the study and makes sure that it is the same one as before.

        Args:
            folder: The study folder.
            settings: The study.
            limits: Space and limits.
            engine: Runs the trainings.
            resume: Whether to resume a study that is there.

        Raises:
            RunFolderError: If the folder is in use, holds a study that is not to be resumed, or
                one with other settings.
        """
        self.folder, self.settings, self.limits, self.engine = folder, settings, limits, engine
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"study folder {folder} cannot be made ({error.strerror}): choose another"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise RunFolderError(
                f"study folder {folder} is in use by another search: wait for it"
            ) from error
        try:
            self.ledger = Ledger(folder / "ledger.sqlite")
            try:
                self._check_identity(resume)
            except RunFolderError:
                self.ledger.close()
                raise
        except RunFolderError:
            os.close(self._lock)
            raise
        self.plan = Plan(
            limits,
            settings.train_samples,
            settings.top_k,
            settings.seed,
            settings.proxy != settings.full,
            settings.population,
            settings.tournament,
            self._first_parallel(),
        )

    def _first_parallel(self) -> int:
        """Children at a time, as the study was begun: a resumed one may have other machines."""
        begun: int | None = self.ledger.noted("parallel")
        if begun is None:
            begun = self.settings.parallel
            self.ledger.note("parallel", begun)
        return begun

    def _check_identity(self, resume: bool) -> None:
        mine = {
            **self.settings.identity(),
            "space": repr(self.limits.space),
            "limits": [
                [x.cost.name, x.low, str(x.high), x.cost.digest()] for x in self.limits.limits
            ],
        }
        theirs = self.ledger.noted("identity")
        if theirs is None:
            self.ledger.note("identity", mine)
            return
        if not resume:
            raise RunFolderError(
                f"study folder {self.folder} holds a study: continue it with --resume or choose "
                "another"
            )
        changed = [name for name in mine if mine[name] != theirs.get(name)]
        if changed:
            name = changed[0]
            raise RunFolderError(
                f"study {self.folder} was begun with {name} {_short(theirs.get(name), mine[name])} "
                f"and is resumed with {_short(mine[name], theirs.get(name))}: use the same, or "
                "another folder"
            )

    def close(self) -> None:
        """Ends the workers and lets others in."""
        self.engine.close()
        self.ledger.close()
        os.close(self._lock)

    def run(self) -> None:
        """Runs all methods to their end.

        Raises:
            NprepError: If a training fails for a reason that the others share.
        """
        for method in self.settings.methods:
            while True:
                self._train_unfinished()
                proposals = self.ledger.proposals(method)
                asked = ask(method, self.plan, proposals, self._choose_top)
                if asked is None:
                    break
                top = asked.phase == "top" and self.plan.separate
                stage = FULL if top or not self.plan.separate else PROXY
                self.ledger.propose(method, asked.phase, stage, asked.encodings, asked.predicted)
            best = best_of(self.plan, self.ledger.proposals(method))
            if best is not None:
                _say(f"{method}: best {best.training.encoding}, {_percent(best.training)}")

    def settings_of(self, training: Training) -> TrainSettings:
        """The settings of one training of the study."""
        base = self.settings.full if training.stage == FULL else self.settings.proxy
        return replace(base, arch=training.encoding, quiet=True)

    def folder_of(self, training: Training) -> Path:
        """The run folder of one training."""
        return self.folder / "trainings" / f"{training.number:04d}-{training.stage}"

    def _train_unfinished(self) -> None:
        trainings = self.ledger.unfinished()
        if not trainings:
            return
        by_number = {training.number: training for training in trainings}
        tasks = [Task(t.number, self.settings_of(t), self.folder_of(t)) for t in trainings]
        begun = time.monotonic()
        count = 0

        def started(task: Task) -> None:
            self.ledger.start(task.number)

        def ended(task: Task, outcome: Outcome) -> None:
            nonlocal count
            count += 1
            if outcome.result is not None:
                self.ledger.finish(task.number, outcome.result)
                accuracy = f"top-1 {100 * outcome.result['val_top1']:.2f} %"
            elif outcome.hopeless:
                raise RunFolderError(
                    f"{outcome.error} (the same command with --resume continues the study)"
                )
            else:
                self.ledger.fail(task.number, outcome.error)
                accuracy = f"failed: {outcome.error}"
            left = (time.monotonic() - begun) / count * (len(tasks) - count)
            _say(
                f"training {task.number} ({by_number[task.number].stage}) "
                f"{by_number[task.number].encoding} {accuracy}; {count} of {len(tasks)}, about "
                f"{left:.0f} s left"
            )

        self.engine.run(tasks, started, ended)

    def _choose_top(
        self, encodings: NDArray[np.uint8], accuracies: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], list[float]]:
        settings = self.settings
        seed = np.random.SeedSequence(settings.seed, spawn_key=(3,))
        _say(f"fitting the predictor to {len(encodings)} trained networks")
        ranker = fit_ranker(encodings, accuracies, seed, threads=settings.threads)
        _say(f"cross-validated Kendall tau {ranker.choices[0].tau:.3f}")
        taken = set() if self.plan.separate else set(map(self.limits.space.format, encodings))
        pool = self.limits.sample(self.plan.rng(4), settings.candidates, taken)
        predicted = ranker.predict(pool, settings.threads)
        self._keep_predictions(ranker, pool, predicted)
        best = np.argsort(-predicted, kind="stable")[: settings.top_k]
        return pool[best], [float(value) for value in predicted[best]]

    def _keep_predictions(
        self, ranker: Ranker, pool: NDArray[np.uint8], predicted: NDArray[np.float32]
    ) -> None:
        def write(file: Any) -> None:
            np.savez_compressed(file, encodings=pool, predicted=predicted)

        write_atomically(self.folder / "predictions.npz", write)
        save_ranker(self.folder / "predictor.npz", ranker)
        tried = [
            {"tau": c.tau, "layers": c.settings.layers, "width": c.settings.width,
             "learning_rate": c.settings.learning_rate, "epochs": c.settings.epochs}
            for c in ranker.choices
        ]  # fmt: skip
        self.ledger.note("predictor", tried)


def make_engine(
    name: str, jobs: int, device: str, address: str, gpus: float, cpus: float
) -> Engine:
    """The engine of a name.

    Args:
        name: "local" or "ray".
        jobs: Trainings at a time (local); 0: one a GPU, or one on the CPU.
        device: "auto", "cpu" or "cuda".
        address: Of the Ray cluster.
        gpus: GPUs of one training on Ray.
        cpus: CPUs of one training on Ray.

    Raises:
        SettingsError: If the name is unknown.
    """
    if name == "ray":
        from nprep.imagenet.study.ray_engine import RayEngine

        return RayEngine(address, gpus, cpus)
    if name != "local":
        raise SettingsError(f"engine {name!r} is unknown: use local or ray")
    if device != "cpu":
        # Only then: the search itself has no other use for torch until it exports.
        from nprep.imagenet._imports import need

        cuda = need("torch", "train networks").cuda
        if cuda.is_available():
            count = cuda.device_count()
            return LocalEngine([f"cuda:{number % count}" for number in range(jobs or count)])
    return LocalEngine(["cpu"] * (jobs or 1))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _percent(training: Training) -> str:
    assert training.result is not None
    text = f"validation top-1 {100 * training.result['val_top1']:.2f} %"
    test = training.result.get("test_top1")
    return text if test is None else f"{text}, test top-1 {100 * test:.2f} %"


def _short(value: Any, other: Any) -> str:
    """A setting for a message; of a group of settings, only what differs."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {name: v for name, v in value.items() if other.get(name) != v}
    return str(value)
