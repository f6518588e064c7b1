"""The vector instructions that the kernels are compiled for, chosen when nprep is first imported.

==========  ==========================================  ================================
``avx512``  x86-64 with AVX-512                         32 registers of 16 floats
``avx2``    x86-64 with AVX2 and fused multiply-adds    16 registers of 8 floats
``neon``    ARM64                                       32 registers of 4 floats
``plain``   any other processor, and x86-64 before AVX2 16 registers of 4 floats, or none
==========  ==========================================  ================================

The best set that the processor has is taken. ``NPREP_SIMD`` names another one, for tests and
measurements: x86-64 runs all four (``neon`` with that set's tiles on 128-bit registers), ARM64 runs
``neon`` and ``plain``. A set that the processor lacks is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numba
from llvmlite import binding

from nprep.errors import SettingsError

ENVIRONMENT = "NPREP_SIMD"
SETS = ("avx512", "avx2", "neon", "plain")
# What LLVM calls a processor with these instructions and no better ones. Numba's cache of machine
# code tells its files apart by this name, so each set needs one of its own.
_X86_NAMES = {"avx2": "x86-64-v3", "neon": "x86-64-v2", "plain": "x86-64"}
_ARM_NAMES = {"plain": "generic"}


def best_set(triple: str, features: Mapping[str, bool]) -> str:
    """The best instruction set of a processor.

    Args:
        triple: LLVM's name of the platform, such as "x86_64-unknown-linux-gnu".
        features: Whether it has each of LLVM's features.
    """
    if is_arm(triple):
        return "neon"
    if features.get("avx512f", False):
        return "avx512"
    return "avx2" if features.get("avx2", False) and features.get("fma", False) else "plain"


def is_arm(triple: str) -> bool:
    """Whether a platform has ARM64 processors."""
    return triple.startswith(("aarch64", "arm64"))


def choose(wanted: str, triple: str, features: Mapping[str, bool]) -> tuple[str, str | None]:
    """The instruction set to compile for.

    Args:
        wanted: A name of ``SETS``, or "" for the best one.
        triple: As in ``best_set``.
        features: Likewise.

    Returns:
        Its name, and the processor that LLVM must compile for, None for this one.

    Raises:
        SettingsError: If there is no such set, or the processor lacks it.
    """
    best = best_set(triple, features)
    if wanted in ("", best):
        return best, None
    if wanted not in SETS:
        known = ", ".join(SETS)
        raise SettingsError(f"{ENVIRONMENT} is {wanted!r}: use one of {known}, or unset it.")
    if is_arm(triple):
        names = _ARM_NAMES
    elif triple.startswith("x86_64"):
        names = {name: _X86_NAMES[name] for name in SETS[SETS.index(best) + 1 :]}
    else:
        names = {}
    if wanted not in names:
        runs = ", ".join((best, *names))
        raise SettingsError(
            f"{ENVIRONMENT} is {wanted!r}, which this processor lacks: it runs {runs}."
        )
    return wanted, names[wanted]


def _features() -> Mapping[str, bool]:
    """LLVM's features of this processor; none where it does not tell them."""
    try:
        return dict(binding.get_host_cpu_features())
    except RuntimeError:
        return {}


# Its variables are made at import, which type checkers cannot see.
_config: Any = numba.config


def _select() -> str:
    """Applies the choice to numba, which compiles nothing before its first kernel."""
    triple = binding.get_default_triple()
    wanted = os.environ.get(ENVIRONMENT, "").strip().lower()
    if not wanted and _config.CPU_NAME is not None:
        # Whoever told numba another processor (NUMBA_CPU_NAME) gets code that runs on any.
        return "neon" if is_arm(triple) else "plain"
    name, processor = choose(wanted, triple, _features())
    if processor is not None:
        _config.CPU_NAME = processor
        _config.CPU_FEATURES = ""
    return name


SIMD = _select()
# Products of bfloat16 numbers: only with the processor's own best set.
HAS_BFLOAT16 = SIMD == "avx512" and bool(_features().get("avx512bf16", False))
