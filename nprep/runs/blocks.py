"""The trials of one method that run together, and the file that holds their results."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.runs.files import to_json, write_file
from nprep.search.trace import Trace


@dataclass(frozen=True)
class TrialBlock:
    """Trials of one method that run together.

    Attributes:
        method: Name of the method.
        first: The first trial.
        count: Number of trials.
    """

    method: str
    first: int
    count: int

    @property
    def file(self) -> Path:
        """Where its results lie inside the run's folder."""
        folder = re.sub(r"[^A-Za-z0-9_.-]", "_", self.method)
        return Path("trials") / folder / f"{self.first:07d}-{self.first + self.count - 1:07d}.npz"


@dataclass(frozen=True)
class Results:
    """The charged queries of many trials of one method.

    Attributes:
        positions: (T, S) int32; shorter trials repeat their last query.
        repeats: (T, S) uint8.
        lengths: (T,) int32; the number of queries charged.
        epochs: (T, S) uint16; the lengths of the runs, or None if all were trained in full.
        rounds: (T, Q) int32; where the rounds of ``Trace`` begin, filled
            up with the trial's length; None if each query was a round of its own.
    """

    positions: NDArray[np.int32]
    repeats: NDArray[np.uint8]
    lengths: NDArray[np.int32]
    epochs: NDArray[np.uint16] | None = None
    rounds: NDArray[np.int32] | None = None

    @staticmethod
    def of_traces(traces: list[Trace], full_epochs: int | None = None) -> Results:
        """Stacks traces, each of at least one query.

        Args:
            traces: One for each trial.
            full_epochs: Length of a training in full; may be None where no training was shorter.
        """
        lengths = np.array([len(trace) for trace in traces], np.int32)
        positions = np.empty((len(traces), lengths.max()), np.int32)
        repeats = np.empty(positions.shape, np.uint8)
        lengths_known = [trace.epochs is not None for trace in traces]
        if full_epochs is None and any(lengths_known) and not all(lengths_known):
            raise ValueError("some traces have short trainings: say how long one in full is")
        epochs = np.full(positions.shape, full_epochs or 0, np.uint16)
        for i, trace in enumerate(traces):
            positions[i, : lengths[i]] = trace.positions
            repeats[i, : lengths[i]] = trace.repeats
            positions[i, lengths[i] :] = trace.positions[-1]
            repeats[i, lengths[i] :] = trace.repeats[-1]
            if trace.epochs is not None:
                epochs[i, : lengths[i]] = trace.epochs
                epochs[i, lengths[i] :] = trace.epochs[-1]
        return Results(
            positions,
            repeats,
            lengths,
            epochs if any(lengths_known) else None,
            _stack_rounds([trace.rounds for trace in traces], lengths),
        )

    @staticmethod
    def stack(parts: list[Results], full_epochs: int | None = None) -> Results:
        """Joins blocks in order.

        Args:
            parts: The blocks.
            full_epochs: Length of a training in full; may be None where no training was shorter.
        """
        width = max(part.positions.shape[1] for part in parts)

        def widen(array: NDArray[Any]) -> NDArray[Any]:
            return np.pad(array, ((0, 0), (0, width - array.shape[1])), mode="edge")

        epochs = None
        lengths_known = [part.epochs is not None for part in parts]
        if full_epochs is None and any(lengths_known) and not all(lengths_known):
            raise ValueError("some blocks have short trainings: say how long one in full is")
        if any(lengths_known):
            full = [np.full(part.positions.shape, full_epochs or 0, np.uint16) for part in parts]
            epochs = np.concatenate(
                [
                    widen(all_full if part.epochs is None else part.epochs)
                    for part, all_full in zip(parts, full, strict=True)
                ]
            )
        lengths = np.concatenate([part.lengths for part in parts])
        rounds: list[NDArray[np.int32] | None] = []
        for part in parts:
            rounds += [None] * len(part.lengths) if part.rounds is None else [*part.rounds]
        return Results(
            np.concatenate([widen(part.positions) for part in parts]),
            np.concatenate([widen(part.repeats) for part in parts]),
            lengths,
            epochs,
            _stack_rounds(rounds, lengths),
        )


def _stack_rounds(
    rounds: list[NDArray[np.int32] | None], lengths: NDArray[np.int32]
) -> NDArray[np.int32] | None:
    """(T, Q) beginnings of rounds; None where every query is a round of its own."""
    known = [
        np.arange(length, dtype=np.int32) if starts is None else starts[starts < length]
        for starts, length in zip(rounds, lengths, strict=True)
    ]
    if all(len(starts) == length for starts, length in zip(known, lengths, strict=True)):
        return None
    stacked = np.tile(lengths[:, None], (1, max(map(len, known))))
    for row, starts in zip(stacked, known, strict=True):
        row[: len(starts)] = starts
    return stacked


def run_digest(run: dict[str, Any]) -> str:
    """A digest of what a run's results depend on, by which its blocks are told from others'.

    Args:
        run: What lies under "run" in ``settings.json``.
    """
    return hashlib.blake2b(to_json(run), digest_size=16).hexdigest()


def _identity(block: TrialBlock, run: str) -> NDArray[np.uint8]:
    """What a block's file says of itself, so that no other file is taken for it."""
    text = json.dumps([run, block.method, block.first, block.count])
    return np.frombuffer(text.encode(), np.uint8)


def write_block(folder: Path, block: TrialBlock, results: Results, run: str) -> None:
    """Stores the results of a block.

    Args:
        folder: The run's folder.
        block: The block.
        results: Of its trials.
        run: ``run_digest`` of the run.
    """
    arrays = {
        name: getattr(results, name)
        for name in ("positions", "repeats", "lengths", "epochs", "rounds")
        if getattr(results, name) is not None
    }
    buffer = io.BytesIO()
    # The archive has a checksum for each array.
    np.savez(buffer, **arrays, identity=_identity(block, run))
    write_file(folder / block.file, buffer.getvalue())


def read_block(
    folder: Path,
    block: TrialBlock,
    horizon: int,
    view_shape: tuple[int, int],
    run: str | None = None,
    budgets: tuple[int, ...] | None = None,
) -> Results:
    """Reads the results of a block.

    Args:
        folder: The run's folder.
        block: The block.
        horizon: The largest number of samples of a trial.
        view_shape: (M, R); what positions and repeats must fit into.
        run: ``run_digest`` of the run that they must be of; None: of any.
        budgets: Lengths of training in epochs that there are, the last in full; None: any.

    Raises:
        ValueError: If the file is missing, damaged or not what the block would give.
    """
    path = folder / block.file
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            results = Results(
                arrays["positions"],
                arrays["repeats"],
                arrays["lengths"],
                arrays.get("epochs"),
                arrays.get("rounds"),
            )
            identity = json.loads(arrays["identity"].tobytes())
    except Exception as error:  # Damage can raise nearly anything inside zipfile and numpy.
        raise ValueError(f"{path} cannot be read: {error}") from error
    if identity[1:] != [block.method, block.first, block.count] or run not in (None, identity[0]):
        raise ValueError(f"{path} holds other trials than its name says, or those of another run")
    positions, repeats, lengths = results.positions, results.repeats, results.lengths
    sound = (
        positions.dtype == np.int32
        and repeats.dtype == np.uint8
        and lengths.dtype == np.int32
        and positions.ndim == 2
        and positions.shape == repeats.shape
        and lengths.shape == (block.count,)
        and len(positions) == block.count
        and positions.shape[1] >= 1
        and lengths.min() >= 1
        and lengths.max() == positions.shape[1]
        and positions.min() >= 0
        and positions.max() < view_shape[0]
        and repeats.max() < view_shape[1]
        and _sound_epochs(results, horizon, budgets)
        and _sound_rounds(results)
    )
    if not sound:
        raise ValueError(f"{path} does not hold what its name says")
    return results


def _sound_epochs(results: Results, horizon: int, budgets: tuple[int, ...] | None) -> bool:
    """Whether lengths of runs are those of a table and fit into a trial of ``horizon`` samples."""
    shape = results.positions.shape
    if results.epochs is None:
        return shape[1] <= horizon
    if results.epochs.dtype != np.uint16 or results.epochs.shape != shape:
        return False
    if budgets is None:
        return True
    known = bool(np.isin(results.epochs, budgets).all())
    charged = np.arange(shape[1]) < results.lengths[:, None]
    totals = np.where(charged, results.epochs, 0).sum(axis=1, dtype=np.int64)
    return known and bool(totals.max() <= budgets[-1] * horizon)


def _sound_rounds(results: Results) -> bool:
    """Whether rounds begin with the first query and ascend within the trial."""
    rounds = results.rounds
    if rounds is None:
        return True
    if rounds.dtype != np.int32 or rounds.ndim != 2 or len(rounds) != len(results.lengths):
        return False
    if rounds.shape[1] < 1 or rounds[:, 0].any():
        return False
    ended = rounds == results.lengths[:, None]
    steps = np.diff(rounds, axis=1)
    return bool((rounds <= results.lengths[:, None]).all() and ((steps > 0) | ended[:, 1:]).all())
