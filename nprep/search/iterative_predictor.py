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
from nprep.predictor.gcn import train
from nprep.predictor.plan import predict
from nprep.predictor.settings import GcnSettings
from nprep.search.base import SEARCH_STREAM, Evaluator, Preset, ReplayProtocol, Trace, stream
from nprep.search.neural_predictor import best_new, plan_of, train_sample
from nprep.table.view import View


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
    """

    name: str = "np-iterative"
    train_samples: int = 172
    rounds: int = 5
    top_share: float = 0.5
    predictor: GcnSettings = field(default_factory=lambda: GcnSettings(loss="ranking", width=48))

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

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see :class:`nprep.search.base.Method`)."""
        return [self._trial(view, seed, samples, protocol) for seed in seeds]

    def _trial(
        self, view: View, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> Trace:
        sample_seed, choice_seed, networks = stream(seed, SEARCH_STREAM).spawn(3)
        rng = np.random.default_rng(choice_seed)
        evaluator = Evaluator(view, seed, samples, protocol)
        # A round of fewer than two cells would teach nothing.
        rounds = max(1, min(self.rounds, self.train_samples // 2))
        sizes = [len(part) for part in np.array_split(np.arange(self.train_samples), rounds)]
        known, labels = train_sample(view, evaluator, sizes[0], protocol.sampling, sample_seed)
        for number in range(1, rounds + 1):
            if evaluator.done or len(known) == len(view):
                break
            epochs = max(1, self.predictor.epochs * number // rounds)
            settings = replace(self.predictor.for_samples(len(known)), epochs=epochs)
            network = train(view.cells.take(known), labels, settings, networks.spawn(1)[0])
            scores = predict(network, plan_of(view, settings))
            if number == rounds:
                evaluator.query(best_new(scores, known, evaluator.left))
                break
            top = best_new(scores, known, round(self.top_share * sizes[number]))
            held = np.concatenate([known, top])
            rest = random_good(scores, held, sizes[number] - len(top), 0.5**number, rng)
            chosen = np.concatenate([top, rest])
            answers = evaluator.query(chosen)
            known = np.concatenate([known, chosen[: len(answers)]])
            labels = np.concatenate([labels, answers])
        return evaluator.trace()


def random_good(
    scores: NDArray[np.float32],
    known: NDArray[np.int32],
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
