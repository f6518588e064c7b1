"""The search: a method asks, networks are trained, a ledger remembers. All state is in one folder.

A resumed study runs its methods again from the start. They draw the same networks from the same
seeds, the ledger answers what was trained before, and so they arrive where they were.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nprep._console import duration
from nprep._files import LockHeldError, locked, reason, write_file
from nprep.errors import RunFolderError
from nprep.imagenet.networks.architectures import arch_of
from nprep.imagenet.settings import TrainSettings, default_identity
from nprep.imagenet.study.engines import Engine, Outcome, Task
from nprep.imagenet.study.evaluator import Answer, StudyEvaluator
from nprep.imagenet.study.ledger import Ledger, Training
from nprep.imagenet.study.limits import Limits
from nprep.imagenet.study.pool import StudyPool, make_pool
from nprep.imagenet.study.settings import FULL, PROXY, StudySettings, best_of
from nprep.search.evaluator import Evaluator
from nprep.search.method import Method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Predictions

# Of the study's folder; another number is another kind of ledger.
FORMAT = 2
# Nothing is trained twice, so asking again is free.
PROTOCOL = ReplayProtocol("study", duplicates="free")
_log = logging.getLogger("nprep.imagenet")


class Study:
    """A study folder that is open for writing."""

    def __init__(
        self,
        folder: Path,
        settings: StudySettings,
        limits: Limits,
        engine: Engine,
        resume: bool,
        data: Sequence[int] = (),
    ) -> None:
        """Opens the study and makes sure that it is the same one as before.

        Everything that can be wrong with it is found here, before the first training.

        Args:
            folder: The study folder.
            settings: The study.
            limits: Space and limits.
            engine: Runs the trainings.
            resume: Whether to resume a study that is there.
            data: Numbers that tell data sets apart: images to train on and to validate on, classes.

        Raises:
            SettingsError: If a method is unknown, or the limits leave too few networks.
            RunFolderError: If the folder is in use, holds a study that is not to be resumed, or
                one with other settings.
        """
        self.folder, self.settings, self.limits, self.engine = folder, settings, limits, engine
        self._data = [int(number) for number in data]
        self._asked: dict[str, int] = {}
        self.methods = settings.made_methods(limits.space.name)
        self._pool(1).check(settings.train_samples + settings.top_k)
        with contextlib.ExitStack() as opened:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                opened.enter_context(locked(folder / ".lock"))
            except LockHeldError as error:
                raise RunFolderError(
                    f"study folder {folder} is in use by another search: wait for it."
                ) from error
            except OSError as error:
                raise RunFolderError(
                    f"study folder {folder} cannot be written ({reason(error)}): choose another."
                ) from error
            self.ledger = Ledger(folder / "ledger.sqlite")
            opened.callback(self.ledger.close)
            self._check_identity(resume)
            self._opened = opened.pop_all()
        self._parallel = self._first_parallel()

    def _pool(self, parallel: int, method: str = "") -> StudyPool:
        settings = self.settings

        def evaluator(pool: StudyPool, samples: int, protocol: ReplayProtocol) -> Evaluator:
            return StudyEvaluator(pool, MethodTrainer(self, method), samples)

        pool = make_pool(
            self.limits, settings.candidates, settings.full.epochs, parallel, settings.threads
        )
        pool.make_evaluator = evaluator
        return pool

    def _first_parallel(self) -> int:
        """Children at a time, as the study was begun: a resumed one may have other machines."""
        begun: int | None = self.ledger.noted("parallel")
        if begun is None:
            begun = self.settings.parallel
            self.ledger.note("parallel", begun)
        return begun

    def _check_identity(self, resume: bool) -> None:
        mine = {
            "format": FORMAT,
            **self.settings.identity(),
            "space": self.limits.space.name,
            "limits": [limit.identity() for limit in self.limits.limits],
            "images and classes": self._data,
        }
        # As the file gives it back.
        mine = json.loads(json.dumps(mine))
        theirs = self.ledger.noted("identity")
        if theirs is None:
            self.ledger.note("identity", mine)
            return
        if not resume:
            raise RunFolderError(
                f"study folder {self.folder} holds a study: resume it with --resume or choose "
                "another."
            )
        for stage in (PROXY, FULL):
            # Begun by a version with fewer settings.
            theirs[stage] = {**default_identity(), **theirs.get(stage, {})}
            mine[stage] = {**default_identity(), **mine[stage]}
        changed = [name for name in mine if mine[name] != theirs.get(name)]
        if changed:
            name = changed[0]
            raise RunFolderError(
                f"study {self.folder} was begun with {name} {_short(theirs.get(name), mine[name])} "
                f"and is resumed with {_short(mine[name], theirs.get(name))}: use the same, or "
                "another folder."
            )

    def close(self) -> None:
        """Ends the workers and lets others in."""
        self.engine.close()
        self._opened.close()

    def run(self) -> None:
        """Runs all methods to their end.

        Raises:
            NprepError: If a training fails for a reason that the others share, or all fail.
        """
        for name, method in self.methods.items():
            self._run_method(name, method)
            best = best_of(self.settings, self.ledger.queries(name))
            if best is not None:
                _log.info("%s: best %s, %s", name, best.training.encoding, _percent(best.training))

    def _run_method(self, name: str, method: Method) -> None:
        settings = self.settings
        samples = settings.train_samples + settings.top_k
        promotes = settings.separate and method.kind != "predictor"
        if promotes:
            # Proxy trainings alone; the best K of them are trained in full afterwards.
            samples = settings.train_samples
        self._asked[name] = 0
        pool = self._pool(self._parallel, name)
        made: list[StudyEvaluator] = []
        make = pool.make_evaluator
        assert make is not None

        def remembered(pool: StudyPool, samples: int, protocol: ReplayProtocol) -> Evaluator:
            evaluator = make(pool, samples, protocol)
            assert isinstance(evaluator, StudyEvaluator)
            made.append(evaluator)
            return evaluator

        pool.make_evaluator = remembered
        method.run_block(pool, [trial_seed(settings.seed, name, 0)], samples, PROTOCOL)
        for evaluator in made:
            if evaluator.predictions is not None:
                self._keep(name, pool, evaluator.predictions)
            if settings.separate and not evaluator.said_final:
                evaluator.promote(settings.top_k)
        self._refuse_all_failed(name)

    def _refuse_all_failed(self, method: str) -> None:
        queries = self.ledger.queries(method)
        if queries and all(q.training.accuracy is None for q in queries):
            raise RunFolderError(
                f"all trainings of method {method} failed; the first said: "
                f"{queries[0].training.error} Mend that and start a new study."
            )

    def settings_of(self, training: Training) -> TrainSettings:
        """The settings of one training of the study."""
        base = self.settings.full if training.stage == FULL else self.settings.proxy
        return replace(base, arch=training.encoding, quiet=True)

    def folder_of(self, training: Training) -> Path:
        """The run folder of one training.

        Its name says what is trained there: a study that lost its ledger finds its trainings again,
        and never takes those of another study for its own.
        """
        text = json.dumps([self.settings_of(training).digest(), self._data])
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return self.folder / "trainings" / f"{training.stage}-{digest}"

    def train(self, method: str, encodings: Sequence[str], phase: str, stage: str) -> list[Answer]:
        """Trains what a method asks for, unless the ledger knows what came of it."""
        start = self._asked[method]
        trainings = self.ledger.ask(method, start, phase, stage, encodings)
        self._asked[method] = start + len(encodings)
        self._train_unfinished([t for t in trainings if t.status in ("pending", "running")])
        known = {(t.stage, t.encoding): t for t in self.ledger.trainings()}
        found = [known[stage, encoding] for encoding in encodings]
        return [
            Answer(t.accuracy, 0.0 if t.result is None else float(t.result["train_seconds"]))
            for t in found
        ]

    def _train_unfinished(self, trainings: list[Training]) -> None:
        if not trainings:
            return
        by_number = {training.number: training for training in trainings}
        tasks = [Task(t.number, self.settings_of(t), self.folder_of(t)) for t in by_number.values()]
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
                    f"{outcome.error} Resume the study with the same command and --resume."
                )
            else:
                self.ledger.fail(task.number, outcome.error)
                accuracy = f"failed: {outcome.error}"
            left = (time.monotonic() - begun) / count * (len(tasks) - count)
            training = by_number[task.number]
            _log.info(
                "training %d (%s) %s %s; %d of %d, about %s left", task.number, training.stage,
                training.encoding, accuracy, count, len(tasks), duration(left),
            )  # fmt: skip

        self.engine.run(tasks, started, ended)

    def _keep(self, method: str, pool: StudyPool, said: Predictions) -> None:
        """Keeps what a method's predictor says, for the report."""
        positions, scores = said.positions, said.scores
        if positions is None:
            positions = np.arange(len(pool), dtype=np.int32)
        batch = pool.take(positions)

        def write(file: Any) -> None:
            codes = pool.space.to_codes(batch)
            np.savez_compressed(file, codes=codes, predicted=scores, unit=said.unit)

        write_file(self.folder / "predictions" / f"{file_name(method)}.npz", write)
        # Those that were trained may have a classifier before the regressor: more than K.
        best = np.argsort(-scores, kind="stable")[: 100 * self.settings.top_k]
        texts = arch_of(pool.space, batch.take(best))
        self.ledger.predict(method, texts, [float(value) for value in scores[best]])
        tuning = said.tuning
        if tuning is None:
            return
        tried = [
            {"tau": c.tau, "layers": c.settings.layers, "width": c.settings.width,
             "learning_rate": c.settings.learning_rate, "epochs": c.settings.epochs}
            for c in tuning.choices
        ]  # fmt: skip
        self.ledger.note(f"predictor {method}", {"tau": tuning.tau, "tried": tried})
        known = "unknown (too few networks)" if tuning.tau is None else f"{tuning.tau:.3f}"
        _log.info("%s: Kendall tau of its predictor by nested cross-validation %s", method, known)


class MethodTrainer:
    """Trains for one method of a study (see ``nprep.imagenet.study.evaluator.NetworkTrainer``)."""

    def __init__(self, study: Study, method: str) -> None:
        """Takes the study and the name of the method."""
        self._study, self._method = study, method
        self.separate = study.settings.separate

    def answer(self, batch: Any, final: bool, promoted: bool = False) -> list[Answer]:
        """Trains networks, side by side as far as there is room."""
        phase = "promoted" if promoted else "final" if final and self.separate else "search"
        stage = FULL if final or not self.separate else PROXY
        texts = arch_of(self._study.limits.space, batch)
        return self._study.train(self._method, texts, phase, stage)


def file_name(method: str) -> str:
    """The name of a method as part of a file's name."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in method)


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
