"""Random search, regularized evolution and local search on any pool, one step at a time.

Tables of NASBench-101 have compiled twins of these loops (``nprep.search.compiled``), which tests
hold to be the same methods.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.search.evaluator import Evaluator, TableEvaluator
from nprep.search.pool import Pool
from nprep.search.trace import TimedTrace
from nprep.table.view import View

# A mutation or draw that leaves the pool, or is known, is drawn again so often.
MAX_REDRAWS = 1000


class Evolving(Protocol):
    """The settings of regularized evolution that hold in every space."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def population(self) -> int:
        """Number of individuals alive."""

    @property
    def tournament(self) -> int:
        """Number of them that compete to be the parent."""

    @property
    def replacement(self) -> bool:
        """Whether a tournament may hold an individual twice."""

    @property
    def initial(self) -> str:
        """How the first population is drawn: "specs" or "cells"."""

    @property
    def founders(self) -> int | None:
        """Random individuals to begin with; None: a whole population."""


def search_randomly(
    pool: Pool, evaluator: Evaluator, rng: np.random.Generator, sampling: str
) -> None:
    """One trial of random search; all that the budget allows is asked for at once.

    Args:
        pool: The architectures.
        evaluator: Of the trial.
        rng: Advanced.
        sampling: "cells" or "specs" (see ``ReplayProtocol``).
    """
    while not evaluator.done:
        evaluator.query(pool.sample(max(1, evaluator.left), rng, sampling))


def first_position(
    pool: Pool, rng: np.random.Generator, sampling: str
) -> tuple[Any, NDArray[np.int32]]:
    """A random architecture of the pool as a batch of one, and its position (1,)."""
    if sampling == "cells":
        position = pool.sample(1, rng)
        return pool.take(position), position
    for _ in range(MAX_REDRAWS):
        drawn = pool.space.sample(1, rng)
        position = pool.find(drawn)
        if position[0] >= 0:
            return drawn, position
    position = pool.sample(1, rng)
    return pool.take(position), position


def evolve(pool: Pool, evaluator: Evaluator, rng: np.random.Generator, settings: Evolving) -> None:
    """One trial of regularized evolution (Real et al., 2019) with the space's own mutation.

    As many children are made at a time as the pool trains side by side.

    Args:
        pool: The architectures.
        evaluator: Of the trial.
        rng: Advanced.
        settings: Population and tournament.

    Raises:
        SettingsError: If a parent has no child in the pool, as far as chance can tell.
    """
    founders = settings.population if settings.founders is None else settings.founders
    # Individuals are batches of one: a batch may carry more than a position, such as the idle
    # vertices of an unpruned cell. Oldest first.
    population: list[tuple[float, Any]] = []
    born = 0
    while not evaluator.done:
        wanted = max(1, pool.parallel)
        if born < founders:
            made = [
                first_position(pool, rng, settings.initial)
                for _ in range(min(wanted, founders - born))
            ]
        else:
            made = [
                _child(pool, rng, population[_winner(rng, population, settings)][1], settings.name)
                for _ in range(wanted)
            ]
        values = evaluator.query(np.concatenate([position for _, position in made]))
        born += len(made)
        for (individual, _), value in zip(made, values.tolist(), strict=False):
            population.append((value, individual))
        del population[: -settings.population]


def evolve_on_machines(
    view: View,
    evaluator: TableEvaluator,
    rng: np.random.Generator,
    settings: Evolving,
    workers: int,
) -> TimedTrace:
    """One trial of ``evolve`` with ``workers`` trainings in flight.

    A machine that becomes free trains a child of those whose training has ended. With one worker
    the trial is that of ``evolve``.

    Args:
        view: The architectures.
        evaluator: Of the trial.
        rng: Advanced.
        settings: Population and tournament.
        workers: Number of machines.
    """
    founders = settings.population if settings.founders is None else settings.founders
    population: list[tuple[float, Any]] = []
    # By the end of the training, then in the order of the starts.
    running: list[tuple[float, int, float, Any]] = []
    starts: list[float] = []
    ends: list[float] = []
    now, born = 0.0, 0
    while not evaluator.done:
        while len(running) == workers or (born >= founders and not population and running):
            now, _, value, individual = heapq.heappop(running)
            population.append((value, individual))
            del population[: -settings.population]
        if born < founders:
            individual, position = first_position(view, rng, settings.initial)
        else:
            parent = population[_winner(rng, population, settings)][1]
            individual, position = _child(view, rng, parent, settings.name)
        charged = evaluator.charged
        values = evaluator.query(position)
        if not len(values):
            break
        end = now + float(evaluator.last_seconds[0])
        if evaluator.charged > charged:
            starts.append(now)
            ends.append(end)
        heapq.heappush(running, (end, born, float(values[0]), individual))
        born += 1
    return TimedTrace(evaluator.trace(), np.array(starts), np.array(ends))


def _winner(
    rng: np.random.Generator, population: Sequence[tuple[float, Any]], settings: Evolving
) -> int:
    """The place of a tournament's winner; ties as in the compiled loop."""
    if settings.replacement:
        drawn = rng.integers(len(population), size=settings.tournament).tolist()
        return max(drawn, key=lambda place: population[place][0])
    size = min(settings.tournament, len(population))
    drawn = rng.choice(len(population), size, replace=False).tolist()
    # The youngest of the best.
    return max(drawn, key=lambda place: (population[place][0], place))


def _child(
    pool: Pool, rng: np.random.Generator, parent: Any, name: str
) -> tuple[Any, NDArray[np.int32]]:
    """A mutant of the pool as a batch of one, and its position (1,).

    Raises:
        SettingsError: If there is none, as far as chance can tell.
    """
    for _ in range(MAX_REDRAWS):
        child = pool.space.mutate(parent, rng)
        position = pool.find(child)
        if position[0] >= 0:
            return child, position
    raise SettingsError(
        f"method {name!r} found no mutation of an architecture inside {pool.name!r} in "
        f"{MAX_REDRAWS} draws: use more of the space, or a method that does not mutate."
    )


def draw_new(
    pool: Pool, rng: np.random.Generator, count: int, taken: set[int], sampling: str = "specs"
) -> NDArray[np.int32]:
    """Random architectures that are not taken, all different.

    Args:
        pool: The architectures.
        rng: Advanced.
        count: How many.
        taken: Positions to leave out; left as it is.
        sampling: "specs": by the space's own sampler, and where that finds nothing new in 1,000
            draws uniformly; "cells": uniformly.

    Returns:
        Positions; fewer than ``count`` where fewer are left.
    """
    found: dict[int, None] = {}
    for _ in range(count):
        position = _one_new(pool, rng, taken, found, sampling)
        if position < 0:
            break
        found[position] = None
    return np.array([*found], np.int32)


def _one_new(
    pool: Pool, rng: np.random.Generator, taken: set[int], found: dict[int, None], sampling: str
) -> int:
    """One such architecture; -1 where there is none."""
    if sampling == "specs" or not pool.closed:
        for _ in range(MAX_REDRAWS):
            position = int(pool.find(pool.space.sample(1, rng))[0])
            if position >= 0 and position not in taken and position not in found:
                return position
    if not pool.closed:
        return -1
    free = np.ones(len(pool), bool)
    free[[*taken, *found]] = False
    left = np.flatnonzero(free)
    return int(left[rng.integers(len(left))]) if len(left) else -1


def climb(
    pool: Pool,
    evaluator: Evaluator,
    rng: np.random.Generator,
    initial: int,
    whole: bool,
    continuing: bool = False,
) -> None:
    """One trial of local search (White, Nolen and Savani, 2021); nothing is trained twice.

    Args:
        pool: The architectures.
        evaluator: Of the trial.
        rng: Advanced.
        initial: Random architectures of each start, the best of which is where the climb begins.
        whole: Train all neighbours and move to the best of them, if it is better; otherwise move to
            the first that is better.
        continuing: Go on from the best so far whose neighbours were not tried, instead of moving to
            the better neighbour or starting again.
    """
    taken: set[int] = set()
    # Batches of one, which may carry more than a position (see ``evolve``), and their values.
    seen: list[Any] = []
    heights: list[float] = []
    tried: set[int] = set()

    def train(batches: list[Any], positions: NDArray[np.int32]) -> int | None:
        """Trains some; returns the number of the best among all seen, if they were answered."""
        first = len(seen)
        values = evaluator.query(positions)
        taken.update(positions[: len(values)].tolist())
        seen.extend(batches[: len(values)])
        heights.extend(values.tolist())
        return first + int(np.argmax(values)) if len(values) else None

    while not evaluator.done:
        starts, positions = _new_starts(pool, rng, initial, taken)
        here = train(starts, positions) if len(positions) else None
        if here is None:
            return
        while here is not None and not evaluator.done:
            tried.add(here)
            around = pool.space.neighbours(seen[here])
            positions = pool.find(around)
            order = rng.permutation(len(positions)).tolist()
            new = [k for k in order if positions[k] >= 0 and int(positions[k]) not in taken]
            step = max(1, len(new) if whole else pool.parallel)
            better = None
            for first in range(0, len(new), step):
                some = np.array(new[first : first + step])
                best = train(
                    [around.take(some[k : k + 1]) for k in range(len(some))], positions[some]
                )
                if best is not None and heights[best] > heights[here]:
                    better = best
                    break
            here = better
            if continuing:
                left = [k for k in range(len(seen)) if k not in tried]
                here = max(left, key=lambda k: heights[k], default=None)


def _new_starts(
    pool: Pool, rng: np.random.Generator, count: int, taken: set[int]
) -> tuple[list[Any], NDArray[np.int32]]:
    """Random new architectures by the space's own sampler, as batches of one, and positions."""
    starts: dict[int, Any] = {}
    for _ in range(count):
        for _ in range(MAX_REDRAWS):
            drawn = pool.space.sample(1, rng)
            position = int(pool.find(drawn)[0])
            if position >= 0 and position not in taken and position not in starts:
                starts[position] = drawn
                break
        else:
            left = draw_new(pool, rng, 1, taken | {*starts}, "cells")
            if not len(left):
                break
            starts[int(left[0])] = pool.take(left)
    return [*starts.values()], np.array([*starts], np.int32)
