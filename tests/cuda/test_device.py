"""What can be checked of the CuPy device without a GPU: calls of cuBLAS, and what it refuses."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nprep.errors import MissingDependencyError, SettingsError
from nprep.kernels.cuda.device import CupyDevice, to_bfloat16

from .host_device import HostDevice


class FakeArray:
    """A NumPy array that looks like CuPy's to a BLAS call."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape, self.strides, self.dtype = array.shape, array.strides, array.dtype
        self.data = SimpleNamespace(ptr=array.ctypes.data)


def read(pointer: int, count: int, kind: int) -> NDArray[Any]:
    """``count`` numbers at an address; kind 14 is bfloat16, 0 is float32."""
    if kind == 14:
        bits = np.ctypeslib.as_array((ctypes.c_uint16 * count).from_address(pointer))
        return (bits.astype(np.uint32) << 16).view(np.float32)
    assert kind == 0
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(pointer))


class FakeCublas:
    """gemmStridedBatchedEx by its documentation: column-major, C = op(A) op(B)."""

    def gemmStridedBatchedEx(
        self, handle: int, trans_a: int, trans_b: int, m: int, n: int, k: int, alpha: int, a: int,
        kind_a: int, lda: int, step_a: int, b: int, kind_b: int, ldb: int, step_b: int, beta: int,
        c: int, kind_c: int, ldc: int, step_c: int, batch: int, compute: int, algorithm: int,
    ) -> None:  # fmt: skip
        assert handle == 7
        assert compute in (68, 77)
        assert read(alpha, 1, 0)[0] == 1
        assert read(beta, 1, 0)[0] == 0
        assert lda >= (k if trans_a else m)
        assert ldb >= (n if trans_b else k)
        assert ldc >= m

        def matrix(pointer: int, kind: int, lead: int, rows: int, columns: int) -> NDArray[Any]:
            flat = read(pointer, lead * (columns - 1) + rows, kind)
            strides = (flat.itemsize, lead * flat.itemsize)
            return np.lib.stride_tricks.as_strided(flat, (rows, columns), strides)

        for t in range(batch):
            size_a, size_b = (2 if kind_a == 14 else 4), (2 if kind_b == 14 else 4)
            shape_a = (k, m) if trans_a else (m, k)
            shape_b = (n, k) if trans_b else (k, n)
            left = matrix(a + t * step_a * size_a, kind_a, lda, *shape_a)
            right = matrix(b + t * step_b * size_b, kind_b, ldb, *shape_b)
            out = matrix(c + t * step_c * 4, kind_c, ldc, m, n)
            out[...] = (left.T if trans_a else left) @ (right.T if trans_b else right)


@pytest.fixture
def blas() -> CupyDevice:
    device = object.__new__(CupyDevice)
    device.cupy = SimpleNamespace(cuda=SimpleNamespace(get_cublas_handle=lambda: 7))
    device._cublas = FakeCublas()
    device._one, device._zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    return device


def operand_of(
    generator: np.random.Generator, rows: int, columns: int, form: str
) -> NDArray[np.float32]:
    """A (3, rows, columns) operand: whole, transposed, or a slice of stacked parameters."""
    if form == "whole":
        return generator.standard_normal((3, rows, columns)).astype(np.float32)
    if form == "transposed":
        turned = generator.standard_normal((3, columns, rows)).astype(np.float32)
        return turned.transpose(0, 2, 1)
    stacked = generator.standard_normal((3, rows * columns + 9)).astype(np.float32)
    return stacked[:, 4 : 4 + rows * columns].reshape(3, rows, columns)


@pytest.mark.parametrize("left_form", ["whole", "transposed", "slice"])
@pytest.mark.parametrize("right_form", ["whole", "transposed", "slice"])
@pytest.mark.parametrize("sizes", [(5, 4, 3), (1, 4, 3), (5, 4, 1), (4, 1, 6), (1, 4, 1)], ids=str)
def test_products_reach_cublas_as_they_are_meant(
    blas: CupyDevice, left_form: str, right_form: str, sizes: tuple[int, int, int]
) -> None:
    rows, inner, columns = sizes
    generator = np.random.default_rng(1)
    left = operand_of(generator, rows, inner, left_form)
    right = operand_of(generator, inner, columns, right_form)
    for out in (
        np.zeros((3, rows, columns), np.float32),
        operand_of(generator, rows, columns, "slice"),
    ):
        blas.multiply(FakeArray(left), FakeArray(right), FakeArray(out))
        np.testing.assert_allclose(out, left @ right, rtol=1e-5, atol=1e-6)


def test_bfloat16_products_reach_cublas(blas: CupyDevice, host: HostDevice) -> None:
    generator = np.random.default_rng(2)
    left = to_bfloat16(operand_of(generator, 6, 8, "whole"))
    right = to_bfloat16(operand_of(generator, 8, 5, "whole"))
    out, expected = np.zeros((3, 6, 5), np.float32), np.zeros((3, 6, 5), np.float32)
    blas.multiply(FakeArray(left), FakeArray(right), FakeArray(out), "bfloat16")
    host.multiply(left, right, expected, "bfloat16")
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_a_transposed_output_is_refused(blas: CupyDevice) -> None:
    square = np.zeros((1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="transposed"):
        blas.multiply(FakeArray(square), FakeArray(square), FakeArray(square.transpose(0, 2, 1)))
    with pytest.raises(SettingsError, match="precision"):
        blas.multiply(FakeArray(square), FakeArray(square), FakeArray(square), "half")


def test_a_missing_cupy_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MissingDependencyError, match=r"cupy-cuda12x .*choose another backend\.$"):
        CupyDevice()


def test_a_missing_device_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDriverError(RuntimeError):
        pass

    def fail() -> int:
        raise NoDriverError("cudaErrorInsufficientDriver")

    runtime = SimpleNamespace(
        getDevice=fail, getDeviceProperties=dict, CUDARuntimeError=NoDriverError
    )
    fake = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs.cublas", SimpleNamespace())
    with pytest.raises(MissingDependencyError, match="found none"):
        CupyDevice()


def test_the_host_device_is_strict(host: HostDevice) -> None:
    step = np.zeros(1, np.int32)
    with pytest.raises(TypeError, match="takes 1 arguments"):
        host.launch("gcn_train", "next_step", 1, step, step)
    with pytest.raises(TypeError, match="not int32"):
        host.launch("gcn_train", "next_step", 1, step.astype(np.int64))
    with pytest.raises(TypeError, match="not contiguous"):
        host.launch("gcn_train", "next_step", 1, np.zeros(4, np.int32)[::2])
    host.launch("gcn_train", "next_step", 1, step)
    assert step[0] == 1
