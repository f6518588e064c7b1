"""The rules of a comparison, and the seeds that decide a trial."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from nprep.errors import SettingsError

# Keys of the independent streams that one trial's seed is split into.
SEARCH_STREAM = 0
NOISE_STREAM = 1
CANDIDATE_STREAM = 2

# With free duplicates a search that has nothing new to propose would never end.
MAX_QUERIES_PER_SAMPLE = 100

# What each rule of a protocol may be.
PROTOCOL_RULES: dict[str, tuple[str, ...]] = {
    "repeats": ("architecture", "query", "mean"),
    "duplicates": ("charged", "free"),
    "sampling": ("cells", "specs"),
    "invalid": ("redrawn", "zero"),
    "report": ("mean", "run"),
    "shows": ("accuracy", "regret"),
    "axis": ("samples", "seconds"),
}


@dataclass(frozen=True)
class ReplayProtocol:
    """The rules of a comparison.

    Those that are known by a name are in ``nprep.runs.protocols``.

    Attributes:
        name: What outputs call it.
        repeats: Which training run a query sees, and so what drives the search. "architecture": one
            repeat, drawn once per trial and cell, as in the paper; "query": drawn anew at every
            query, as in the official API; "mean": the mean of the repeats.
        duplicates: "charged": every query counts, also of a cell seen before; "free": a trial
            remembers what it has seen, and only new cells count.
        sampling: How random cells are drawn. "cells": uniformly over the cells of the view;
            "specs": by the official sampler of random matrices, redrawn outside the view.
        invalid: What becomes of random specs that are no cell. "redrawn": they are drawn again;
            "zero": they enter the first population of evolution with accuracy 0, cost nothing and
            are left out of the trace.
        report: The test accuracy of the incumbent. "mean": over its repeats; "run": of the run that
            the search saw.
        shows: "accuracy" or "regret", which is the distance to the best cell of the view.
        axis: What outputs put accuracy against: "samples" or "seconds" of training.
        seconds: Training time that a trial is charged, or None for no such limit. The training that
            goes beyond it is the last.
    """

    name: str = "wen2020"
    repeats: str = "architecture"
    duplicates: str = "charged"
    sampling: str = "cells"
    invalid: str = "redrawn"
    report: str = "mean"
    shows: str = "accuracy"
    axis: str = "samples"
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuses unknown rules and the pair that has no meaning."""
        for setting, choices in PROTOCOL_RULES.items():
            value = getattr(self, setting)
            if value not in choices:
                known = " or ".join((", ".join(choices[:-1]), choices[-1]))
                raise SettingsError(f"{setting} is {value!r}, which is unknown: use {known}.")
        if self.repeats == "query" and self.duplicates == "free":
            raise SettingsError(
                "repeats 'query' with duplicates 'free' would hand out free extra training runs: "
                "use repeats 'architecture' or duplicates 'charged'."
            )
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise SettingsError(f"seconds is {self.seconds}: use a number above 0.")


def trial_seed(seed: int, method: str, trial: int) -> np.random.SeedSequence:
    """The seed of a trial; it does not depend on other methods or trials.

    Args:
        seed: The seed of the whole replay, not negative.
        method: Name of the method.
        trial: Number of the trial, not negative.
    """
    key = int.from_bytes(hashlib.blake2b(method.encode(), digest_size=8).digest(), "little")
    return np.random.SeedSequence(seed, spawn_key=(key, trial))


def is_first_trial(seed: np.random.SeedSequence) -> bool:
    """Whether a seed of ``trial_seed`` is that of trial 0."""
    return seed.spawn_key[-1:] == (0,)


def stream(seed: np.random.SeedSequence, key: int) -> np.random.SeedSequence:
    """An independent child of a seed; unlike ``spawn`` it leaves the parent as it was."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, key))


def noise_seed_of(seed: np.random.SeedSequence) -> np.uint64:
    """What decides which repeats a trial sees."""
    return np.uint64(stream(seed, NOISE_STREAM).generate_state(1, np.uint64)[0])
