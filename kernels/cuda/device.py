"""What a launcher needs of a device, and the CUDA device behind CuPy.

Launchers are written against ``Device``, not against CuPy, so the tests run them, argument for
argument, on a device that compiles the same sources for the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nprep._optional import need
from nprep.errors import MissingDependencyError, SettingsError

SOURCES = Path(__file__).parent
COMPILE_OPTIONS = ("-std=c++17", f"-I{SOURCES}")
MAX_THREADS = 256  # MAX_THREADS of portable.cuh.
PRECISIONS = ("float32", "tf32", "bfloat16")

# An array of the device: a NumPy or a CuPy array.
DeviceArray: TypeAlias = Any

_BLOCKS_PER_MULTIPROCESSOR = 16


class Device(Protocol):
    """Arrays, kernels and matrix products of one device.

    Attributes:
        name: What to call it in a report.
    """

    name: str

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        """A copy on the device, in C order."""
        ...

    def download(self, array: DeviceArray) -> NDArray[Any]:
        """A copy in host memory."""
        ...

    def empty(self, shape: int | Sequence[int], dtype: DTypeLike) -> DeviceArray:
        """An array of the device, not filled."""
        ...

    def zeros(self, shape: int | Sequence[int], dtype: DTypeLike) -> DeviceArray:
        """An array of the device, filled with zeros."""
        ...

    def launch(
        self,
        source: str,
        kernel: str,
        items: int,
        *arguments: DeviceArray | np.generic,
        threads: int = MAX_THREADS,
    ) -> None:
        """Runs a kernel of a source file over ``items`` work items; 0 items do nothing.

        Args:
            source: File name in this folder, without suffix.
            kernel: Name of the kernel.
            items: How many threads would give every thread one item.
            arguments: Arrays and NumPy scalars, of exactly the kernel's types.
            threads: Threads per block, at most what the kernel allows.
        """
        ...

    def multiply(
        self, left: DeviceArray, right: DeviceArray, out: DeviceArray, precision: str = "float32"
    ) -> None:
        """Batched matrix products, ``out[t] = left[t] @ right[t]``.

        Args:
            left: (T, M, K) view; float32, or uint16 holding bfloat16 if ``precision`` says so.
            right: (T, K, N) view of the same type.
            out: (T, M, N) float32, C-contiguous in the last two axes.
            precision: "float32", "tf32" (float32 numbers, products rounded on tensor cores) or
                "bfloat16" (sums in float32).
        """
        ...


def check_precision(precision: str) -> None:
    """Refuses an unknown precision.

    Raises:
        SettingsError: If it is none of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise SettingsError(f"precision {precision!r} is unknown; choose from {known}.")


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of bfloat16 numbers nearest to finite float32 ones, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def operand(array: DeviceArray) -> tuple[int, bool, int]:
    """How BLAS is to read a (T, M, K) view.

    Returns:
        The leading dimension, whether the matrices are stored transposed, and the distance between
        them, all in elements.

    Raises:
        ValueError: If neither axis of the matrices is contiguous.
    """
    size = array.dtype.itemsize
    batch, rows, columns = (stride // size for stride in array.strides)
    if columns == 1 or array.shape[2] == 1:
        return max(rows, array.shape[2]), False, batch
    if rows == 1 or array.shape[1] == 1:
        return max(columns, array.shape[1]), True, batch
    raise ValueError(f"a matrix operand has the strides {array.strides} and no contiguous axis")


class CupyDevice:
    """The current CUDA device.

    Attributes:
        name: Its name.
        cupy: The CuPy module.
        blocks: Most blocks of a launch; kernels loop over what is left.
    """

    def __init__(self) -> None:
        """Connects to the device.

        Raises:
            MissingDependencyError: If CuPy is not installed, or finds no CUDA device.
        """
        purpose = "compute on a GPU"
        instead = "pip install 'nprep[gpu-cuda13]' for CUDA 13, or choose another backend"
        cupy = need("cupy", purpose, "cupy-cuda12x", "gpu", instead)
        cublas = need("cupy_backends.cuda.libs.cublas", purpose, "cupy-cuda12x", "gpu", instead)
        try:
            properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise MissingDependencyError(
                f"the cupy backend needs a CUDA device and found none ({error}): "
                "choose another backend."
            ) from error
        self.cupy = cupy
        self.name = properties["name"].decode()
        self.blocks = _BLOCKS_PER_MULTIPROCESSOR * properties["multiProcessorCount"]
        self._cublas = cublas
        self._modules: dict[str, Any] = {}
        self._one = np.ones(1, np.float32)
        self._zero = np.zeros(1, np.float32)

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        """See ``Device.upload``."""
        return self.cupy.asarray(np.ascontiguousarray(array))

    def download(self, array: DeviceArray) -> NDArray[Any]:
        """See ``Device.download``."""
        host: NDArray[Any] = self.cupy.asnumpy(array)
        return host

    def empty(self, shape: int | Sequence[int], dtype: DTypeLike) -> DeviceArray:
        """See ``Device.empty``."""
        return self.cupy.empty(shape, dtype)

    def zeros(self, shape: int | Sequence[int], dtype: DTypeLike) -> DeviceArray:
        """See ``Device.zeros``."""
        return self.cupy.zeros(shape, dtype)

    def launch(
        self,
        source: str,
        kernel: str,
        items: int,
        *arguments: DeviceArray | np.generic,
        threads: int = MAX_THREADS,
    ) -> None:
        """See ``Device.launch``."""
        if items == 0:
            return
        if source not in self._modules:
            code = (SOURCES / f"{source}.cu").read_text(encoding="utf-8")
            self._modules[source] = self.cupy.RawModule(code=code, options=COMPILE_OPTIONS)
        blocks = min(math.ceil(items / threads), self.blocks)
        self._modules[source].get_function(kernel)((blocks,), (threads,), arguments)

    def multiply(
        self, left: DeviceArray, right: DeviceArray, out: DeviceArray, precision: str = "float32"
    ) -> None:
        """See ``Device.multiply``."""
        check_precision(precision)
        cublas = self._cublas
        batch, rows, inner = left.shape
        columns = right.shape[2]
        left_lead, left_turned, left_step = operand(left)
        right_lead, right_turned, right_step = operand(right)
        out_lead, out_turned, out_step = operand(out)
        if out_turned:
            raise ValueError("the output of a matrix product must not be transposed")
        # CUDA_R_16BF is 14, CUDA_R_32F 0; CUBLAS_COMPUTE_32F is 68, .._FAST_TF32 77.
        kind = 14 if precision == "bfloat16" else 0
        compute = 77 if precision == "tf32" else 68
        # cuBLAS counts columns first: it is asked for the transpose, out' = right' left'.
        cublas.gemmStridedBatchedEx(
            self.cupy.cuda.get_cublas_handle(),
            int(right_turned), int(left_turned), columns, rows, inner,
            self._one.ctypes.data,
            right.data.ptr, kind, right_lead, right_step,
            left.data.ptr, kind, left_lead, left_step,
            self._zero.ctypes.data,
            out.data.ptr, 0, out_lead, out_step,
            batch, compute, -1,
        )  # fmt: skip


@lru_cache(maxsize=1)
def cuda_device() -> CupyDevice:
    """The current CUDA device; its compiled kernels are kept.

    Raises:
        MissingDependencyError: If CuPy is not installed, or finds no CUDA device.
    """
    return CupyDevice()
