"""A sparse Gaussian process on structure and test accuracy, evaluated for every cell of the space.

Its functions are sums of a linear part and of a radial part: Gaussian bumps around some hundred
*inducing points*. Both are weighted sums of fixed basis functions, so that a function, fitted or
drawn from the posterior, is one vector of weights. The arithmetic is the project's own, in a fixed
order: a table is the same whatever the number of threads and the library for matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.threads import run_slices

# Below, where few cells were measured, the process takes cells for those at the floor.
FLOOR = 0.86
KNOTS = (0.90, 0.91, 0.92, 0.93)
TERMS = 14

# Accuracies as inputs of the radial part: (centre, scale) of test accuracy, of the accuracy
# predicted from structure, and of their difference. The scales make a region of accuracies about
# as wide as the usual difference of two structures.
_ACCURACIES = ((0.91, 0.02), (0.91, 0.02), (0.0, 0.004 / 0.6))
_FAR = 3.0
_RARE = 8.0


class Process(NamedTuple):
    """The basis functions; F structural features, M inducing points, P = M + 14 + F functions.

    Attributes:
        centre: (F,) float32; is taken from the features.
        scale: (F,) float32; divides them then.
        inducing: (M, F + 3) float32; the inducing points as inputs of the radial part.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    inducing: NDArray[np.float32]

    @property
    def functions(self) -> int:
        """The number P of basis functions."""
        return len(self.inducing) + TERMS + len(self.centre)


def linear_terms(level: NDArray[np.float64], guess: NDArray[np.float64]) -> NDArray[np.float64]:
    """The piecewise linear terms: regression to the mean, by region.

    A test accuracy above the accuracy predicted from structure was partly luck.

    Args:
        level: (N,) mean test accuracy of the runs that did not fail.
        guess: (N,) the accuracy predicted from structure.

    Returns:
        (N, 14) float64, of about unit size; the first is constant.
    """
    level, guess = np.maximum(level, FLOOR), np.maximum(guess, FLOOR)
    above = level - guess
    terms = [np.ones(len(level)), (level - 0.91) / 0.01, (guess - 0.91) / 0.01]
    for knot in KNOTS:
        terms += [np.maximum(level - knot, 0) / 0.01, np.maximum(guess - knot, 0) / 0.01]
    terms += [
        np.maximum(above - 0.004, 0) / 0.004,
        np.minimum(above + 0.004, 0) / 0.004,
        above * (guess - 0.9) / (0.004 * 0.02),
    ]
    return np.stack(terms, axis=1)


@kernel
def _inputs(
    centre: NDArray[np.float32],
    scale: NDArray[np.float32],
    features: NDArray[np.float32],
    level: float,
    guess: float,
    out: NDArray[np.float32],
) -> None:
    """Sets ``out`` (F + 3,) to the inputs of the radial part."""
    count = len(centre)
    root = np.float32(np.sqrt(np.float64(count)))
    for f in range(count):
        value = (features[f] - centre[f]) / scale[f]
        out[f] = min(max(value, np.float32(-_RARE)), np.float32(_RARE)) / root
    level, guess = max(level, FLOOR), max(guess, FLOOR)
    for k in range(3):
        value = level if k == 0 else (guess if k == 1 else level - guess)
        value = (value - _ACCURACIES[k][0]) / _ACCURACIES[k][1]
        out[count + k] = np.float32(min(max(value, -_FAR), _FAR))


@kernel
def inputs_of(
    centre: NDArray[np.float32],
    scale: NDArray[np.float32],
    features: NDArray[np.float32],
    level: NDArray[np.float64],
    guess: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Sets ``out`` (N, F + 3) to the inputs of the radial part of N cells."""
    for i in range(len(features)):
        _inputs(centre, scale, features[i], level[i], guess[i], out[i])


@kernel
def _evaluate(
    centre: NDArray[np.float32],
    scale: NDArray[np.float32],
    points: NDArray[np.float32],
    squares: NDArray[np.float32],
    features: NDArray[np.float32],
    level: NDArray[np.float64],
    guess: NDArray[np.float64],
    terms: NDArray[np.float64],
    weights: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Sets ``out`` (N, Q) to Q functions of N cells; ``points`` is (F + 3, M)."""
    width, count = points.shape
    linear = terms.shape[1]
    x = np.empty(width, np.float32)
    products = np.empty(count, np.float32)
    for i in range(len(features)):
        _inputs(centre, scale, features[i], level[i], guess[i], x)
        own = np.float32(0.0)
        products[:] = 0
        for f in range(width):
            value = x[f]
            own += value * value
            for j in range(count):
                products[j] += value * points[f, j]
        out[i] = 0.0
        for j in range(count):
            distance = max(own + squares[j] - np.float32(2.0) * products[j], np.float32(0.0))
            bump = np.float64(np.exp(np.float32(-0.5) * distance))
            for q in range(out.shape[1]):
                out[i, q] += bump * weights[j, q]
        for t in range(linear):
            for q in range(out.shape[1]):
                out[i, q] += terms[i, t] * weights[count + t, q]
        for f in range(len(centre)):
            value64 = (np.float64(features[i, f]) - centre[f]) / scale[f]
            value64 = min(max(value64, -_RARE), _RARE)
            for q in range(out.shape[1]):
                out[i, q] += value64 * weights[count + linear + f, q]


def evaluate(
    process: Process,
    features: NDArray[np.float32],
    level: NDArray[np.float64],
    guess: NDArray[np.float64],
    weights: NDArray[np.float64],
    threads: int = 1,
) -> NDArray[np.float64]:
    """Evaluates functions of the process.

    Args:
        process: The basis.
        features: (N, F) float32 of ``nprep.spaces.nb101.features.structure_features``.
        level: (N,) mean test accuracy of the runs that did not fail.
        guess: (N,) the accuracy predicted from structure.
        weights: (P, Q) float64; one column for each function.
        threads: Number of threads; the result does not depend on it.

    Returns:
        (N, Q) float64.
    """
    points = np.ascontiguousarray(process.inducing.T)
    squares = (process.inducing.astype(np.float64) ** 2).sum(axis=1).astype(np.float32)
    terms = linear_terms(level, guess)
    weights = np.ascontiguousarray(weights)
    out = np.empty((len(features), weights.shape[1]))

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        _evaluate(
            process.centre,
            process.scale,
            points,
            squares,
            features[part],
            level[part],
            guess[part],
            terms[part],
            weights,
            out[part],
        )

    run_slices(work, len(features), threads)
    return out


def basis(
    process: Process,
    features: NDArray[np.float32],
    level: NDArray[np.float64],
    guess: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The basis functions themselves, (N, P) float64, for a fit: plain NumPy, for few cells."""
    x = np.empty((len(features), process.inducing.shape[1]), np.float32)
    inputs_of(process.centre, process.scale, features, level, guess, x)
    points, x64 = process.inducing.astype(np.float64), x.astype(np.float64)
    distance = (x64**2).sum(1)[:, None] + (points**2).sum(1) - 2 * x64 @ points.T
    standard = ((features.astype(np.float64) - process.centre) / process.scale).clip(-_RARE, _RARE)
    bumps = np.exp(-0.5 * np.maximum(distance, 0.0))
    return np.concatenate([bumps, linear_terms(level, guess), standard], axis=1)
