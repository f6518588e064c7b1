"""NVRTC through its C interface: compiling CUDA sources to machine code without a driver."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from nprep.kernels.cuda_device import COMPILE_OPTIONS, SOURCES

_ENTRY = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class KernelUsage:
    """What ptxas reports of a kernel.

    Attributes:
        name: Name of the kernel.
        registers: Registers per thread.
        shared: Bytes of static shared memory per block.
        stack: Bytes of local memory per thread.
        spills: Bytes of spill stores and loads.
    """

    name: str
    registers: int
    shared: int
    stack: int
    spills: int


def find_nvrtc() -> ctypes.CDLL | None:
    """The library of the wheel ``nvidia-cuda-nvrtc`` or of a CUDA toolkit, if there is one."""
    places = [Path(folder).glob("nvidia/*/lib/libnvrtc.so.*") for folder in sys.path if folder]
    places += [Path(folder).glob("nvidia/*/bin/**/nvrtc64_*.dll") for folder in sys.path if folder]
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            places.append(Path(os.environ[variable]).glob("lib64/libnvrtc.so"))
    candidates = [str(path) for found in places for path in sorted(found)]
    by_name = ctypes.util.find_library("nvrtc")
    for candidate in [*candidates, *([by_name] if by_name else [])]:
        try:
            return ctypes.CDLL(candidate)
        except OSError:
            continue
    return None


class Nvrtc:
    """The compiler.

    Attributes:
        version: (major, minor).
        architectures: Compute capabilities that it can compile for, ascending, as 80, 90, ...
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._check(library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = major.value, minor.value
        self._check(library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        found = (ctypes.c_int * count.value)()
        self._check(library.nvrtcGetSupportedArchs(found))
        self.architectures = sorted(found)

    def _check(self, status: int) -> None:
        if status != 0:
            self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise AssertionError(self._library.nvrtcGetErrorString(status).decode())

    def compile(self, source: str, architecture: int) -> tuple[bytes, list[KernelUsage]]:
        """Compiles a source file to machine code.

        Args:
            source: Its name, without suffix.
            architecture: Compute capability, as 90.

        Returns:
            The cubin and what each kernel uses.

        Raises:
            AssertionError: With the compiler's log, if it does not compile or there are warnings.
        """
        library = self._library
        program = ctypes.c_void_p()
        text = (SOURCES / f"{source}.cu").read_bytes()
        self._check(
            library.nvrtcCreateProgram(
                ctypes.byref(program), text, f"{source}.cu".encode(), 0, None, None
            )
        )
        options = [*COMPILE_OPTIONS, f"-arch=sm_{architecture}", "--ptxas-options=-v"]
        try:
            status = library.nvrtcCompileProgram(
                program,
                len(options),
                (ctypes.c_char_p * len(options))(*(option.encode() for option in options)),
            )
            size = ctypes.c_size_t()
            self._check(library.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
            buffer = ctypes.create_string_buffer(size.value)
            self._check(library.nvrtcGetProgramLog(program, buffer))
            log = buffer.value.decode()
            if status != 0 or "warning" in log:
                raise AssertionError(f"{source}.cu for sm_{architecture}:\n{log}")
            self._check(library.nvrtcGetCUBINSize(program, ctypes.byref(size)))
            cubin = ctypes.create_string_buffer(size.value)
            self._check(library.nvrtcGetCUBIN(program, cubin))
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))
        usage = []
        for name, stack, stores, loads, registers, rest in _ENTRY.findall(log):
            shared = re.search(r"(\d+) bytes smem", rest)
            usage.append(
                KernelUsage(
                    name,
                    int(registers),
                    int(shared.group(1)) if shared else 0,
                    int(stack),
                    int(stores) + int(loads),
                )
            )
        return cubin.raw, usage
