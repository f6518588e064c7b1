"""What decides a study, and what its answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nprep.errors import SettingsError
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.study.ledger import Query
from nprep.search.method import Method
from nprep.search.registry import make_method

# The two kinds of trainings.
FULL, PROXY = "full", "proxy"


@dataclass(frozen=True)
class StudySettings:
    """What decides a study.

    Attributes:
        methods: Names of the methods (see ``nprep.search.registry.make_method``), run one after
            another; they share trainings.
        train_samples: N.
        top_k: K.
        candidates: Random networks that a predictor ranks, in spaces too large to list.
        seed: Of everything that the study draws.
        proxy: Settings of the N trainings.
        full: Settings of the K trainings; equal to ``proxy`` where both train alike.
        parallel: Trainings that methods may ask for at a time.
        threads: Threads of predictors.
    """

    methods: tuple[str, ...]
    train_samples: int
    top_k: int
    candidates: int
    seed: int
    proxy: TrainSettings
    full: TrainSettings
    parallel: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuses numbers that make no study, before anything is trained.

        Raises:
            SettingsError: If one makes no sense.
        """
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise SettingsError(
                f"methods {', '.join(self.methods) or 'none'}: name at least one, each once."
            )
        for name in ("train_samples", "top_k", "candidates", "parallel", "threads"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}: it must be at least 0.")
        if self.candidates < self.top_k:
            raise SettingsError(
                f"candidates is {self.candidates}, fewer than top_k {self.top_k}: use more."
            )

    @property
    def separate(self) -> bool:
        """Whether the K are trained differently (longer) than the N."""
        return self.proxy.identity() != self.full.identity()

    def made_methods(self, space_name: str) -> dict[str, Method]:
        """The methods, by name, checked against the study.

        Raises:
            SettingsError: If one is unknown or cannot search by real trainings.
        """
        made = {}
        for name in self.methods:
            method = make_method(name, self.train_samples)
            if method.kind == "bound":
                raise SettingsError(f"method {name} is a bound and no search: leave it out.")
            if method.budgets and set(method.budgets) - {self.full.epochs}:
                raise SettingsError(
                    f"method {name} asks for trainings of {', '.join(map(str, method.budgets))} "
                    "epochs, which tables alone answer: use a method that trains in full."
                )
            if method.spaces and space_name not in method.spaces:
                raise SettingsError(
                    f"method {name} searches {', '.join(method.spaces)} alone, not {space_name}."
                )
            if method.train_samples == 1:
                raise SettingsError(
                    "train_samples is 1: a predictor needs at least 2 trained networks."
                )
            made[name] = method
        return made

    def identity(self) -> dict[str, Any]:
        """What a resumed study must have in common with the one before."""
        values = asdict(self)
        for name in ("methods", "threads", "parallel"):
            values.pop(name)
        return {**values, PROXY: self.proxy.identity(), FULL: self.full.identity()}


def best_of(settings: StudySettings, queries: Sequence[Query]) -> Query | None:
    """A method's answer: the best validation accuracy among fully trained networks."""
    good = [
        q
        for q in queries
        if q.training.accuracy is not None and (q.training.stage == FULL or not settings.separate)
    ]
    return max(good, key=lambda query: query.training.accuracy or 0.0, default=None)
