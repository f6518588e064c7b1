"""The neural predictor in rounds: train, predict, query, half of the best and half at random.

Dudziak, Chau, Abdelfattah, Lee, Kim, Lane: "BRP-NAS: Prediction-based NAS using GCNs", NeurIPS
2020. As in the authors' program: the N training cells come in 5 rounds of equal size; the first is
random; in round i + 1 half (alpha 0.5) are the best predicted cells and half are drawn at random
from the best predicted 2^-i of the space; the predictor is trained from all cells so far, for
epochs that grow with the rounds. Published: 94.22 % test accuracy at about 140 trained cells, a
number that circulates without its protocol. The paper's predictor learns which of two cells is
better; here the GCN of this package learns the same from the pairs of a batch, by a logistic
ranking loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.predictor.backends.base import TrainingTask
from nprep.predictor.backends.make import make_backend
from nprep.predictor.settings import GcnSettings
from nprep.search.evaluator import evaluator_of
from nprep.search.method import Preset
from nprep.search.pool import Pool
from nprep.search.predicting import backend_of, candidates_of, members_of, train_sample
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Trace


@dataclass(frozen=True)
class IterativePredictor(Preset):
    """Rounds of training and choosing, then the K best of the last predictor.

    Attributes:
        name: Name of the method.
        train_samples: Number N of cells that the rounds train.
        rounds: Number of rounds.
        top_share: Share alpha of each round's cells, the first round apart, that are the best
            predicted; the others are random cells among the good ones.
        predictor: Architecture and training of the predictor.
        backend: What trains and asks it (see ``nprep.predictor.backends.base``).
    """

    name: str = "np-iterative"
    train_samples: int = 172
    kind = "predictor"
    rounds: int = 5
    top_share: float = 0.5
    predictor: GcnSettings = field(default_factory=lambda: GcnSettings(loss="ranking", width=48))
    backend: str = "auto"

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        if self.train_samples < 2:
            raise SettingsError(
                f"{self.name} would train on {self.train_samples} cells: give it at least 2."
            )
        if self.rounds < 1:
            raise SettingsError(f"rounds is {self.rounds}: use at least 1.")
        if not 0 <= self.top_share <= 1:
            raise SettingsError(f"top_share is {self.top_share}: use a share from 0 to 1.")

    def settings(self) -> dict[str, object]:
        """The fields; the backend as it is found here."""
        return {**super().settings(), "backend": make_backend(self.backend).describe()}

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        backend = backend_of(pool, self.backend)
        trials = [_Trial(self, pool, seed, samples, protocol) for seed in seeds]
        # Trials with candidates of their own go one by one.
        groups = [trials] if pool.closed else [[trial] for trial in trials]
        for group in groups:
            running = [trial for trial in group if trial.running]
            while running:
                networks = backend.train([trial.task() for trial in running])
                answers = running[0].candidates.scores(backend, networks)
                for trial, scores in zip(running, answers, strict=True):
                    trial.choose(scores)
                running = [trial for trial in running if trial.running]
        return [trial.evaluator.trace() for trial in trials]


class _Trial:
    """One trial, between the steps that its block does together."""

    def __init__(
        self,
        method: IterativePredictor,
        pool: Pool,
        seed: np.random.SeedSequence,
        samples: int,
        protocol: ReplayProtocol,
    ) -> None:
        """Draws the first round and has it trained."""
        sample_seed, choice_seed, self._networks = stream(seed, SEARCH_STREAM).spawn(3)
        self._method = method
        self._pool = pool
        self._rng = np.random.default_rng(choice_seed)
        # A round of fewer than two cells would teach nothing.
        self._rounds = max(1, min(method.rounds, method.train_samples // 2))
        cells = np.array_split(np.arange(method.train_samples), self._rounds)
        self._sizes = [len(part) for part in cells]
        self._round = 1
        self.evaluator = evaluator_of(pool, seed, samples, protocol)
        self._known, self._labels = train_sample(
            pool, self.evaluator, self._sizes[0], protocol.sampling, sample_seed
        )
        self.candidates = candidates_of(pool, seed)

    @property
    def running(self) -> bool:
        """Whether another round comes."""
        return (
            self._round <= self._rounds
            and not self.evaluator.done
            and len(self._known) < len(self.candidates)
        )

    def task(self) -> TrainingTask:
        """What the predictor of this round learns."""
        settings = self._method.predictor.for_samples(len(self._known))
        epochs = max(1, settings.epochs * self._round // self._rounds)
        cells = members_of(self._pool, self._known)
        seed = self._networks.spawn(1)[0]
        return TrainingTask(cells, self._labels, replace(settings, epochs=epochs), seed)

    def choose(self, scores: NDArray[np.float32]) -> None:
        """Has the cells of the next round trained, or in the end the best ones."""
        if self._round == self._rounds:
            best = self.candidates.best_new(scores, self._known, self.evaluator.left)
            self.evaluator.query(best, final=True)
        else:
            size = self._sizes[self._round]
            wanted = round(self._method.top_share * size)
            top = self.candidates.best_new(scores, self._known, wanted)
            held = self.candidates.places(np.concatenate([self._known, top]))
            rest = random_good(scores, held, size - len(top), 0.5**self._round, self._rng)
            chosen = np.concatenate([top, self.candidates.positions[rest]])
            answers = self.evaluator.query(chosen)
            self._known = np.concatenate([self._known, chosen[: len(answers)]])
            self._labels = np.concatenate([self._labels, answers])
        self._round += 1


def random_good(
    scores: NDArray[np.float32],
    known: NDArray[np.integer],
    count: int,
    share: float,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Random cells among those with the best scores.

    Args:
        scores: (M,) predictions.
        known: Positions to leave out.
        count: How many are wanted.
        share: Share of the M cells that count as good.
        rng: Generator, advanced.

    Returns:
        (count,) int32 positions, all different; fewer where fewer of the good ones are left.
    """
    good = max(1, round(share * len(scores)))
    limit = np.partition(scores, len(scores) - good)[len(scores) - good]
    eligible = scores >= limit
    eligible[known] = False
    places = np.flatnonzero(eligible).astype(np.int32)
    return rng.choice(places, min(count, len(places)), replace=False)


def preset(name: str, train_samples: int) -> IterativePredictor:
    """The method of a name, with N training cells."""
    return IterativePredictor(name, train_samples)
