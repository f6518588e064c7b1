"""How every CPU kernel is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numba

# A scalar argument or result of a kernel: a Python int or any NumPy integer. Numba compiles for the
# type that it is given; there is no static type that covers them and their arithmetic.
Integer: TypeAlias = Any

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function with numba, caching the machine code on disk.

    Kernels release the GIL, so callers split work over threads or processes; none uses numba's own
    threading layer, whose start-up and reload cost more than most kernels here take.

    Args:
        function: A function of scalars and arrays.

    Returns:
        The compiled function, with the same signature.
    """
    compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled
