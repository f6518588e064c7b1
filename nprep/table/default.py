"""The table that is used where none is named: the fitted surrogate, built once per user.

It lies in the user's cache folder (``NPREP_CACHE``, or the platform's: ``XDG_CACHE_HOME``,
``~/Library/Caches``, ``%LOCALAPPDATA%``). Its name holds a digest of the weights that it is drawn
from and the versions of package and schema, so that another version never reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import nprep
from nprep.errors import TableError
from nprep.model.surrogate import file_digest, shipped_weights
from nprep.table.schema import SCHEMA_VERSION
from nprep.table.table import Table


def cache_folder() -> Path:
    """The folder for what can be built again; it may not exist yet."""
    chosen = os.environ.get("NPREP_CACHE")
    if chosen:
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "nprep" / "Cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/nprep"
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The standard says that relative paths are to be ignored.
    return (Path(base) if os.path.isabs(base) else home / ".cache") / "nprep"


def cache_file() -> Path:
    """Where the default table of this version lies or will lie, in a folder that exists.

    Raises:
        TableError: If the folder can't be made or the weights are missing.
    """
    key = hashlib.sha256(f"{nprep.__version__} {SCHEMA_VERSION}".encode())
    for name in ("surrogate.npz", "completion.npz"):
        key.update(file_digest(shipped_weights(name)).encode())
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TableError(
            f"the cache folder {folder} can't be made ({error.strerror}): set NPREP_CACHE to a "
            "folder that is yours to write."
        ) from error
    return folder / f"surrogate-{nprep.__version__}-{key.hexdigest()[:12]}.h5"


def _wait_for_lock(file: IO[bytes]) -> bool:
    """Takes the file's lock, which ends with the process; returns whether there are locks here."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                time.sleep(0.2)
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        # Some network folders have none. Then two processes may both build; the table takes its
        # name in one step, so the later one wins and neither reads a half.
        return False
    return True


@contextlib.contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Waits until no other process builds a table in the cache, and keeps others waiting.

    What a killed build left behind is removed.

    Args:
        path: The table's file, of :func:`cache_file`.

    Raises:
        TableError: If the folder can't be written.
    """
    try:
        file = path.with_suffix(".lock").open("a+b")
    except OSError as error:
        raise TableError(
            f"{path.parent} can't be written ({error.strerror}): set NPREP_CACHE to a folder that "
            "is yours to write."
        ) from error
    with file:
        if _wait_for_lock(file):
            for left in path.parent.glob(f".{path.name}.*.part"):
                left.unlink(missing_ok=True)
        yield


class _Line:
    """Progress on standard error: one line that changes on a terminal, else a line per step."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._start = time.perf_counter()
        self._say("building the default table, the fitted surrogate of NASBench-101 (once)")

    def _say(self, text: str) -> None:
        end, start = ("", "\r\033[K") if self._terminal else ("\n", "")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    def step(self, text: str) -> None:
        """Says what is going on."""
        seconds = time.perf_counter() - self._start
        self._say(f"building the fitted surrogate of NASBench-101: {text} ({seconds:.0f} s)")

    def done(self, path: Path) -> None:
        """Says where the table is."""
        seconds = time.perf_counter() - self._start
        size = path.stat().st_size / 1e6
        self._say(
            f"the fitted surrogate of NASBench-101 is in {path} ({size:.0f} MB, {seconds:.0f} s)"
        )
        if self._terminal:
            print(file=sys.stderr)


def _usable(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        Table.open(path)
    except TableError:
        return False
    return True


def default_table_path() -> Path:
    """The default table, built on first use with a progress line on standard error.

    Processes that ask at once wait for the first one to build it.

    Raises:
        TableError: If the cache folder can't be written.
    """
    path = cache_file()
    if _usable(path):
        return path
    # Needed only to build.
    from nprep.table.sources.surrogate import build_content
    from nprep.table.writer import write_table

    with alone_with(path):
        if not _usable(path):
            line = _Line()
            content = build_content(0, line.step)
            line.step("writing")
            write_table(path, content)
            line.done(path)
    return path
