"""Floating-point mode of the calling thread: denormal numbers as zero, where the CPU can.

Weight decay drives unused weights, and Adam's moments of them, towards zero through the denormal
range, where arithmetic is many times slower on x86. Results below 1e-38 do not matter here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, cast

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from nprep.kernels.jit import kernel

# Flush-to-zero and denormals-are-zero, bits 15 and 6 of MXCSR; FPCR has one bit (24) for both.
_MXCSR_BITS = 0x8040
_FPCR_BITS = 1 << 24
_MACHINE = platform.machine().lower()
_X86 = _MACHINE in ("x86_64", "amd64")
_ARM = _MACHINE in ("aarch64", "arm64")
if _ARM:
    # Reading FPCR has no LLVM intrinsic, and assembly needs its parser.
    binding.initialize_native_asmparser()


def _control(builder: Any, read: bool, value: Any = None) -> Any:
    """Emits a read (or a write) of the control register as a 64-bit integer."""
    long, word = ir.IntType(64), ir.IntType(32)
    if _X86:
        slot = builder.alloca(word)
        pointer = builder.bitcast(slot, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
        name = "llvm.x86.sse.stmxcsr" if read else "llvm.x86.sse.ldmxcsr"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        if read:
            builder.call(function, [pointer])
            return builder.zext(builder.load(slot), long)
        builder.store(builder.trunc(value, word), slot)
        builder.call(function, [pointer])
        return None
    if _ARM:
        if read:
            kind = ir.FunctionType(long, [])
            return builder.asm(kind, "mrs $0, fpcr", "=r", [], side_effect=True)
        kind = ir.FunctionType(ir.VoidType(), [long])
        builder.asm(kind, "msr fpcr, $0", "r", [value], side_effect=True)
        return None
    return ir.Constant(long, 0) if read else None


@intrinsic
def _read_mode(typing_context: Any) -> Any:
    """Reads the floating-point control register."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _control(builder, read=True)

    return types.int64(), generate


@intrinsic
def _write_mode(typing_context: Any, value: Any) -> Any:
    """Writes the floating-point control register."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _control(builder, read=False, value=arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


# Typed names for the kernels below: what numba makes of an intrinsic hides its own argument.
_read = cast(Callable[[], int], _read_mode)
_write = cast(Callable[[int], None], _write_mode)

_BITS = _MXCSR_BITS if _X86 else _FPCR_BITS if _ARM else 0


@kernel
def flush_denormals() -> int:
    """Treats denormal numbers as zero in this thread from now on.

    Returns:
        The mode before, for ``restore_mode``. On a CPU that is neither x86-64 nor ARM64
        nothing changes.
    """
    before = _read()
    _write(before | _BITS)
    return before


@kernel
def restore_mode(mode: int) -> None:
    """Puts the thread's floating-point mode back.

    Args:
        mode: What ``flush_denormals`` returned.
    """
    _write(mode)
