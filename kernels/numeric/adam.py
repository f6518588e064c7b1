"""Adam on flat float32 arrays.

A step takes a root and a division for each parameter, which processors do one after the other, so
two parameters share a division: a/b = a d r and c/d = c b r with r = 1/(b d).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.numeric.vector import LANES, Emitter, floats

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8


class AdamStep(NamedTuple):
    """What a step multiplies with.

    Attributes:
        rate: Learning rate over the bias correction of the mean.
        scale: One over the root of the bias correction of the squares.
        l2: Weight decay that is added to the gradient.
        shrink: Factor of the weights (decoupled decay).
    """

    rate: np.float32
    scale: np.float32
    l2: np.float32
    shrink: np.float32


@kernel
def adam_step(step: int, rate: float, decay: float, decoupled: bool) -> AdamStep:
    """The constants of one step.

    Args:
        step: Number of this step, from 1.
        rate: Learning rate.
        decay: Weight decay.
        decoupled: Whether the decay acts on the weights (AdamW) rather than on the gradient (L2).
    """
    return AdamStep(
        np.float32(rate / (1.0 - BETA_1**step)),
        np.float32(1.0 / np.sqrt(1.0 - BETA_2**step)),
        np.float32(0.0 if decoupled else decay),
        np.float32(1.0 - rate * decay if decoupled else 1.0),
    )


@intrinsic
def _pair_step(
    typing_context: Any, parameters: Any, gradients: Any, first: Any, second: Any, place: Any,
    rate: Any, scale: Any, l2: Any, shrink: Any,
) -> Any:  # fmt: skip
    """A step on two vectors of 16 parameters from ``place`` on."""
    real = types.float32
    signature = types.void(
        parameters, gradients, first, second, types.intp, real, real, real, real
    )  # fmt: skip

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit_pair(Emitter(context, builder, signature, arguments), arguments)
        return context.get_dummy_value()

    return signature, generate


def emit_pair(emitter: Emitter, arguments: Any) -> None:
    """Emits the LLVM IR of ``_pair_step``."""
    builder = emitter.builder
    rate, scale, l2, shrink = (emitter.spread(arguments[k]) for k in range(5, 9))
    halves = []
    for offset in (0, LANES):
        places = [
            emitter.at(emitter.data(k), arguments[4], emitter.integer(offset)) for k in range(4)
        ]
        weight, gradient, mean, square = map(emitter.load, places)
        gradient = emitter.multiply_add(l2, weight, gradient)
        kept = builder.fmul(floats(BETA_1), mean)
        mean = emitter.multiply_add(floats(1.0 - BETA_1), gradient, kept)
        kept = builder.fmul(floats(BETA_2), square)
        added = builder.fmul(floats(1.0 - BETA_2), gradient)
        square = emitter.multiply_add(added, gradient, kept)
        emitter.store(mean, places[2])
        emitter.store(square, places[3])
        bottom = emitter.multiply_add(emitter.root(square), scale, floats(EPSILON))
        halves.append((places[0], weight, mean, bottom))
    # Bottoms lie between 1e-8 and the root of the largest float32, so that no product of two
    # leaves the range before a gradient does.
    inverse = builder.fdiv(floats(1.0), builder.fmul(halves[0][3], halves[1][3]))
    for (place, weight, mean, _), (*_, other) in zip(halves, halves[::-1], strict=True):
        change = builder.fneg(builder.fmul(builder.fmul(mean, other), inverse))
        emitter.store(emitter.multiply_add(rate, change, builder.fmul(shrink, weight)), place)


# A typed name: what numba makes of an intrinsic hides its own argument.
_step_pair = cast(Callable[..., None], _pair_step)


@kernel
def adam_update(
    parameters: NDArray[np.float32],
    gradients: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    rule: AdamStep,
) -> None:
    """One step of Adam (Kingma and Ba 2015), or of AdamW.

    Args:
        parameters: (P,), changed in place.
        gradients: (P,) of the loss, without the decay.
        first: (P,) running mean of the gradient, changed in place.
        second: (P,) running mean of its square, changed in place.
        rule: The step's constants (``adam_step``).
    """
    count = len(parameters)
    k = 0
    while k + 2 * LANES <= count:
        _step_pair(
            parameters, gradients, first, second, k, rule.rate, rule.scale, rule.l2, rule.shrink
        )
        k += 2 * LANES
    while k < count:
        weight = parameters[k]
        gradient = gradients[k] + rule.l2 * weight
        mean = np.float32(BETA_1) * first[k] + np.float32(1.0 - BETA_1) * gradient
        square = np.float32(BETA_2) * second[k] + np.float32(1.0 - BETA_2) * gradient * gradient
        first[k] = mean
        second[k] = square
        bottom = np.sqrt(square) * rule.scale + np.float32(EPSILON)
        parameters[k] = rule.shrink * weight - rule.rate * (mean / bottom)
        k += 1


@kernel
def cosine_rate(rate: float, step: int, steps: int) -> float:
    """The learning rate of a step that decays to zero along half a cosine.

    Args:
        rate: The rate of the first step.
        step: Number of this step, from 0.
        steps: Number of steps in all.

    Returns:
        The learning rate.
    """
    return 0.5 * rate * (1.0 + np.cos(np.pi * step / steps))
