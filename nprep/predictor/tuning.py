"""Chooses a predictor's settings by cross-validation, and judges the choice.

Kendall's tau of the best of several settings, on the folds that chose it, flatters. The tau that is
reported is nested: each fold's predictions come from settings that were chosen without it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.predictor.agreement import kendall_tau
from nprep.predictor.gcn import train
from nprep.predictor.scoring import plan_for
from nprep.predictor.settings import GcnSettings
from nprep.spaces.base import Members

FOLDS = 5
# Nested cross-validation leaves out two folds; with fewer samples next to nothing would be left.
FEWEST_NESTED = 6


@dataclass(frozen=True)
class Choice:
    """Settings and how they did.

    Attributes:
        settings: Of the predictor.
        tau: Kendall's tau between predictions of left-out architectures and their accuracy, mean
            over folds.
    """

    settings: GcnSettings
    tau: float


@dataclass(frozen=True)
class Tuning:
    """Settings that were compared.

    Attributes:
        choices: All of them, best first.
        tau: Kendall's tau of the whole procedure, the choice included, by nested cross-validation;
            None if it was not asked for or there are too few samples.
    """

    choices: tuple[Choice, ...]
    tau: float | None = None

    @property
    def best(self) -> GcnSettings:
        """The settings of the best tau."""
        return self.choices[0].settings


def compare_settings(
    members: Members,
    labels: NDArray[np.floating],
    settings: Sequence[GcnSettings],
    seed: np.random.SeedSequence,
    threads: int = 1,
    judge: bool = False,
) -> Tuning:
    """Cross-validates settings.

    Args:
        members: N trained architectures.
        labels: (N,) their accuracy, in [0, 1].
        settings: What to compare, at least one.
        seed: Of folds and predictors; left as it is.
        threads: Predictors trained at a time; the result does not depend on it.
        judge: Whether the choice is judged too, by nested cross-validation, which takes three times
            as long.

    Returns:
        All of them. A single one is not tried unless it is to be judged: its tau is NaN.

    Raises:
        SettingsError: If there are too few architectures to leave some out.
    """
    if len(settings) == 1 and not judge:
        return Tuning((Choice(settings[0], float("nan")),))
    count = len(members)
    if count < 2:
        raise SettingsError(
            f"{count} networks are trained and a predictor needs at least 2: train more."
        )
    folds = np.random.default_rng(seed).permutation(count) % min(FOLDS, count)
    fold_seed = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 0))

    def left_out(job: tuple[int, tuple[int, ...]]) -> list[float]:
        """The tau on each of some folds of a predictor that learned from all others."""
        which, out = job
        inside = np.flatnonzero(~np.isin(folds, out))
        weights = train(members.take(inside), labels[inside], settings[which], fold_seed)
        taus = []
        for fold in out:
            rows = np.flatnonzero(folds == fold)
            outside = members.take(rows)
            predicted = plan_for(outside, weights.settings).predict(weights)
            taus.append(float(kendall_tau(predicted, labels[rows], constant=0.0)))
        return taus

    numbers, tried = range(int(folds.max()) + 1), range(len(settings))
    with ThreadPoolExecutor(threads) as pool:
        jobs = [(which, (fold,)) for which in tried for fold in numbers]
        taus = np.array(list(pool.map(left_out, jobs))).reshape(len(settings), -1)
        nested = None
        if judge and len(settings) == 1:
            # Nothing is chosen, so nothing flatters.
            nested = float(taus.mean())
        elif judge and count >= FEWEST_NESTED:
            # A predictor that left out two folds serves each of them as the outer one.
            pairs = [
                (which, pair) for which in tried for pair in itertools.combinations(numbers, 2)
            ]
            nested = _nested_tau(taus, dict(zip(pairs, pool.map(left_out, pairs), strict=True)))
    choices = [
        Choice(one, float(tau)) for one, tau in zip(settings, taus.mean(axis=1), strict=True)
    ]
    return Tuning(tuple(sorted(choices, key=lambda choice: -choice.tau)), nested)


def _nested_tau(
    taus: NDArray[np.float64], inner: dict[tuple[int, tuple[int, ...]], list[float]]
) -> float:
    """The mean over folds of the tau of those settings that the other folds choose.

    Args:
        taus: (settings, folds) taus with one fold left out.
        inner: The taus on two folds, of each setting without both.
    """
    tried, folds = taus.shape
    chosen = np.zeros((tried, folds))
    for (which, (first, second)), (on_first, on_second) in inner.items():
        # With the second fold outside, the first helps to choose, and the other way round.
        chosen[which, second] += on_first
        chosen[which, first] += on_second
    return float(taus[chosen.argmax(axis=0), np.arange(folds)].mean())
