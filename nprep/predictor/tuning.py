"""Chooses a predictor's settings by cross-validation."""

from __future__ import annotations

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


def compare_settings(
    members: Members,
    labels: NDArray[np.floating],
    settings: Sequence[GcnSettings],
    seed: np.random.SeedSequence,
    threads: int = 1,
) -> list[Choice]:
    """Cross-validates settings.

    Args:
        members: N trained architectures.
        labels: (N,) their accuracy, in [0, 1].
        settings: What to compare, at least one.
        seed: Of folds and predictors; left as it is.
        threads: Predictors trained at a time; the result does not depend on it.

    Returns:
        All of them, best first. A single one is not tried: its tau is NaN.

    Raises:
        SettingsError: If there are too few architectures to leave some out.
    """
    if len(settings) == 1:
        return [Choice(settings[0], float("nan"))]
    count = len(members)
    if count < 2:
        raise SettingsError(
            f"{count} networks are trained and a predictor needs at least 2: train more"
        )
    folds = np.random.default_rng(seed).permutation(count) % min(FOLDS, count)
    fold_seed = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 0))

    def left_out(job: tuple[GcnSettings, int]) -> float:
        inside = folds != job[1]
        weights = train(members.take(np.flatnonzero(inside)), labels[inside], job[0], fold_seed)
        outside = members.take(np.flatnonzero(~inside))
        predicted = plan_for(outside, weights.settings).predict(weights)
        return float(kendall_tau(predicted, labels[~inside], constant=0.0))

    jobs = [(one, fold) for one in settings for fold in range(int(folds.max()) + 1)]
    with ThreadPoolExecutor(threads) as pool:
        taus = np.array(list(pool.map(left_out, jobs))).reshape(len(settings), -1).mean(axis=1)
    choices = [Choice(one, float(tau)) for one, tau in zip(settings, taus, strict=True)]
    return sorted(choices, key=lambda choice: -choice.tau)
