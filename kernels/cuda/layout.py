"""How the flat parameters of a GCN predictor are laid out on a device.

``nprep.kernels.graphs.train`` packs them tightly. Here every width is padded with zeros to a
multiple of 4, so that a thread moves 4 numbers at once and every tensor starts on 16 bytes. Padded
units compute zeros and receive zero gradients: they stay zeros through training.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tensor:
    """A weight matrix and the biases behind it, in the padded parameters.

    Attributes:
        start: First parameter.
        rows: Rows of the matrix, padded.
        columns: Columns of the matrix, padded; also the number of biases.
    """

    start: int
    rows: int
    columns: int

    @property
    def bias(self) -> int:
        """First bias."""
        return self.start + self.rows * self.columns

    @property
    def stop(self) -> int:
        """End of the biases; the output's single bias takes 4 places."""
        return self.bias + padded(self.columns)


def padded(size: int, multiple: int = 4) -> int:
    """``size`` rounded up to a multiple."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class GcnLayout:
    """Sizes of a predictor.

    Attributes:
        num_types: Node types.
        layers: GCN layers, at least 1.
        width: Their width D.
        head: Sizes of the hidden dense layers.
        multiple: What the GCN's width is padded to a multiple of.
    """

    num_types: int
    layers: int
    width: int
    head: tuple[int, ...]
    multiple: int = 4

    @property
    def padded_width(self) -> int:
        """The width on the device."""
        return padded(self.width, self.multiple)

    @property
    def padded_head(self) -> tuple[int, ...]:
        """Sizes of the dense stack on the device: input, hidden, the single output."""
        return self.padded_width, *(padded(size) for size in self.head), 1

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The GCN layers' tensors, then the dense layers'."""
        sizes = [
            (self.num_types if layer == 0 else self.padded_width, 2 * self.padded_width)
            for layer in range(self.layers)
        ]
        head = self.padded_head
        sizes += list(itertools.pairwise(head))
        tensors: list[Tensor] = []
        for rows, columns in sizes:
            tensors.append(Tensor(tensors[-1].stop if tensors else 0, rows, columns))
        return tuple(tensors)

    @property
    def size(self) -> int:
        """Number of padded parameters."""
        return self.tensors[-1].stop

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """(P,) the place of every packed parameter among the padded ones."""
        width, wide = self.width, self.padded_width
        sides = np.concatenate([np.arange(width), wide + np.arange(width)])
        head = (width, *self.head, 1)
        parts = []
        for number, tensor in enumerate(self.tensors):
            if number < self.layers:
                rows, columns = (self.num_types if number == 0 else width), sides
            else:
                rows = head[number - self.layers]
                columns = np.arange(head[number - self.layers + 1])
            matrix = tensor.start + tensor.columns * np.arange(rows)[:, None] + columns
            parts += [matrix.ravel(), tensor.bias + columns]
        return np.concatenate(parts)

    def pad(self, parameters: NDArray[np.float32]) -> NDArray[np.float32]:
        """Padded parameters (T, size) from packed ones (T, P)."""
        out = np.zeros((len(parameters), self.size), np.float32)
        out[:, self.places] = parameters
        return out

    def unpad(self, parameters: NDArray[np.float32]) -> NDArray[np.float32]:
        """Packed parameters (T, P) from padded ones (T, size)."""
        return parameters[:, self.places]
