"""Compiling the CUDA sources to machine code without a GPU or a driver: NVRTC's C interface.

``python -m nprep.kernels.cuda.nvrtc`` prints what each kernel uses, as a Markdown table.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from nprep.kernels.cuda.device import COMPILE_OPTIONS, SOURCES

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
            # It opens its own part by name alone, and finds it if it is loaded.
            for part in sorted(Path(candidate).parent.glob("libnvrtc-builtins.so.*")):
                ctypes.CDLL(str(part), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(candidate)
        except OSError:
            continue
    return None


class Nvrtc:
    """The compiler of a library that ``find_nvrtc`` found.

    Attributes:
        version: (major, minor).
        architectures: Compute capabilities that it can compile for, ascending, as 80, 90, ...
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        """Asks the library for its version and targets."""
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
            raise RuntimeError(self._library.nvrtcGetErrorString(status).decode())

    def compile(self, source: str, architecture: int) -> tuple[bytes, list[KernelUsage]]:
        """Compiles a source file to machine code.

        Args:
            source: Its name, without suffix.
            architecture: Compute capability, as 90.

        Returns:
            The cubin and what each kernel uses.

        Raises:
            RuntimeError: With the compiler's log, if it does not compile or there are warnings.
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
                raise RuntimeError(f"{source}.cu for sm_{architecture}:\n{log}")
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


def source_names() -> list[str]:
    """The names of all CUDA sources."""
    return sorted(path.stem for path in SOURCES.glob("*.cu"))


def usage_table(nvrtc: Nvrtc, architectures: list[int]) -> str:
    """Registers of every kernel for some targets, as a Markdown table.

    Args:
        nvrtc: The compiler.
        architectures: Compute capabilities, as 80, 90.

    Returns:
        The table; local memory and spills are named only where there are any.
    """
    titles = [f"sm_{architecture}" for architecture in architectures]
    lines = [
        f"Registers per thread (NVRTC {'.'.join(map(str, nvrtc.version))}):",
        "",
        f"| kernel | {' | '.join(titles)} | shared bytes per block |",
        f"|---|{'---|' * (len(titles) + 1)}",
    ]
    for source in source_names():
        usages = [
            {usage.name: usage for usage in nvrtc.compile(source, architecture)[1]}
            for architecture in architectures
        ]
        for name in sorted(usages[0]):
            cells = []
            for usage in (of_target[name] for of_target in usages):
                local = f" ({usage.stack} B local, {usage.spills} B spilled)"
                cells.append(f"{usage.registers}{local if usage.stack or usage.spills else ''}")
            shared = usages[0][name].shared
            lines.append(f"| {source}.{name} | {' | '.join(cells)} | {shared} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the table for sm_80, sm_90 and the newest target."""
    library = find_nvrtc()
    if library is None:
        print("error: NVRTC was not found; pip install nvidia-cuda-nvrtc", file=sys.stderr)
        return 2
    nvrtc = Nvrtc(library)
    print(usage_table(nvrtc, [80, 90, nvrtc.architectures[-1]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
