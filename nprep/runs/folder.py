"""The folder of a run: settings, one file of results per block of trials, and the outputs.

Every file appears under its name only when it is complete, so a run may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep import _files
from nprep.errors import RunFolderError
from nprep.search.trace import Trace

SETTINGS = "settings.json"
SUMS = "SHA256SUMS"
_LOCK = ".lock"
# Of the folder's layout.
FORMAT = 2

_TEMPORARY = re.compile(r"\..*\.tmp")


def write_file(path: Path, content: bytes) -> None:
    """Writes a file of a run's folder, which appears at once and complete.

    Raises:
        RunFolderError: If it cannot be written.
    """
    _files.write_file(
        path,
        content,
        error=RunFolderError,
        advice="free space or choose another --out; --resume continues",
    )


@dataclass(frozen=True)
class Block:
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


def _identity(block: Block, run: str) -> NDArray[np.uint8]:
    """What a block's file says of itself, so that no other file is taken for it."""
    text = json.dumps([run, block.method, block.first, block.count])
    return np.frombuffer(text.encode(), np.uint8)


def write_block(folder: Path, block: Block, results: Results, run: str) -> None:
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
    block: Block,
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


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second run out of the folder; a killed run keeps nobody out.

    Raises:
        RunFolderError: If another run is using it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(_files.locked(folder / _LOCK))
        except _files.LockHeldError as error:
            raise RunFolderError(
                f"{folder} is in use by another run: wait for it or choose another --out."
            ) from error
        except OSError as error:
            raise RunFolderError(
                f"{folder} cannot be written ({_files.reason(error)}): choose another --out."
            ) from error
        yield


@contextlib.contextmanager
def opened(folder: Path, settings: dict[str, Any], resume: bool) -> Iterator[None]:
    """Holds a run's folder, made ready by ``open_folder``, against a second writer.

    A folder that was made here vanishes if the run fails before a block of trials is stored.

    Args:
        folder: The folder.
        settings: See ``open_folder``.
        resume: See ``open_folder``.

    Raises:
        RunFolderError: If the folder cannot be used.
    """
    # Before the lock too: a folder that is not ours gets no lock file.
    _holds_run(folder, settings, resume)
    created = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"{folder} cannot be written ({error.strerror}): choose another --out."
        ) from error
    with locked(folder):
        try:
            open_folder(folder, settings, resume)
            yield
        except BaseException:
            if created:
                _remove_if_unused(folder)
            raise


def _remove_if_unused(folder: Path) -> None:
    """Takes back a folder in which nothing has finished."""
    if any(folder.glob("trials/*/*.npz")) or any(folder.glob("splits/*.json")):
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _trials_are_of(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether a folder holds trials, all of them of this run.

    Each block's file says which run it is of, so trials outlive a damaged ``settings.json``.
    """
    runs = set()
    for path in folder.glob("trials/*/*.npz"):
        # What cannot be read is run again.
        with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as arrays:
            runs.add(json.loads(arrays["identity"].tobytes())[0])
    return runs == {run_digest(settings["run"])}


def _holds_run(folder: Path, settings: dict[str, Any], resume: bool) -> bool:
    """Whether a folder holds a run, which is resumed, or nothing.

    Raises:
        RunFolderError: If it is no folder, or has content that cannot be resumed or must not be.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file: choose another --out.")
    try:
        content = [p.name for p in folder.iterdir()] if folder.exists() else []
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be read ({error.strerror}).") from error
    content = [name for name in content if not name.startswith(_LOCK)]
    finished = SETTINGS in content
    # A run killed before its settings were written leaves an empty folder or a temporary file.
    occupied = [name for name in content if not _TEMPORARY.fullmatch(name)]
    if occupied and not resume:
        raise RunFolderError(
            f"{folder} is not empty: continue that run with --resume or choose another --out."
        )
    if occupied and not finished and not _trials_are_of(folder, settings):
        raise RunFolderError(
            f"{folder} holds files but no {SETTINGS}, so it is no run to resume: choose another "
            "--out."
        )
    return finished


def open_folder(folder: Path, settings: dict[str, Any], resume: bool) -> None:
    """Makes a run's folder ready, or finds it fit for a resume; call it under the lock.

    Args:
        folder: The folder.
        settings: The content of ``settings.json``; what lies under "run" and "shard" must be the
            same when a run is resumed, the rest is for the reader.
        resume: Whether the folder may hold results.

    Raises:
        RunFolderError: If it is no folder, has content without a resume, or has other settings.
    """
    if _holds_run(folder, settings, resume):
        if not _agrees(folder, settings):
            write_file(folder / SETTINGS, to_json(settings))
        _files.remove_leftovers(folder)
    else:
        write_file(folder / SETTINGS, to_json(settings))


def to_json(content: object) -> bytes:
    """JSON with a fixed layout; null stands for infinities and NaN, which JSON lacks."""
    return (json.dumps(_finite(content), indent=2, allow_nan=False) + "\n").encode()


def _finite(content: object) -> object:
    """The content with None in place of what is not finite."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of a run's ``settings.json``.

    Raises:
        RunFolderError: If it is missing, damaged or of another version.
    """
    path = folder / SETTINGS
    try:
        content = json.loads(path.read_bytes())
        sound = isinstance(content["run"], dict)
        version = content["format"]
    except FileNotFoundError as error:
        raise RunFolderError(f"{folder} holds no {SETTINGS}, so it is no run.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} cannot be read, so the run cannot be resumed: choose another --out."
        ) from error
    if not sound or version != FORMAT:
        raise RunFolderError(
            f"{path} is damaged or of another version, so the run cannot be resumed: choose "
            "another --out."
        )
    return dict(content)


def _agrees(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether a folder's settings are those asked for; False if they are damaged.

    Raises:
        RunFolderError: If the run differs from the one asked for.
    """
    try:
        stored = read_settings(folder)
    except RunFolderError:
        if _trials_are_of(folder, settings):
            return False
        raise
    differences = list(_differences(stored.get("shard"), settings.get("shard"), "shard"))
    if not differences:
        differences = list(differences_of(stored["run"], settings["run"]))
        if differences and _trials_are_of(folder, settings):
            return False
    if differences:
        raise RunFolderError(
            f"{folder} was run with {'; '.join(differences[:4])}: resume with the same settings or "
            "choose another --out."
        )
    return True


def differences_of(stored: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """What differs between what two runs depend on, in words.

    Args:
        stored: As ``settings.json`` has it.
        wanted: The other; anything that JSON can hold.
    """
    yield from _differences(stored, json.loads(to_json(wanted)), "")


def _differences(stored: Any, wanted: Any, name: str) -> Iterator[str]:
    """What differs between two JSON values, in words."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in {**stored, **wanted}:
            inner = f"{name}.{key}" if name else key
            yield from _differences(stored.get(key), wanted.get(key), inner)
    elif stored != wanted:
        yield f"{name} {json.dumps(stored)}, not {json.dumps(wanted)}"


def write_sums(folder: Path, files: Iterable[Path]) -> Path:
    """Writes the checksums of a run's outputs, as ``sha256sum --check SHA256SUMS`` reads them.

    Args:
        folder: The run's folder.
        files: In it.
    """
    lines = []
    for path in files:
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise RunFolderError(
                f"{path} cannot be read ({_files.reason(error)}): --resume continues."
            ) from error
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    write_file(folder / SUMS, "".join(lines).encode())
    return folder / SUMS


def read_output(folder: Path, name: str) -> bytes:
    """The content of an output, such as ``curves.csv``, as the run wrote it.

    Raises:
        RunFolderError: If it is missing, or not what the run wrote.
    """
    again = "run the replay again with --resume, which keeps its trials"
    try:
        content = (folder / name).read_bytes()
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{folder} has no {name} or no {SUMS} that can be read: {again}."
        ) from error
    if f"{hashlib.sha256(content).hexdigest()}  {name}" not in lines:
        raise RunFolderError(
            f"{folder / name} is not what the run wrote: its checksum in {SUMS} differs; {again}."
        )
    return content
