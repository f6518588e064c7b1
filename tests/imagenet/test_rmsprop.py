from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from nprep.imagenet.training.rmsprop import TensorFlowRMSprop  # noqa: E402 - needs torch


def test_equals_the_formulas_written_out() -> None:
    rng = np.random.default_rng(0)
    weight, grads = rng.normal(size=5), rng.normal(size=(6, 5))
    parameter = torch.nn.Parameter(torch.tensor(weight))
    optimiser = TensorFlowRMSprop([parameter], lr=0.3, momentum=0.8, eps=0.5, weight_decay=0.01)
    square, update = np.ones(5), np.zeros(5)
    for grad in grads:
        parameter.grad = torch.tensor(grad)
        optimiser.step()
        full = grad + 0.01 * weight
        square = 0.9 * square + 0.1 * full**2
        update = 0.8 * update + 0.3 * full / np.sqrt(square + 0.5)
        weight = weight - update
    np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-12)


def test_parameters_without_gradient_stay() -> None:
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    parameters[0].grad = torch.ones(2)
    TensorFlowRMSprop(parameters).step()
    assert (parameters[0] != 1).all()
    assert (parameters[1] == 1).all()
