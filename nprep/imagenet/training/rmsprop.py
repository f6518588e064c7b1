"""RMSProp as TensorFlow computes it, which trained NASBench-101 and the MobileNets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class TensorFlowRMSprop(Optimizer):
    """RMSProp with epsilon inside the root, squares that start at 1, and the rate in the momentum.

    ``torch.optim.RMSprop`` differs in all three, which matters with the customary epsilon of 1 or
    0.001. Weight decay is added to the gradient, as TensorFlow's L2 loss does.

    Source: ``tf.train.RMSPropOptimizer``, TensorFlow 1.x.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        """Sets the defaults of all parameter groups.

        Args:
            params: Parameters or groups.
            lr: Learning rate.
            decay: Weight of the old mean of squares.
            momentum: Weight of the old update.
            eps: Added to the mean of squares before the root.
            weight_decay: Times the weight is added to the gradient.
        """
        defaults = {
            "lr": lr,
            "decay": decay,
            "momentum": momentum,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override] # torch overloads it
        """Updates all parameters that have a gradient.

        Args:
            closure: Evaluates the loss again, if given.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights, grads, squares, updates = [], [], [], []
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["square"] = torch.ones_like(weight)
                    state["update"] = torch.zeros_like(weight)
                weights.append(weight)
                grads.append(weight.grad)
                squares.append(state["square"])
                updates.append(state["update"])
            if weights:
                _update(group, weights, grads, squares, updates)
        return loss


def _update(
    group: dict[str, Any],
    weights: list[Tensor],
    grads: list[Tensor],
    squares: list[Tensor],
    updates: list[Tensor],
) -> None:
    if group["weight_decay"]:
        grads = list(torch._foreach_add(grads, weights, alpha=group["weight_decay"]))
    torch._foreach_mul_(squares, group["decay"])
    torch._foreach_addcmul_(squares, grads, grads, 1 - group["decay"])
    roots = torch._foreach_add(squares, group["eps"])
    torch._foreach_sqrt_(roots)
    torch._foreach_mul_(updates, group["momentum"])
    torch._foreach_addcdiv_(updates, grads, roots, group["lr"])
    torch._foreach_sub_(weights, updates)
