"""Successive halving on many machines: a cell is promoted as soon as its promotion is certain.

A stage keeps the best of its cells. With all machines at work, a cell need not wait for the whole
stage: once fewer are still in training than places are left above those that beat it, it is
promoted. So the cells that are kept are those of the sequential method, only earlier, and a machine
that finds nothing to do in the brackets begun begins the next one.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.search.archive import Proposals
from nprep.search.evaluator import TableEvaluator
from nprep.search.trace import TimedTrace


class Proposer(Protocol):
    """What proposes the cells of brackets (see ``nprep.search.successive_halving.Sampler``)."""

    def propose(self, count: int) -> Any:
        """The ``Proposals`` of a bracket."""

    def learn(self, budget: int, trained: Any, values: NDArray[np.float32]) -> None:
        """Told what trainings gave of some that were proposed."""


@dataclass
class _Stage:
    """Some cells of a bracket that are trained equally long.

    Attributes:
        budget: Length of the trainings in epochs.
        size: Number of cells that will have been trained.
        waiting: A heap of the cells that wait for a machine: what they got in the stage before with
            its sign changed, their place there and their number.
        finished: The same of this stage, of the trainings that have ended, in any order.
        started: Number of trainings begun.
        promoted: Numbers of cells that have gone on.
    """

    budget: int
    size: int
    waiting: list[tuple[float, int, int]] = field(default_factory=list)
    finished: list[tuple[float, int, int]] = field(default_factory=list)
    started: int = 0
    promoted: set[int] = field(default_factory=set)


class _Bracket:
    """One bracket of successive halving."""

    def __init__(self, cells: Proposals, budgets: tuple[int, ...], eta: int) -> None:
        """Makes the cells wait for their first training."""
        self.cells = cells
        self.stages: list[_Stage] = []
        size = len(cells)
        for budget in budgets:
            self.stages.append(_Stage(budget, size))
            size = max(1, size // eta)
        self.stages[0].waiting.extend((0.0, number, number) for number in range(len(cells)))

    def finish(self, number: int, stage: int, place: int, value: float) -> None:
        """Records a value, and lets those go on that are certain to."""
        now = self.stages[stage]
        now.finished.append((-value, place, number))
        if stage + 1 == len(self.stages):
            return
        following = self.stages[stage + 1]
        certain = following.size - (now.size - len(now.finished))
        if certain <= 0:
            return
        for entry in sorted(now.finished)[:certain]:
            if entry[2] not in now.promoted:
                now.promoted.add(entry[2])
                heapq.heappush(following.waiting, entry)

    @property
    def exhausted(self) -> bool:
        """Whether every training has begun."""
        return all(stage.started == stage.size for stage in self.stages)


def halve_concurrently(
    sampler: Proposer,
    evaluator: TableEvaluator,
    budgets: tuple[int, ...],
    eta: int,
    workers: int,
) -> TimedTrace:
    """One trial of Hyperband; with one machine it is that of the sequential method.

    A free machine takes the best cell that waits in the earliest stage of the earliest bracket.

    Args:
        sampler: Proposes the cells.
        evaluator: Of the trial.
        budgets: Lengths of the stages in epochs, ascending.
        eta: One cell of this many is promoted to the next stage.
        workers: Number of machines.
    """
    brackets: list[_Bracket] = []
    begun = serial = 0
    # Ends, order of starts, and what is in training: bracket, stage, place, cell, value.
    running: list[tuple[float, int, _Bracket, int, int, int, float]] = []
    # When the results are known of what was trained, where it is free from then on.
    known: dict[tuple[int, int], float] = {}
    starts: list[float] = []
    ends: list[float] = []
    now = 0.0
    over = False
    while True:
        while len(running) < workers and not (over or evaluator.done):
            found = _next(brackets)
            if found is None:
                left = len(budgets) - begun % len(budgets)
                begun += 1
                cells = sampler.propose(-(-len(budgets) * eta ** (left - 1) // left))
                brackets.append(_Bracket(cells, budgets[len(budgets) - left :], eta))
                continue
            bracket, stage = found
            _, _, number = heapq.heappop(bracket.stages[stage].waiting)
            place = bracket.stages[stage].started
            position = bracket.cells.positions[number]
            budget = bracket.stages[stage].budget
            charged = evaluator.charged
            values = evaluator.query(bracket.cells.positions[number : number + 1], budget)
            if not len(values):
                over = True
                break
            bracket.stages[stage].started += 1
            key = (int(position), budget)
            end = max(now, known.get(key, now))
            if evaluator.charged > charged:
                end = now + float(evaluator.last_seconds[0])
                known[key] = end
                starts.append(now)
                ends.append(end)
            serial += 1
            job = (end, serial, bracket, stage, place, number, float(values[0]))
            heapq.heappush(running, job)
            if bracket.exhausted:
                brackets.remove(bracket)
        if not running:
            break
        now, _, bracket, stage, place, number, value = heapq.heappop(running)
        bracket.finish(number, stage, place, value)
        trained = bracket.cells.take(slice(number, number + 1))
        sampler.learn(bracket.stages[stage].budget, trained, np.array([value], np.float32))
    return TimedTrace(evaluator.trace(), np.array(starts), np.array(ends))


def _next(brackets: list[_Bracket]) -> tuple[_Bracket, int] | None:
    """The earliest bracket and stage in which a cell waits."""
    for bracket in brackets:
        for number, stage in enumerate(bracket.stages):
            if stage.waiting:
                return bracket, number
    return None
