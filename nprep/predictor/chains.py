"""Predictions for many chains of equal length, which share too little for a plan to pay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import kernel
from nprep.kernels.numeric.gemm import gemm
from nprep.kernels.threads import run_slices
from nprep.predictor.gcn import GcnWeights

# Networks handled together: 22 nodes x 96 channels x 32 networks stay in a second-level cache.
CHUNK = 32


@kernel
def chain_layer(
    products: NDArray[np.float32],
    bias: NDArray[np.float32],
    chains: int,
    length: int,
    states: NDArray[np.float32],
) -> None:
    """The neighbourhood averages and the rectifier of a layer, for chains.

    Args:
        products: (chains * length, 2 D): states times [W+ | W-].
        bias: (2 D,).
        chains: Number of chains.
        length: Nodes in a chain.
        states: (chains * length, D), overwritten.
    """
    width = states.shape[1]
    half = np.float32(0.5)
    zero = np.float32(0)
    for chain in range(chains):
        first = chain * length
        last = first + length - 1
        for row in range(first, last + 1):
            after = min(row + 1, last)
            before = max(row - 1, first)
            for j in range(width):
                ahead = half * (products[row, j] + products[after, j]) + bias[j]
                k = width + j
                behind = half * (products[row, k] + products[before, k]) + bias[k]
                states[row, j] = half * (max(ahead, zero) + max(behind, zero))


@kernel
def chain_means(
    states: NDArray[np.float32], chains: int, length: int, means: NDArray[np.float32]
) -> None:
    """The mean over each chain's nodes: (chains * length, D) to (chains, D)."""
    width = states.shape[1]
    scale = np.float32(1.0 / length)
    for chain in range(chains):
        for j in range(width):
            means[chain, j] = 0
        for row in range(chain * length, (chain + 1) * length):
            for j in range(width):
                means[chain, j] += scale * states[row, j]


@dataclass(frozen=True)
class ChainPlan:
    """Chains of equal length, ready to be predicted by any number of predictors.

    Attributes:
        types: (N, B) uint8; the node types along each chain.
    """

    types: NDArray[np.uint8]

    def __len__(self) -> int:
        """The number of chains N."""
        return len(self.types)

    def predict(self, weights: GcnWeights, threads: int = 1) -> NDArray[np.float32]:
        """(N,) float32 predictions; see ``predict_chains``."""
        return predict_chains(weights, self.types, threads)


def predict_chains(
    weights: GcnWeights, encodings: NDArray[np.uint8], threads: int = 1
) -> NDArray[np.float32]:
    """Predictions for chains of equal length.

    Args:
        weights: The trained predictor (row-normalised).
        encodings: (N, B) uint8; the node types along each chain.
        threads: How many threads share the work; the result does not depend on it.

    Returns:
        (N,) float32 predictions.
    """
    out = np.empty(len(encodings), np.float32)
    layers = [weights.layer(number) for number in range(weights.settings.layers)]
    head = weights.head()
    table = np.ascontiguousarray(layers[0][0])

    def work(start: int, stop: int) -> None:
        for first in range(start, stop, CHUNK):
            out[first : min(first + CHUNK, stop)] = _chunk(
                encodings[first : min(first + CHUNK, stop)], table, layers, head, weights
            )

    run_slices(work, len(encodings), threads)
    return weights.scale.predictions(out)


def _chunk(
    encodings: NDArray[np.uint8],
    table: NDArray[np.float32],
    layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    head: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    weights: GcnWeights,
) -> NDArray[np.float32]:
    chains, length = encodings.shape
    width = weights.width
    states = np.empty((chains * length, width), np.float32)
    # One-hot inputs: the first product is a row of the matrix.
    products = table[encodings.reshape(-1)]
    chain_layer(products, layers[0][1], chains, length, states)
    for matrix, bias in layers[1:]:
        gemm(states, np.ascontiguousarray(matrix), products)
        chain_layer(products, bias, chains, length, states)
    values = np.empty((chains, width), np.float32)
    chain_means(states, chains, length, values)
    for number, (matrix, bias) in enumerate(head):
        following = np.empty((chains, matrix.shape[1]), np.float32)
        gemm(values, np.ascontiguousarray(matrix), following)
        following += bias
        if number < len(head) - 1 and weights.settings.activation == "relu":
            np.maximum(following, 0, out=following)
        values = following
    return values[:, 0]
