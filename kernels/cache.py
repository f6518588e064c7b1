"""The folder for what can be built again: compiled kernels, tables and plans."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def can_write(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits do not tell: the file system may be read-only, or full of inodes.
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _home() -> Path | None:
    """The home folder; None for a user without one, such as a bare number in a container."""
    with contextlib.suppress(RuntimeError, KeyError):
        return Path.home()
    return None


def _platform_cache() -> Path | None:
    """Where this platform keeps what a user's programs can build again."""
    home = _home()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or (home and home / "AppData/Local")
        return Path(local) / "nprep" / "Cache" if local else None
    elif sys.platform == "darwin":
        return home and home / "Library/Caches/nprep"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The standard says that relative paths are to be ignored.
        if os.path.isabs(base):
            return Path(base) / "nprep"
        return home and home / ".cache" / "nprep"


def _private_temporary_folder() -> Path | None:
    """A folder in the temporary folder that only this user can have made and can write."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    try:
        folder = Path(tempfile.gettempdir()) / f"nprep-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode)
    if hasattr(os, "getuid"):
        # Anybody may make folders there; what lies in them is loaded and run.
        private = private and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if private else None


def candidates() -> Iterator[Path]:
    """The folders to try, best first; what lies in one that cannot be written may be read."""
    chosen = os.environ.get("NPREP_CACHE")
    if chosen:
        yield Path(chosen)
    for folder in (_platform_cache(), _private_temporary_folder()):
        if folder is not None:
            yield folder


def cache_folder() -> Path | None:
    """The first folder that can be written, made if it is missing.

    They are ``NPREP_CACHE``, else the platform's cache folder (``XDG_CACHE_HOME``, ``~/.cache``,
    ``~/Library/Caches``, ``%LOCALAPPDATA%``), else a private one in the temporary folder.

    Returns:
        The folder; None where nothing can be written.
    """
    return next((folder for folder in candidates() if can_write(folder)), None)
