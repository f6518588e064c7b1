"""The NASBench-101 network: a cell repeated in three stacks, as the table's runs trained it.

Source: Ying et al. 2019 and the released code, ``nasbench/lib/model_builder.py`` and
``base_ops.py``: every convolution is followed by batch norm (momentum 0.997 in TensorFlow's sense,
epsilon 1e-5) and ReLU; weights are drawn by ``variance_scaling_initializer``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nprep.errors import InvalidSpecError

CONV3X3, CONV1X1, MAXPOOL3X3 = 0, 1, 2
STEM_CHANNELS = 128
# torch weighs the new batch, TensorFlow the old average: 1 - 0.997.
BN_MOMENTUM, BN_EPSILON = 0.003, 1e-5
# The standard deviation of a normal cut off at two of its own; the initialiser corrects for it.
TRUNCATED_STD = 0.87962566103423978


class ConvBnRelu(nn.Sequential):
    """A convolution without bias, batch norm and ReLU."""

    def __init__(self, incoming: int, outgoing: int, kernel: int) -> None:
        """Builds the three layers."""
        super().__init__(
            nn.Conv2d(incoming, outgoing, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outgoing, eps=BN_EPSILON, momentum=BN_MOMENTUM),
            nn.ReLU(inplace=True),
        )


def vertex_channels(incoming: int, outgoing: int, matrix: NDArray[np.integer]) -> list[int]:
    """Channels of every vertex of a cell.

    The output's channels are divided among the vertices that feed it, the first ones taking the
    remainder; any other vertex has the most channels among those it feeds.

    Args:
        incoming: Channels of the input.
        outgoing: Channels of the output.
        matrix: (n, n) strictly upper triangular adjacency, pruned.

    Returns:
        n channel counts.
    """
    last = len(matrix) - 1
    channels = [incoming] + [0] * (last - 1) + [outgoing]
    feeders = [v for v in range(1, last) if matrix[v, last]]
    for rank, vertex in enumerate(feeders):
        channels[vertex] = outgoing // len(feeders) + (rank < outgoing % len(feeders))
    for vertex in range(last - 1, 0, -1):
        if not matrix[vertex, last]:
            channels[vertex] = max(
                channels[w] for w in range(vertex + 1, last) if matrix[vertex, w]
            )
    return channels


class Cell(nn.Module):
    """One cell."""

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        matrix: NDArray[np.integer],
        operations: NDArray[np.integer],
    ) -> None:
        """Builds the operations and the 1x1 projections of the input.

        Args:
            incoming: Channels of the input.
            outgoing: Channels of the output.
            matrix: (n, n) adjacency, pruned.
            operations: (n,) operation codes; the two ends are not looked at.
        """
        super().__init__()
        self.last = len(matrix) - 1
        self.channels = vertex_channels(incoming, outgoing, matrix)
        self.sources = [[u for u in range(v) if matrix[u, v]] for v in range(len(matrix))]
        self.projections = nn.ModuleDict()
        self.operations = nn.ModuleDict()
        for vertex in range(1, len(matrix)):
            width = self.channels[vertex]
            if matrix[0, vertex]:
                self.projections[str(vertex)] = ConvBnRelu(incoming, width, 1)
            if vertex < self.last:
                self.operations[str(vertex)] = _operation(int(operations[vertex]), width)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, incoming, H, W) to (N, outgoing, H, W)."""
        values = [images]
        for vertex in range(1, self.last):
            width = self.channels[vertex]
            # The order of summation is the released code's: interior vertices, then the input.
            parts = [values[u][:, :width] for u in self.sources[vertex] if u]
            if 0 in self.sources[vertex]:
                parts.append(self.projections[str(vertex)](images))
            values.append(self.operations[str(vertex)](sum(parts[1:], parts[0])))
        parts = [values[u] for u in self.sources[self.last] if u]
        if not parts:
            projected: Tensor = self.projections[str(self.last)](images)
            return projected
        out = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        if 0 in self.sources[self.last]:
            out = out + self.projections[str(self.last)](images)
        return out


def _operation(code: int, channels: int) -> nn.Module:
    if code == CONV3X3:
        return ConvBnRelu(channels, channels, 3)
    if code == CONV1X1:
        return ConvBnRelu(channels, channels, 1)
    if code == MAXPOOL3X3:
        return nn.MaxPool2d(3, 1, 1)
    raise InvalidSpecError(f"operation code {code} is unknown: an interior vertex has 0, 1 or 2.")


class CellNetwork(nn.Module):
    """Stem, three stacks of three cells with 2x2 max-pooling between, classifier."""

    def __init__(
        self,
        matrix: NDArray[np.integer],
        operations: NDArray[np.integer],
        num_classes: int = 10,
        stem_channels: int = STEM_CHANNELS,
    ) -> None:
        """Builds and initialises the network (from torch's global generator).

        Args:
            matrix: (n, n) adjacency of a pruned, valid cell.
            operations: (n,) operation codes.
            num_classes: Outputs of the classifier.
            stem_channels: 128 in the table; less makes a small network of the same kind.

        Raises:
            InvalidSpecError: If the cell is not a pruned one.
        """
        super().__init__()
        matrix = np.asarray(matrix)
        check_cell(matrix, np.asarray(operations))
        self.stem = ConvBnRelu(3, stem_channels, 3)
        self.stacks = nn.ModuleList()
        channels = stem_channels
        for stack in range(3):
            outgoing = stem_channels << stack
            cells = [Cell(channels, outgoing, matrix, operations)]
            cells += [Cell(outgoing, outgoing, matrix, operations) for _ in range(2)]
            self.stacks.append(nn.Sequential(*cells))
            channels = outgoing
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to logits (N, num_classes)."""
        features: Tensor = self.stem(images)
        for number, stack in enumerate(self.stacks):
            if number:
                features = functional.max_pool2d(features, 2, ceil_mode=True)
            features = stack(features)
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


def check_cell(matrix: NDArray[np.integer], operations: NDArray[np.integer]) -> None:
    """Raises InvalidSpecError unless every vertex lies on a path from input to output."""
    size = len(matrix)
    if matrix.shape != (size, size) or not 2 <= size <= 7 or len(operations) != size:
        raise InvalidSpecError(
            f"a cell has matrix {matrix.shape} and {len(operations)} operations: give an n x n "
            "matrix, n from 2 to 7, and n operations."
        )
    if np.tril(matrix).any() or not np.isin(matrix, (0, 1)).all():
        raise InvalidSpecError("a cell's matrix must be strictly upper triangular with 0 and 1.")
    if not (matrix[:-1].any(axis=1).all() and matrix[:, 1:].any(axis=0).all()):
        raise InvalidSpecError(
            "a cell has a vertex that is not on a path from input to output: prune it first."
        )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        std = math.sqrt(1 / fan_in) / TRUNCATED_STD
        nn.init.trunc_normal_(module.weight, 0, std, -2 * std, 2 * std)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
