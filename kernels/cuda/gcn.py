"""Whole-space inference of GCN predictors on a device: cuBLAS, and the kernels of ``gcn.cu``.

Each layer multiplies the distinct states of the layer below by its weights and gathers the products
by the plan's lists; the last layer and the mean over vertices are one kernel. As many
predictors are evaluated together as fit into the allowed memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.cuda.device import (
    Device,
    DeviceArray,
    check_precision,
    to_bfloat16,
)
from nprep.kernels.cuda.layout import GcnLayout

DEFAULT_MEMORY = 4 << 30
_CELLS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Direction:
    """What each of R rows gathers in one direction.

    Attributes:
        starts: (R + 1,) int32; first entry of each row.
        sources: int32; the row of the layer below (for the first layer: the node type).
        weights: float32; the weight of each entry.
    """

    starts: NDArray[np.int32]
    sources: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class InferencePlan:
    """Which states a space of N cells needs, layer by layer.

    Attributes:
        num_types: Node types.
        layers: For each layer the lists along and against the edges. The rows of all but the last
            layer are its distinct states; those of the last are the vertices of all cells.
        cell_starts: (N + 1,) int32; first vertex of each cell, among the rows of the last layer.
    """

    num_types: int
    layers: tuple[tuple[Direction, Direction], ...]
    cell_starts: NDArray[np.int32]

    @property
    def rows(self) -> tuple[int, ...]:
        """The number of rows of each layer."""
        return tuple(len(along.starts) - 1 for along, _ in self.layers)


class CudaGcn:
    """Predicts a space on a device; the plan stays there between calls.

    Attributes:
        device: The device.
        plan: The plan.
        precision: Of the GCN's matrix products: "float32", "tf32" or "bfloat16".
        memory: Bytes that the buffers of a call may take (plan and weights not counted).
    """

    def __init__(
        self,
        device: Device,
        plan: InferencePlan,
        precision: str = "float32",
        memory: int = DEFAULT_MEMORY,
    ) -> None:
        """Copies the plan to the device.

        Raises:
            SettingsError: If the precision is unknown.
        """
        check_precision(precision)
        self.device = device
        self.plan = plan
        self.precision = precision
        self.memory = memory
        self._lists: list[list[DeviceArray]] = [
            [
                device.upload(array)
                for direction in layer
                for array in (direction.starts, direction.sources, direction.weights)
            ]
            for layer in plan.layers
        ]
        self._cell_starts = device.upload(plan.cell_starts)

    def predict(
        self,
        parameters: NDArray[np.float32],
        width: int,
        head: Sequence[int],
        rectify: bool = True,
    ) -> NDArray[np.float32]:
        """Raw outputs of T predictors for all cells.

        Args:
            parameters: (T, P), packed as in ``nprep.kernels.graphs.train``.
            width: Width of the GCN layers.
            head: Sizes of the hidden dense layers.
            rectify: Whether those end in ReLU.

        Returns:
            (T, N) float32.

        Raises:
            SettingsError: If the memory allowed does not suffice for one predictor.
        """
        layout = GcnLayout(
            self.plan.num_types, len(self.plan.layers), width, tuple(head),
            8 if self.precision == "bfloat16" else 4,
        )  # fmt: skip
        count = len(parameters)
        cells = len(self.plan.cell_starts) - 1
        if parameters.shape[1] != len(layout.places):
            raise ValueError(
                f"{parameters.shape[1]} parameters were given, {len(layout.places)} are needed"
            )
        at_once = self._predictors_at_once(layout)
        outputs = np.empty((count, cells), np.float32)
        buffers = self._buffers(layout, min(at_once, count))
        for start in range(0, count, at_once):
            stop = min(start + at_once, count)
            self._predict_some(
                layout, layout.pad(parameters[start:stop]), rectify, buffers, outputs[start:stop]
            )
        return outputs

    def _sizes(self, layout: GcnLayout) -> tuple[int, int, list[int]]:
        """Numbers of one predictor: products, states, and readouts and hidden units per cell."""
        width = layout.padded_width
        distinct = max(self.plan.rows[:-1], default=0)
        return distinct * 2 * width, distinct * width, [width, *layout.padded_head[1:-1]]

    def _predictors_at_once(self, layout: GcnLayout) -> int:
        """How many predictors the memory holds."""
        products, states, per_cell = self._sizes(layout)
        chunk = min(_CELLS_AT_ONCE, len(self.plan.cell_starts) - 1)
        each = 4 * (products + states + chunk * (sum(per_cell) + 1))
        if each > self.memory:
            raise SettingsError(
                f"a memory of {self.memory / 2**20:.0f} MiB is too small for the cupy backend: one "
                f"predictor of width {layout.width} needs {each / 2**20:.0f} MiB; allow that much."
            )
        return self.memory // each

    def _buffers(self, layout: GcnLayout, predictors: int) -> dict[str, DeviceArray]:
        """Flat buffers for a number of predictors, used again by every group of them."""
        products, states, per_cell = self._sizes(layout)
        chunk = min(_CELLS_AT_ONCE, len(self.plan.cell_starts) - 1)
        state_type = np.uint16 if self.precision == "bfloat16" else np.float32
        buffers = {
            "products": self.device.empty(predictors * products, np.float32),
            "states": self.device.empty(predictors * states, state_type),
            "outputs": self.device.empty(predictors * chunk, np.float32),
        }
        for number, size in enumerate(per_cell):
            buffers[f"cells {number}"] = self.device.empty(predictors * chunk * size, np.float32)
        return buffers

    def _predict_some(
        self,
        layout: GcnLayout,
        parameters: NDArray[np.float32],
        rectify: bool,
        buffers: dict[str, DeviceArray],
        outputs: NDArray[np.float32],
    ) -> None:
        """Predicts with as many predictors as the buffers hold; parameters are padded."""
        device, plan, width = self.device, self.plan, layout.padded_width
        count, quads = np.int32(len(parameters)), np.int32(width // 4)

        def matrix(number: int) -> NDArray[np.float32]:
            tensor = layout.tensors[number]
            flat = parameters[:, tensor.start : tensor.bias]
            return flat.reshape(int(count), tensor.rows, tensor.columns)

        def bias(number: int) -> DeviceArray:
            tensor = layout.tensors[number]
            return device.upload(parameters[:, tensor.bias : tensor.bias + tensor.columns])

        # The states below the first layer are one-hot, so its products are its weights.
        sources = plan.num_types
        products = device.upload(matrix(0))
        for layer in range(1, layout.layers):
            rows = plan.rows[layer - 1]
            states = buffers["states"][: int(count) * rows * width]
            name = "gather_states_bfloat16" if self.precision == "bfloat16" else "gather_states"
            device.launch(
                "gcn", name, int(count) * rows * int(quads), count, np.int64(rows),
                np.int64(sources), quads, *self._lists[layer - 1], products, bias(layer - 1),
                states,
            )  # fmt: skip
            sources = rows
            weights: NDArray[Any] = matrix(layer)
            if self.precision == "bfloat16":
                weights = to_bfloat16(weights)
            products = buffers["products"][: int(count) * rows * 2 * width]
            device.multiply(
                states.reshape(int(count), rows, width),
                device.upload(weights),
                products.reshape(int(count), rows, 2 * width),
                self.precision,
            )
        last_bias = bias(layout.layers - 1)
        head = [
            (device.upload(matrix(number)), bias(number))
            for number in range(layout.layers, len(layout.tensors))
        ]
        cells = outputs.shape[1]
        for start in range(0, cells, _CELLS_AT_ONCE):
            stop = min(start + _CELLS_AT_ONCE, cells)
            chunk = stop - start
            readouts = buffers["cells 0"][: int(count) * chunk * width]
            device.launch(
                "gcn", "gather_means", int(count) * chunk * int(quads), count, np.int64(chunk),
                np.int64(sources), quads, self._cell_starts[start : stop + 1], *self._lists[-1],
                products, last_bias, readouts,
            )  # fmt: skip
            readouts = readouts.reshape(int(count), chunk, width)
            outputs[:, start:stop] = self._head(layout, head, rectify, readouts, buffers)

    def _head(
        self,
        layout: GcnLayout,
        head: list[tuple[DeviceArray, DeviceArray]],
        rectify: bool,
        readouts: DeviceArray,
        buffers: dict[str, DeviceArray],
    ) -> NDArray[np.float32]:
        """Outputs (T, cells) of the dense stack; its units are rows, so that cells lie together."""
        device = self.device
        predictors, chunk, _ = readouts.shape
        count, flag = np.int32(predictors), np.int32(rectify)
        precision = "float32" if self.precision == "float32" else "tf32"
        values = readouts.transpose(0, 2, 1)
        hidden = layout.padded_head[1:-1]
        for number, units in enumerate(hidden):
            weights, biases = head[number]
            flat = buffers[f"cells {number + 1}"][: predictors * units * chunk]
            below, values = values, flat.reshape(predictors, units, chunk)
            device.multiply(weights.transpose(0, 2, 1), below, values, precision)
            if number + 1 < len(hidden):
                device.launch(
                    "gcn", "finish_hidden", predictors * units * chunk, count, np.int32(units),
                    np.int64(chunk), flag, biases, flat,
                )  # fmt: skip
        outputs = buffers["outputs"][: predictors * chunk]
        weights, biases = head[-1]
        if not hidden:
            device.multiply(
                weights.transpose(0, 2, 1), values, outputs.reshape(predictors, 1, chunk), precision
            )
            device.launch(
                "gcn", "finish_hidden", predictors * chunk, count, np.int32(1), np.int64(chunk),
                np.int32(0), biases, outputs,
            )  # fmt: skip
        else:
            device.launch(
                "gcn", "head_outputs", predictors * chunk, count, np.int32(hidden[-1]),
                np.int64(chunk), flag, head[-2][1], weights, biases, values, outputs,
            )  # fmt: skip
        return device.download(outputs).reshape(predictors, chunk)
