"""How every CPU kernel is compiled, and where its machine code is kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

from nprep.errors import SettingsError

try:
    import numba
except (ValueError, Warning) as error:
    # It reads the environment at import; a warning arrives here where warnings are errors.
    raise SettingsError(
        f"numba does not start ({str(error).splitlines()[0].rstrip('.')}): correct or unset its "
        "variables in the environment, such as NUMBA_NUM_THREADS."
    ) from error

# The first import tells numba the processor, before the first kernel.
import nprep.kernels.simd  # noqa: F401 - imported for that alone
from nprep.kernels.cache import cache_folder, can_write, candidates

# A scalar argument or result of a kernel: a Python int or any NumPy integer. Numba compiles for the
# type that it is given; there is no static type that covers them and their arithmetic.
Integer: TypeAlias = Any

P = ParamSpec("P")
R = TypeVar("R")

# Its variables are made at import, which type checkers cannot see.
_config: Any = numba.config

if _config.DISABLE_JIT:
    raise SettingsError(
        "NUMBA_DISABLE_JIT is set, and some kernels are vector instructions that Python cannot "
        "run: unset it."
    )


# The folder of all kernels but those of a few modules elsewhere in the package.
_KERNELS = Path(__file__).parent
# Sets of machine code of one package that are kept; older ones are removed.
_KEPT_SETS = 3


@functools.lru_cache(maxsize=1)
def _place() -> Path | None:
    """The folder in which machine code is kept; None where it cannot be.

    It is the one that NUMBA_CACHE_DIR names, else one beside the source, else in the cache folder.
    """
    chosen = Path(_config.CACHE_DIR or _KERNELS / "__pycache__")
    if can_write(chosen):
        return chosen
    folder = cache_folder()
    warn = logging.getLogger("nprep").warning
    if multiprocessing.parent_process() is not None:
        # The first process has said it.
        pass
    elif folder is None:
        warn(
            "no folder can be written, so every process compiles the kernels anew: set NPREP_CACHE "
            "to a folder that is yours to write"
        )
    elif folder != next(candidates(), None):
        warn(f"no usual cache folder can be written: kernels are compiled into {folder}")
    return folder and folder / "kernels"


@functools.lru_cache
def _digest(folder: Path) -> str:
    """A hash of the sources that the machine code of a folder's kernels may hold parts of.

    Numba compiles the kernels that a kernel calls into it, but looks at the kernel's own file alone
    when it decides whether machine code on disk is still right.
    """
    found = hashlib.blake2b(digest_size=8)
    sources = sorted(_KERNELS.rglob("*.py"))
    if folder != _KERNELS and _KERNELS not in folder.parents:
        sources += sorted(folder.glob("*.py"))
    for source in sources:
        with contextlib.suppress(OSError):
            found.update(source.read_bytes())
    return found.hexdigest()


@functools.lru_cache
def _set_of(place: Path, package: str, folder: Path) -> Path:
    """The folder for the machine code of a package's kernels as their sources are now."""
    current = place / f"{package}-{_digest(folder)}"
    with contextlib.suppress(OSError):
        if not current.exists():
            current.mkdir(parents=True, exist_ok=True)
            others = [entry for entry in place.glob(f"{package}-*") if entry != current]
            others.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
            for outdated in others[_KEPT_SETS - 1 :]:
                shutil.rmtree(outdated, ignore_errors=True)
    return current


@contextlib.contextmanager
def _kept_in_place(function: Callable[..., object]) -> Iterator[None]:
    """Has numba keep the machine code of a function that is decorated inside in its folder."""
    place = _place()
    before = _config.CACHE_DIR
    if place is not None:
        package = function.__module__.rpartition(".")[0] or function.__module__
        folder = Path(function.__code__.co_filename).resolve().parent
        _config.CACHE_DIR = str(_set_of(place, package, folder))
    try:
        yield
    finally:
        _config.CACHE_DIR = before


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function with numba, keeping the machine code on disk.

    Kernels release the GIL, so callers split work over threads or processes; none uses numba's own
    threading layer, whose start-up and reload cost more than most kernels here take.

    Args:
        function: A function of scalars and arrays.

    Returns:
        The compiled function, with the same signature.
    """
    with _kept_in_place(function):
        compile_it = numba.njit(cache=_place() is not None, nogil=True, error_model="numpy")
        compiled: Callable[P, R] = compile_it(function)
    return compiled
