"""Adam on slices of flat float32 arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8


@kernel
def adam_update(
    parameters: NDArray[np.float32],
    gradients: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    start: int,
    stop: int,
    step: int,
    rate: float,
    decay: float,
    decoupled: bool,
) -> None:
    """One step of Adam (Kingma and Ba 2015), or of AdamW, on ``parameters[start:stop]``.

    Args:
        parameters: (P,), changed in place.
        gradients: (P,) of the loss, without the decay.
        first: (P,) running mean of the gradient, changed in place.
        second: (P,) running mean of its square, changed in place.
        start: First parameter to change.
        stop: End of the parameters to change.
        step: Number of this step, from 1.
        rate: Learning rate.
        decay: Weight decay.
        decoupled: Whether the decay acts on the weights (AdamW) rather than on the gradient (L2).
    """
    one = np.float32(1.0)
    keep_1 = np.float32(BETA_1)
    keep_2 = np.float32(BETA_2)
    add_1 = np.float32(1.0 - BETA_1)
    add_2 = np.float32(1.0 - BETA_2)
    size = np.float32(rate / (1.0 - BETA_1**step))
    scale = np.float32(1.0 / np.sqrt(1.0 - BETA_2**step))
    epsilon = np.float32(EPSILON)
    l2 = np.float32(0.0 if decoupled else decay)
    shrink = np.float32(1.0 - rate * decay) if decoupled else one
    # Views starting at 0 let the compiler see that no index is negative, and vectorise.
    p, g = parameters[start:stop], gradients[start:stop]
    m, v = first[start:stop], second[start:stop]
    for k in range(stop - start):
        weight = p[k]
        gradient = g[k] + l2 * weight
        mean = keep_1 * m[k] + add_1 * gradient
        square = keep_2 * v[k] + add_2 * gradient * gradient
        m[k] = mean
        v[k] = square
        p[k] = shrink * weight - size * mean / (np.sqrt(square) * scale + epsilon)


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
