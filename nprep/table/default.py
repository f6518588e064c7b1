"""The table that is used where none is named: the fitted surrogate, built once per user.

It lies in the cache folder (see ``nprep.kernels.cache.cache_folder``).
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import nprep
from nprep import _files
from nprep._console import Display, duration, log
from nprep.errors import TableError
from nprep.model.surrogate import file_digest, shipped_weights
from nprep.table.schema import SCHEMA_VERSION
from nprep.table.table import Table


def file_name() -> str:
    """The name of the default table of this version.

    It holds a digest of the weights that the table is drawn from and the versions of package and
    schema, so that another version never reads it.

    Raises:
        TableError: If the weights are missing.
    """
    key = hashlib.sha256(f"{nprep.__version__} {SCHEMA_VERSION}".encode())
    for name in ("surrogate.npz", "completion.npz"):
        key.update(file_digest(shipped_weights(name)).encode())
    return f"surrogate-{nprep.__version__}-{key.hexdigest()[:12]}.h5"


def cache_file() -> Path:
    """Where the default table of this version lies or will lie, in a folder that exists.

    Raises:
        OutputError: If there is no folder that can be written.
        TableError: If the weights are missing.
    """
    return _files.cache_folder() / file_name()


@contextlib.contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Waits until no other process builds a table in the cache, and keeps others waiting.

    What a killed build left behind is removed.

    Args:
        path: The table's file, of ``cache_file``.

    Raises:
        TableError: If the folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(
                _files.locked(
                    path.with_suffix(".lock"),
                    timeout=-1,
                    waiting=lambda: log.info(
                        f"waiting for another process that is building {path.name}"
                    ),
                )
            )
        except OSError as error:
            raise TableError(
                f"{path.parent} cannot be written ({_files.reason(error)}): set NPREP_CACHE to a "
                "folder that is yours to write."
            ) from error
        _files.remove_leftovers(path.parent, path.name)
        yield


class _Progress:
    """What the building of the default table is at."""

    def __init__(self) -> None:
        """Shows the beginning."""
        self._start = time.perf_counter()
        self._step = "beginning, this is done once"
        self._display = Display(self._text)

    def _text(self) -> str:
        seconds = duration(time.perf_counter() - self._start)
        return f"building the fitted surrogate of NASBench-101: {self._step} ({seconds})"

    def step(self, text: str) -> None:
        """Says what is going on."""
        self._step = text
        self._display.update(force=True)

    def close(self) -> None:
        """Ends what is drawn."""
        self._display.close()

    def done(self, path: Path) -> None:
        """Says where the table is."""
        seconds = duration(time.perf_counter() - self._start)
        size = path.stat().st_size / 1e6
        log.info(f"the fitted surrogate of NASBench-101 is in {path} ({size:.0f} MB, {seconds})")


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
        TableError: If the cache folder cannot be written.
    """
    found = _files.find_cached(file_name())
    if found is not None and _usable(found):
        return found
    path = cache_file()
    # Needed only to build.
    from nprep.table.sources.surrogate import build_content
    from nprep.table.writer import write_table

    with alone_with(path):
        if not _usable(path):
            progress = _Progress()
            with contextlib.closing(progress):
                content = build_content(0, progress.step)
                progress.step("writing")
                write_table(path, content)
            progress.done(path)
    return path
