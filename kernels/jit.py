"""How every CPU kernel is compiled, and where its machine code is kept."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
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


@functools.lru_cache(maxsize=1)
def _place() -> tuple[bool, Path | None]:
    """Where machine code is kept.

    Returns:
        Whether it can be kept at all, and the folder; None for numba's own choice, which is beside
        the source unless NUMBA_CACHE_DIR says otherwise.
    """
    chosen = _config.CACHE_DIR
    if can_write(Path(chosen) if chosen else Path(__file__).parent / "__pycache__"):
        return True, None
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
    return folder is not None, folder


@contextlib.contextmanager
def _kept_in_place() -> Iterator[None]:
    """Has numba keep the machine code of what is decorated inside in the right folder."""
    _, folder = _place()
    before = _config.CACHE_DIR
    if folder is not None:
        _config.CACHE_DIR = str(folder / "kernels")
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
    with _kept_in_place():
        compile_it = numba.njit(cache=_place()[0], nogil=True, error_model="numpy")
        compiled: Callable[P, R] = compile_it(function)
    return compiled
