"""Files that are whole or not there, locks between processes, and the cache folder."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import stat
import struct
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from nprep.errors import NprepError, OutputError
from nprep.kernels import cache

_log = logging.getLogger("nprep")

# Begins with a dot and ends so: what a killed process left half-written.
TEMPORARY_SUFFIX = ".tmp"
# What flock answers on file systems without locks (Lustre, some NFS).
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
_POLL_SECONDS = 0.2
_ADVICE = "name another place, or free some space"

# What a damaged or foreign .npz archive makes numpy and zipfile raise; RuntimeError and
# NotImplementedError, its subclass, when a flag claims encryption or a version of the far future.
ARCHIVE_ERRORS = (
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


# Errors that say nothing of the file's content.
_SURROUNDINGS = {
    errno.EMFILE: "too many files are open: raise the limit, see ulimit -n",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOLCK: "the file system has no locks",
    errno.ENOSYS: "the file system lacks an operation, such as locks",
    errno.EOPNOTSUPP: "the file system lacks an operation, such as locks",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOMEM: "too little memory",
    errno.EIO: "the disk or network failed",
    errno.ESTALE: "the network folder was mounted anew: open it again",
}


def fault_of_surroundings(error: BaseException) -> str:
    """Why an operation failed, if not for the file's content; else empty.

    Args:
        error: Of Python, or of HDF5, which writes the system's number into its text.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        found = re.search(r"errno = (\d+)", str(error))
        number = int(found[1]) if found else None
    return _SURROUNDINGS.get(number, "") if number is not None else ""


def reason(error: BaseException) -> str:
    """Why an operation failed, in a few words."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return _SURROUNDINGS[error.errno]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]


def refuse_special(
    path: Path, error: type[NprepError] = OutputError, advice: str = "name a file"
) -> None:
    """Refuses to write over what is no regular file.

    Raises:
        NprepError: Of type ``error``, for a folder, a device, a FIFO or a socket.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        # Missing, or not to be looked at, which writing will tell.
        return
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    kind = kinds.get(stat.S_IFMT(mode))
    if kind is not None:
        raise error(f"{path} is {kind}, which is not written over: {advice}.")


def temporary_beside(path: Path) -> Path:
    """A name for the unfinished form of a file, which no other process and thread uses."""
    # Names have at most 255 bytes.
    return path.with_name(
        f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    )


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Removes what killed writers left.

    Args:
        folder: Looked through with all folders inside. No writer may be at work in it.
        name: Only of the file of this name, and not in folders inside.
    """
    pattern = f".{name[:100]}.*{TEMPORARY_SUFFIX}" if name else f".*{TEMPORARY_SUFFIX}"
    for leftover in folder.glob(pattern) if name else folder.rglob(pattern):
        with contextlib.suppress(OSError):
            leftover.unlink()


@contextlib.contextmanager
def replaced_when_done(
    path: Path,
    *,
    durable: bool = False,
    error: type[NprepError] = OutputError,
    advice: str = _ADVICE,
) -> Iterator[Path]:
    """A temporary file that takes the place of another in one step, if all goes well.

    A link is written through: what it points to is replaced.

    Args:
        path: The place; what is there stays until the new file is whole.
        durable: Whether the file must outlast a power cut that follows at once.
        error: What to raise.
        advice: What a user should do if it cannot be written.

    Yields:
        The temporary file, which exists and is empty.

    Raises:
        NprepError: Of type ``error``, if the file cannot be written, or is no regular file.
    """
    refuse_special(path, error)
    target = Path(os.path.realpath(path))
    temporary = temporary_beside(target)
    try:
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            if durable:
                _flush(temporary)
            os.replace(temporary, target)
            if durable:
                _flush(target.parent)
        except OSError as problem:
            if isinstance(problem, NprepError):
                raise
            raise error(f"{path} cannot be written ({reason(problem)}): {advice}.") from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    if os.name == "nt" and path.is_dir():
        # Windows has no handles of folders to flush.
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(
    path: Path,
    content: bytes | Callable[[BinaryIO], object],
    *,
    durable: bool = False,
    error: type[NprepError] = OutputError,
    advice: str = _ADVICE,
) -> None:
    """Writes a file that appears at once and complete; folders above it are made.

    Args:
        path: The file.
        content: Of the file, or what writes it.
        durable: See ``replaced_when_done``, as for what follows.
        error: What to raise.
        advice: What a user should do if it cannot be written.

    Raises:
        NprepError: Of type ``error``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise error(f"{path} cannot be written ({reason(problem)}): {advice}.") from problem
    with replaced_when_done(path, durable=durable, error=error, advice=advice) as temporary:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
            return
        try:
            with temporary.open("wb") as file:
                content(file)
        except RuntimeError as problem:
            # torch reports a failed write so and names no reason.
            raise error(f"{path} cannot be written ({reason(problem)}): {advice}.") from problem


class LockHeldError(Exception):
    """A lock that another process holds."""


@contextlib.contextmanager
def locked(
    path: Path, *, timeout: float = 0.0, waiting: Callable[[], object] | None = None
) -> Iterator[None]:
    """Holds a lock between processes, which ends with this process however that ends.

    Where the file system has no locks a file stands in that names host and process; one whose
    process is gone is taken over.

    Args:
        path: The lock's file; it stays.
        timeout: Seconds to wait for it; negative: without end.
        waiting: Is called once if somebody else holds it and that is waited for.

    Raises:
        LockHeldError: If somebody else holds it to the end.
        OSError: If the lock's file cannot be made.
    """
    lock = _acquired(path, timeout, waiting)
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path, timeout: float, waiting: Callable[[], object] | None) -> Any:
    """The lock of a file, held."""
    import filelock

    lock: Any = filelock.FileLock(path, fallback_to_soft=False)
    until = time.monotonic() + timeout if timeout >= 0 else float("inf")
    told = False
    while True:
        try:
            with warnings.catch_warnings():
                # On what the package does, not on what a user did.
                warnings.simplefilter("ignore")
                lock.acquire(timeout=0)
            return lock
        except filelock.Timeout:
            if time.monotonic() >= until:
                raise LockHeldError(str(path)) from None
            if waiting is not None and not told:
                told = True
                waiting()
            time.sleep(_POLL_SECONDS)
        except OSError as error:
            if error.errno not in _NO_LOCKS or isinstance(lock, filelock.SoftFileLock):
                raise
            _log.info(f"{path.parent} is on a file system without locks: a lock file stands in.")
            lock = filelock.SoftFileLock(path.with_name(f"{path.name}-file"))


def cache_folder() -> Path:
    """The folder for what can be built again (see ``nprep.kernels.cache.cache_folder``).

    Raises:
        OutputError: If there is none that can be written.
    """
    folder = cache.cache_folder()
    preferred = next(cache.candidates(), None)
    if folder is None:
        raise OutputError(
            "neither the cache folder nor the temporary folder can be written: set NPREP_CACHE to "
            "a folder that is yours to write."
        )
    if folder != preferred:
        _log.warning(f"the cache folder {preferred} cannot be written: {folder} is used instead")
    return folder


def find_cached(name: str) -> Path | None:
    """A file of the cache folder, or of a better one that can only be read; None if in none."""
    for folder in cache.candidates():
        with contextlib.suppress(OSError):
            if (folder / name).is_file():
                return folder / name
        if cache.can_write(folder):
            break
    return None
