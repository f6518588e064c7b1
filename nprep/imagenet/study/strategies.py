"""What a method asks for next, given what its earlier proposals gave.

Every answer depends on the seed, the settings and the ledger's content alone, so a study that was
killed asks for the same networks when it is resumed.

All methods train N networks, then K more; the best of these K (or, where both stages train alike,
of all N + K) is the method's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import NprepError
from nprep.imagenet.networks.latency import Limits
from nprep.imagenet.study.ledger import Proposal

METHODS = ("predictor", "random", "evolution")
SAMPLE, TOP = "sample", "top"
# Tries to mutate into the limits before a random network takes the child's place.
MAX_MUTATIONS = 200


@dataclass(frozen=True)
class Plan:
    """The size and rules of a study.

    Attributes:
        limits: Where networks must lie, and in which space.
        train_samples: N.
        top_k: K.
        seed: Of everything drawn.
        separate: Whether the K are trained differently (longer) than the N.
        population: Of regularized evolution.
        tournament: Of regularized evolution.
        parallel: Children that regularized evolution makes at a time.
    """

    limits: Limits
    train_samples: int
    top_k: int
    seed: int
    separate: bool
    population: int = 16
    tournament: int = 5
    parallel: int = 1

    def rng(self, *key: int) -> np.random.Generator:
        """An independent generator for a purpose."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


@dataclass(frozen=True)
class Asked:
    """What to train next."""

    phase: str
    encodings: list[str]
    predicted: list[float | None] | None = None


# Given the trained networks and their accuracies, returns the networks to train last and what was
# predicted of them.
ChooseTop = Callable[
    [NDArray[np.uint8], NDArray[np.float64]], tuple[NDArray[np.uint8], list[float]]
]


def ask(
    method: str, plan: Plan, proposals: Sequence[Proposal], choose_top: ChooseTop
) -> Asked | None:
    """The next proposals of a method whose earlier ones are all finished.

    Args:
        method: One of METHODS.
        plan: The rules.
        proposals: The method's proposals so far, done or failed.
        choose_top: The predictor's choice.

    Returns:
        What to train next; None when the method is through.

    Raises:
        NprepError: If so many trainings failed that nothing is left to learn from.
    """
    done = len(proposals)
    total = plan.train_samples + plan.top_k
    if done >= total:
        return None
    phase = SAMPLE if done < plan.train_samples else TOP
    if method == "evolution" and (phase == SAMPLE or not plan.separate):
        limit = plan.train_samples if phase == SAMPLE else total
        return _evolve(plan, proposals, limit, phase)
    if phase == SAMPLE:
        return Asked(SAMPLE, _first_samples(plan)[done:])
    encodings, accuracies = trained(plan, proposals)
    if method == "predictor":
        chosen, predicted = choose_top(encodings, accuracies)
        texts = [plan.limits.space.format(one) for one in chosen]
        return Asked(TOP, texts, list(predicted))
    if plan.separate:
        best = np.argsort(-accuracies, kind="stable")[: plan.top_k]
        return Asked(TOP, [plan.limits.space.format(encodings[row]) for row in best])
    taken = {p.training.encoding for p in proposals}
    more = plan.limits.sample(plan.rng(1), plan.top_k, taken)
    return Asked(TOP, [plan.limits.space.format(one) for one in more])


def _first_samples(plan: Plan) -> list[str]:
    """The N random networks: the same ones for every method."""
    drawn = plan.limits.sample(plan.rng(0), plan.train_samples)
    return [plan.limits.space.format(one) for one in drawn]


def trained(
    plan: Plan, proposals: Sequence[Proposal]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The networks of the sample phase whose training succeeded, and their accuracies.

    Raises:
        NprepError: If there are none.
    """
    good = [p.training for p in proposals if p.phase == SAMPLE and p.training.accuracy is not None]
    if not good:
        raise NprepError(
            "all trainings of the study failed; the first said: "
            f"{proposals[0].training.error}: mend that and start a new study"
        )
    encodings = np.stack([plan.limits.space.parse(t.encoding) for t in good])
    return encodings, np.array([t.accuracy for t in good], np.float64)


def _evolve(plan: Plan, proposals: Sequence[Proposal], limit: int, phase: str) -> Asked:
    """Regularized evolution: the population is the last so many proposals.

    Child number i draws from a generator of its own, so it depends on nothing but its number and
    the accuracies before it.
    """
    done = len(proposals)
    first = min(plan.population, plan.train_samples)
    if done < first:
        return Asked(phase, _first_samples(plan)[:first][done:])
    space = plan.limits.space
    alive = proposals[-plan.population :]
    scores = np.array([-1.0 if (a := p.training.accuracy) is None else a for p in alive])
    children: list[str] = []
    taken = {p.training.encoding for p in proposals}
    for number in range(done, min(limit, done + plan.parallel)):
        rng = plan.rng(2, number)
        rivals = rng.choice(len(alive), size=min(plan.tournament, len(alive)), replace=False)
        parent = space.parse(alive[rivals[np.argmax(scores[rivals])]].training.encoding)
        children.append(_child(plan, rng, parent, taken | set(children)))
    return Asked(phase, children)


def _child(plan: Plan, rng: np.random.Generator, parent: NDArray[np.uint8], taken: set[str]) -> str:
    """A mutant within the limits that was not trained before."""
    space = plan.limits.space
    for _ in range(MAX_MUTATIONS):
        child = space.mutate(rng, parent)
        text = space.format(child)
        if text not in taken and plan.limits.hold(child[None])[0]:
            return text
    return space.format(plan.limits.sample(rng, 1, taken)[0])


def best_of(plan: Plan, proposals: Sequence[Proposal]) -> Proposal | None:
    """A method's answer: the best validation accuracy among fully trained networks."""
    good = [p for p in proposals if p.training.accuracy is not None]
    if plan.separate:
        good = [p for p in good if p.phase == TOP]
    return max(good, key=lambda p: p.training.accuracy or 0.0, default=None)
