"""The folder of a run: settings, one file of results per block of trials, and the outputs.

A run may be killed at any moment: its folder is resumed, and no other run is let in meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nprep import _files
from nprep.errors import RunFolderError
from nprep.runs.blocks import run_digest
from nprep.runs.files import SETTINGS, read_settings, to_json, write_file

_LOCK = ".lock"
_TEMPORARY = re.compile(r"\..*\.tmp")


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
    try:
        there, is_folder = folder.exists(), folder.is_dir()
        content = [p.name for p in folder.iterdir()] if is_folder else []
    except OSError as error:
        raise RunFolderError(
            f"{folder} cannot be read ({_files.reason(error)}): choose another --out."
        ) from error
    if there and not is_folder:
        raise RunFolderError(f"{folder} is a file: choose another --out.")
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
            if key in stored and key in wanted:
                yield from _differences(stored[key], wanted[key], inner)
            else:
                # Even null is another thing than nothing: a name may be damaged.
                one, other = (
                    json.dumps(x[key]) if key in x else "absent" for x in (stored, wanted)
                )
                yield f"{inner} {one}, not {other}"
    elif stored != wanted:
        yield f"{name} {json.dumps(stored)}, not {json.dumps(wanted)}"
