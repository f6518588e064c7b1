"""A device for the launchers that runs the CUDA sources on the CPU, through ``host_shim.h``."""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nprep.kernels.cuda.device import MAX_THREADS, SOURCES, check_precision

SHIM = Path(__file__).with_name("host_shim.h")

_KERNEL = re.compile(
    r'^(?:KERNEL|extern "C" __global__ void __launch_bounds__\((\w+)\))\s+(\w+)\((.*?)\)\s*\{',
    re.DOTALL | re.MULTILINE,
)
# What a NumPy argument must be for each C type.
_TYPES: dict[str, DTypeLike] = {
    "uint8": np.uint8,
    "uint16": np.uint16,
    "int32": np.int32,
    "uint32": np.uint32,
    "int64": np.int64,
    "uint64": np.uint64,
    "float": np.float32,
    "double": np.float64,
    "float4": np.float32,
    "Bfloat16Quad": np.uint16,
}
_SCALARS = {
    "int32": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


def find_compiler() -> str | None:
    """The system's C++ compiler: $CXX, g++, clang++ or c++; None if there is none."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    return None


def kernel_signatures(source: str) -> dict[str, list[tuple[str, bool, bool]]]:
    """The parameters of every kernel of a source: type, whether a pointer, whether to const."""
    text = (SOURCES / f"{source}.cu").read_text()
    found = {}
    for _, name, parameters in _KERNEL.findall(text):
        parsed = []
        for parameter in parameters.split(","):
            words = parameter.replace("__restrict__", "").replace("*", " * ").split()
            constant = words[0] == "const"
            parsed.append((words[constant], "*" in words, constant))
        found[name] = parsed
    if len(found) != text.count("__global__") + len(re.findall(r"^KERNEL ", text, re.MULTILINE)):
        raise AssertionError(f"a kernel of {source}.cu is written in a way that is not recognised")
    return found


def build_library(compiler: str, source: str, folder: Path) -> ctypes.CDLL:
    """Compiles a source, with a function per kernel that runs blocks ``first`` to ``last``."""
    lines = [f'#include "{SHIM}"', f'#include "{SOURCES / source}.cu"']
    for name, parameters in kernel_signatures(source).items():
        declared = ", ".join(
            f"{'const ' if constant else ''}{kind} {'*' if pointer else ''}a{i}"
            for i, (kind, pointer, constant) in enumerate(parameters)
        )
        passed = ", ".join(f"a{i}" for i in range(len(parameters)))
        lines.append(
            f'extern "C" void run_{name}(unsigned blocks, unsigned threads, unsigned first, '
            f"unsigned last, {declared}) {{\n"
            "  gridDim.x = blocks; blockDim.x = threads;\n"
            "  for (blockIdx.x = first; blockIdx.x < last; blockIdx.x++)\n"
            "    for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)\n"
            f"      {name}({passed});\n}}"
        )
    wrapper = folder / f"{source}.cpp"
    wrapper.write_text("\n".join(lines) + "\n")
    library = folder / f"{source}.so"
    # No contraction into fused multiply-adds: sums are then those of the written order.
    command = [
        compiler, "-x", "c++", "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC",
        "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-unused-function", "-Werror",
        str(wrapper), "-o", str(library),
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise AssertionError(f"{source}.cu does not compile for the CPU:\n{finished.stderr}")
    return ctypes.CDLL(str(library))


class HostDevice:
    """Runs kernels on the CPU; arrays are NumPy arrays.

    It is stricter than a GPU: every argument must have the type in the kernel's signature, fresh
    arrays are full of NaN or 0xA5, and inputs must be C-contiguous where a kernel takes them.

    Attributes:
        name: "host".
        blocks: Most blocks of a launch.
        threads: Most threads of a block; small, as the CPU strides through memory once a thread.
        workers: Python threads that share the blocks.
    """

    name = "host"

    def __init__(self, compiler: str, folder: Path) -> None:
        self.compiler = compiler
        self.folder = folder
        self.blocks = 2
        self.threads = 2
        self.workers = 2
        self._libraries: dict[str, ctypes.CDLL] = {}
        self._signatures: dict[str, dict[str, list[tuple[str, bool, bool]]]] = {}

    def upload(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.array(array, order="C")

    def download(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.copy()

    def empty(self, shape: int | Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        out: NDArray[Any] = np.empty(shape, dtype)
        if out.dtype.kind == "f":
            out.fill(np.nan)
        else:
            out.view(np.uint8).fill(0xA5)
        return out

    def zeros(self, shape: int | Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def launch(
        self, source: str, kernel: str, items: int, *arguments: Any, threads: int = MAX_THREADS
    ) -> None:
        if items == 0:
            return
        if source not in self._libraries:
            self._signatures[source] = kernel_signatures(source)
            self._libraries[source] = build_library(self.compiler, source, self.folder)
        parameters = self._signatures[source][kernel]
        if len(parameters) != len(arguments):
            raise TypeError(f"{kernel} takes {len(parameters)} arguments, not {len(arguments)}")
        converted: list[Any] = []
        for place, (argument, (kind, pointer, _)) in enumerate(
            zip(arguments, parameters, strict=True)
        ):
            wanted = np.ndarray if pointer else np.generic
            if not isinstance(argument, wanted) or argument.dtype != np.dtype(_TYPES[kind]):
                given = f"{type(argument).__name__} {getattr(argument, 'dtype', '')}"
                raise TypeError(f"argument {place} of {kernel} is {given}, not {kind}")
            if isinstance(argument, np.ndarray):
                if not argument.flags.c_contiguous:
                    raise TypeError(f"argument {place} of {kernel} is not contiguous")
                if kind == "float4" and argument.ctypes.data % 16:
                    raise TypeError(f"argument {place} of {kernel} is not aligned")
                converted.append(ctypes.c_void_p(argument.ctypes.data))
            else:
                converted.append(_SCALARS[kind](argument.item()))
        threads = min(threads, self.threads)
        blocks = min(math.ceil(items / threads), self.blocks)
        run = getattr(self._libraries[source], f"run_{kernel}")
        run.restype = None
        edges = [blocks * i // self.workers for i in range(self.workers + 1)]
        with ThreadPoolExecutor(self.workers) as pool:
            futures = [
                pool.submit(run, blocks, threads, first, last, *converted)
                for first, last in itertools.pairwise(edges)
                if first < last
            ]
            for future in futures:
                future.result()

    def multiply(
        self,
        left: NDArray[Any],
        right: NDArray[Any],
        out: NDArray[Any],
        precision: str = "float32",
    ) -> None:
        check_precision(precision)
        wanted = np.uint16 if precision == "bfloat16" else np.float32
        if left.dtype != wanted or right.dtype != wanted or out.dtype != np.float32:
            raise TypeError(f"a product in {precision} got {left.dtype} and {right.dtype}")
        if precision == "bfloat16":
            left = (left.astype(np.uint32) << 16).view(np.float32)
            right = (right.astype(np.uint32) << 16).view(np.float32)
        elif precision == "tf32":
            left, right = _to_tf32(left), _to_tf32(right)
        out[...] = np.matmul(left, right)


def _to_tf32(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounds to the 10 bits of fraction that tensor cores read."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded: NDArray[np.uint32] = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return rounded.view(np.float32)
