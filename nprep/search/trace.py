"""What a trial leaves behind: its charged queries, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.predictor.tuning import Tuning
from nprep.search.rules import ReplayProtocol
from nprep.table.view import View


@dataclass(frozen=True)
class Predictions:
    """What a trial's predictor predicts for its candidates: on a table, every architecture.

    Attributes:
        known: (N,) int32; positions of the architectures that it was trained on.
        scores: (M,) float32; validation accuracies in [0, 1], or scores without a unit.
        unit: Whether they are accuracies; else only their order means something.
        accepted: (M,) bool; what a classifier takes for accurate; None without one.
        positions: (M,) int32; the candidates. None: everything in the pool.
        tuning: How its settings were chosen; None where that is not known.
    """

    known: NDArray[np.int32]
    scores: NDArray[np.float32]
    unit: bool = True
    accepted: NDArray[np.bool_] | None = None
    positions: NDArray[np.int32] | None = None
    tuning: Tuning | None = None


@dataclass(frozen=True)
class Trace:
    """The charged queries of one trial, in order.

    Attributes:
        positions: (S,) int32; the cells, as positions in the view.
        repeats: (S,) uint8; the training run that each query saw.
        validation: (S,) float32 in [0, 1]; as seen.
        seconds: (S,) float32; training time of that run.
        epochs: (S,) uint16; length of that run. None: each was trained in full.
        rounds: (Q,) int32, ascending from 0; where the rounds begin. The queries of a round wait
            for all rounds before and for nothing else, so that they can be trained in parallel.
            None makes each query a round of its own.
        predictions: Of the trial's predictor; None without one, and for all trials but a run's
            first, since they are large.
    """

    positions: NDArray[np.int32]
    repeats: NDArray[np.uint8]
    validation: NDArray[np.float32]
    seconds: NDArray[np.float32]
    epochs: NDArray[np.uint16] | None = None
    rounds: NDArray[np.int32] | None = None
    predictions: Predictions | None = None

    def __len__(self) -> int:
        """The number of charged queries S."""
        return len(self.positions)


def trace_of(
    view: View,
    positions: NDArray[np.int32],
    repeats: NDArray[np.integer],
    epochs: NDArray[np.integer] | None = None,
    rounds: Sequence[int] | None = None,
) -> Trace:
    """The trace of queries whose cells and repeats are known.

    Args:
        view: The cells.
        positions: (S,) int32.
        repeats: (S,) integers.
        epochs: (S,) lengths of the runs; None: all in full.
        rounds: See ``Trace``.
    """
    validation = view.validation[positions, repeats]
    seconds = view.training_seconds[positions, repeats]
    if epochs is not None:
        for budget in set(np.unique(epochs).tolist()) - {view.full_epochs}:
            short = epochs == budget
            fidelity = view.at(budget)
            validation[short] = fidelity.validation[positions[short], repeats[short]]
            seconds[short] = fidelity.training_seconds[positions[short], repeats[short]]
    return Trace(
        np.ascontiguousarray(positions, np.int32),
        np.ascontiguousarray(repeats, np.uint8),
        validation,
        seconds,
        None if epochs is None else np.ascontiguousarray(epochs, np.uint16),
        None if rounds is None else np.array(rounds, np.int32),
    )


def within_limits(trace: Trace, protocol: ReplayProtocol) -> Trace:
    """A trace up to the training that takes it to the protocol's limit of seconds, that included.

    For methods that do not look at that limit themselves.
    """
    if protocol.seconds is None:
        return trace
    before = np.cumsum(trace.seconds, dtype=np.float64) - trace.seconds
    kept = int((before < protocol.seconds).sum())
    if kept == len(trace):
        return trace
    return Trace(
        trace.positions[:kept],
        trace.repeats[:kept],
        trace.validation[:kept],
        trace.seconds[:kept],
        None if trace.epochs is None else trace.epochs[:kept],
        None if trace.rounds is None else trace.rounds[trace.rounds < kept],
        trace.predictions,
    )


@dataclass(frozen=True)
class TimedTrace:
    """A trial on many machines.

    Attributes:
        trace: Its queries, in the order of their starts.
        starts: (S,) float64; when each training starts, in seconds from the trial's beginning.
        ends: (S,) float64; when it ends.
    """

    trace: Trace
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
