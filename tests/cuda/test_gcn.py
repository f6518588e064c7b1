"""Whole-space inference on a device against dense NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.kernels.cuda import gcn as cuda_gcn
from nprep.kernels.cuda.device import Device, operand, to_bfloat16
from nprep.kernels.cuda.gcn import CudaGcn
from nprep.kernels.cuda.layout import GcnLayout
from nprep.spaces.nb101.cells import CellBatch

from .host_device import HostDevice
from .naive_gcn import dense_outputs, plan_for, random_parameters


@pytest.fixture(scope="module")
def some(space: CellBatch) -> CellBatch:
    rows = np.random.default_rng(7).integers(0, len(space), 3000)
    return space.take(np.concatenate([np.arange(100), rows]))


@pytest.mark.slow
def test_the_whole_space(device: Device, space: CellBatch) -> None:
    plan = plan_for(space, 3, shared=True)
    # The sharing that makes the plan worth its while.
    assert plan.rows == (1593, 902_934, 2_898_195)
    parameters = random_parameters(np.random.default_rng(1), 1, 3, 10, (6,))
    outputs = CudaGcn(device, plan).predict(parameters, 10, (6,))
    expected = dense_outputs(space, parameters[0], 3, 10, (6,))
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-4, atol=1e-5 * expected.std())


@pytest.mark.parametrize(
    ("layers", "width", "head", "rectify", "symmetric"),
    [
        (1, 8, (5,), True, False),
        (2, 6, (7, 3), True, False),
        (2, 6, (7, 3), False, True),
        (3, 144, (128,), True, False),
        (4, 5, (), True, True),
    ],
    ids=["one layer", "two hidden", "linear head", "paper", "no hidden"],
)
def test_architectures(
    device: Device,
    some: CellBatch,
    layers: int,
    width: int,
    head: tuple[int, ...],
    rectify: bool,
    symmetric: bool,
) -> None:
    plan = plan_for(some, layers, shared=not symmetric, symmetric=symmetric)
    parameters = random_parameters(np.random.default_rng(2), 3, layers, width, head)
    outputs = CudaGcn(device, plan).predict(parameters, width, head, rectify)
    for got, packed in zip(outputs, parameters, strict=True):
        expected = dense_outputs(some, packed, layers, width, head, rectify, symmetric)
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5 * expected.std())


def test_groups_and_chunks_change_nothing(
    device: Device, some: CellBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(some, 2, shared=True)
    parameters = random_parameters(np.random.default_rng(3), 5, 2, 12, (8,))
    whole = CudaGcn(device, plan).predict(parameters, 12, (8,))
    monkeypatch.setattr(cuda_gcn, "_CELLS_AT_ONCE", 700)
    tight = CudaGcn(device, plan, memory=500_000)
    layout = GcnLayout(5, 2, 12, (8,))
    assert 1 <= tight._predictors_at_once(layout) < 5
    np.testing.assert_allclose(
        tight.predict(parameters, 12, (8,)), whole, rtol=1e-5, atol=1e-5 * whole.std()
    )


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 2e-3), ("bfloat16", 2e-2)])
def test_lower_precisions_keep_the_values_near(
    device: Device, some: CellBatch, precision: str, tolerance: float
) -> None:
    plan = plan_for(some, 3, shared=True)
    parameters = random_parameters(np.random.default_rng(4), 2, 3, 20, (16,))
    exact = CudaGcn(device, plan).predict(parameters, 20, (16,))
    rounded = CudaGcn(device, plan, precision).predict(parameters, 20, (16,))
    assert (rounded != exact).any()
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=tolerance * np.abs(exact).max())


def test_bfloat16_rounds_to_nearest_even(host: HostDevice) -> None:
    values = np.random.default_rng(5).standard_normal(1000).astype(np.float32)
    back = (to_bfloat16(values).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(back, values, rtol=2**-8)
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8], np.float32)
    back = (to_bfloat16(ties).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(back, [1, 1 + 2**-6, -1])


def test_bad_requests_are_refused(device: Device, some: CellBatch) -> None:
    plan = plan_for(some, 2, shared=True)
    parameters = random_parameters(np.random.default_rng(6), 1, 2, 12, (8,))
    with pytest.raises(SettingsError, match="memory"):
        CudaGcn(device, plan, memory=1000).predict(parameters, 12, (8,))
    with pytest.raises(SettingsError, match="precision"):
        CudaGcn(device, plan, "float16")
    with pytest.raises(ValueError, match="parameters"):
        CudaGcn(device, plan).predict(parameters, 16, (8,))


def test_layout_pads_and_unpads() -> None:
    layout = GcnLayout(5, 2, 6, (7, 3))
    packed = np.arange(1, len(layout.places) + 1, dtype=np.float32)[None]
    padded = layout.pad(packed)
    assert padded.shape == (1, layout.size)
    assert all(tensor.start % 4 == 0 and tensor.bias % 4 == 0 for tensor in layout.tensors)
    np.testing.assert_array_equal(layout.unpad(padded), packed)
    first = layout.tensors[0]
    matrix = padded[0, first.start : first.bias].reshape(5, 16)
    np.testing.assert_array_equal(matrix[:, :6], np.arange(60).reshape(5, 12)[:, :6] + 1)
    assert not matrix[:, 6:8].any()


def test_operands_are_read_as_they_lie() -> None:
    a = np.zeros((3, 4, 5), np.float32)
    assert operand(a) == (5, False, 20)
    assert operand(a.transpose(0, 2, 1)) == (5, True, 20)
    assert operand(a[:, :, :2]) == (5, False, 20)
    with pytest.raises(ValueError, match="contiguous"):
        operand(np.zeros((3, 4, 10), np.float32)[:, :, ::2].transpose(0, 2, 1)[:, :, ::2])
