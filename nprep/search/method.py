"""What a search method is: blocks of trials, or one object a trial that is asked and told.

Most methods are easiest to write as a *searcher*: one object per trial that is asked for
architectures and told their values (see ``Searcher``). Methods that do many trials at once,
such as the predictors and the compiled loops, derive from ``Method`` themselves.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.search.evaluator import evaluator_of
from nprep.search.pool import Pool
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import TimedTrace, Trace

KINDS = ("search", "predictor", "bound")


class Method(abc.ABC):
    """A search method with all its settings.

    Attributes:
        name: What the command line and outputs call it; seeds depend on it.
        kind: "search" for methods that spend the budget they are given; "predictor" for those that
            train ``train_samples`` architectures and then their K best; "bound" for what no method
            can beat, which is no search at all.
        train_samples: The number N of random architectures that a predictor is trained with. Trials
            are then N + K samples long instead of the budget of the others. 0 for all others.
        budgets: The lengths of shorter trainings that it asks for, so that a table that lacks them
            is refused before anything runs. Empty: it trains in full alone.
        max_samples: Samples after which its trials end, for methods whose rounds get slower the
            more they have seen. None: no such end.
        spaces: Names of the only spaces that it can search; empty: any.
        backend: What trains its predictor (see ``nprep.predictor.backends.names``); empty for
            methods that leave no choice.
        concurrent: Whether it has ``run_concurrently``.
        needs_table: Whether it needs the values of a table, so that real trainings can't answer it.
    """

    name: str
    kind: str = "search"
    train_samples: int = 0
    budgets: tuple[int, ...] = ()
    max_samples: int | None = None
    spaces: tuple[str, ...] = ()
    backend: str = ""
    concurrent: bool = False
    needs_table: bool = False

    def settings(self) -> dict[str, object]:
        """Its settings, for outputs."""
        return {"name": self.name}

    def budgets_on(self, pool: Pool) -> tuple[int, ...]:
        """The lengths of shorter trainings that it asks a pool for."""
        return self.budgets

    @abc.abstractmethod
    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed.

        Args:
            pool: The architectures to search.
            seeds: (T,) one seed per trial, which alone decides the trial.
            samples: The number of samples S that each trial is charged.
            protocol: The rules.

        Returns:
            T traces, each of at most S samples.
        """

    def run_concurrently(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
        workers: int,
    ) -> list[TimedTrace]:
        """Runs one trial per seed with ``workers`` trainings in flight, if it is ``concurrent``.

        For methods whose next question depends on which training ends first. The trainings of all
        others are scheduled after the fact, by the rounds of their traces.

        Raises:
            NotImplementedError: If it is not.
        """
        raise NotImplementedError(f"{self.name} is not concurrent")


def check_pool(method: Method, pool: Pool) -> None:
    """Refuses a method that can't search a pool, before anything runs.

    Raises:
        SettingsError: If its declared fields say so.
    """
    if method.spaces and pool.space.name not in method.spaces:
        raise SettingsError(
            f"method {method.name!r} searches {' and '.join(method.spaces)} alone, and "
            f"{pool.name!r} is of the space {pool.space.name}: leave it out."
        )
    if method.needs_table and not pool.closed:
        raise SettingsError(
            f"method {method.name!r} needs the values of a table, which real trainings don't give "
            "beforehand: leave it out."
        )
    lacking = sorted(set(method.budgets_on(pool)) - set(pool.budgets))
    if lacking:
        raise SettingsError(
            f"method {method.name!r} trains for {', '.join(map(str, lacking))} epochs and view "
            f"{pool.name!r} knows nothing of that (only of "
            f"{', '.join(map(str, pool.budgets))}): use another view or leave it out."
        )


@dataclass(frozen=True)
class Preset(Method):
    """A base for methods that are frozen dataclasses, each instance a named set of settings.

    Attributes:
        name: Name of the method.
    """

    name: str

    def settings(self) -> dict[str, object]:
        """The fields of the dataclass."""
        return dataclasses.asdict(self)

    def with_backend(self, backend: str) -> Preset:
        """The same method with another backend, where it leaves one open."""
        fields = {field.name for field in dataclasses.fields(self)}
        changes: dict[str, Any] = {"backend": backend} if "backend" in fields else {}
        return dataclasses.replace(self, **changes)


@runtime_checkable
class Searcher(Protocol):
    """One trial of a sequential method: asked for architectures, told their values.

    A searcher is made as ``Searcher(pool, rng)``, once a trial; whatever is random comes from that
    generator. What is asked for in one call can be trained side by side.
    """

    def ask(self) -> NDArray[np.int32]:
        """Positions in the pool to train next, one or many; none at all ends the trial."""

    def tell(self, positions: NDArray[np.int32], values: NDArray[np.float32]) -> None:
        """Reports the validation accuracies in [0, 1] of what was asked for."""


@dataclass(frozen=True)
class SearcherMethod(Preset):
    """Makes a method of a searcher.

    Example::

        class Blind:
            def __init__(self, pool: Pool, rng: np.random.Generator) -> None:
                self.pool, self.rng = pool, rng

            def ask(self) -> NDArray[np.int32]:
                return self.pool.sample(1, self.rng)

            def tell(self, positions, values) -> None:
                pass

        method = SearcherMethod("blind", Blind)

    Attributes:
        name: Name of the method.
        start: Makes the searcher of one trial from the pool and the trial's generator.
    """

    start: Callable[[Pool, np.random.Generator], Searcher]

    def settings(self) -> dict[str, object]:
        """The name, and where the searcher comes from."""
        qualified = getattr(self.start, "__qualname__", repr(self.start))
        return {"name": self.name, "searcher": f"{self.start.__module__}:{qualified}"}

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs the trials one after another (see ``Method``)."""
        traces = []
        for seed in seeds:
            searcher = self.start(pool, np.random.default_rng(stream(seed, SEARCH_STREAM)))
            evaluator = evaluator_of(pool, seed, samples, protocol)
            while not evaluator.done:
                positions = np.atleast_1d(np.asarray(searcher.ask(), np.int32))
                if not len(positions):
                    break
                values = evaluator.query(positions)
                searcher.tell(positions[: len(values)], values)
            traces.append(evaluator.trace())
        return traces
