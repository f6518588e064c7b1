"""Training of many GCN predictors at once on a device: cuBLAS, and the kernels of ``gcn_train.cu``.

All trials of a call advance together, step by step; they share the architecture and the rules but
have cells, orders, seeds and sample counts of their own. A step is a fixed list of kernels whose
arguments never change: what does change, the step's number, lies on the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.cuda.device import MAX_THREADS, Device, DeviceArray, check_precision
from nprep.kernels.cuda.layout import GcnLayout, Tensor
from nprep.kernels.numeric.adam import BETA_1, BETA_2, cosine_rate

# More vertices than this would be confused in the numbering of dropout masks (gcn_train.cu).
MAX_PLACES = 256


@dataclass(frozen=True)
class TrainingGraphs:
    """The training cells of T trials, one trial after another, as neighbour lists.

    The arrays but the first and the last are those of ``nprep.kernels.nb101.graphs``.

    Attributes:
        cell_offsets: (T + 1,) int32; first cell of each trial.
        types: (V,) uint8.
        cell_starts: (C + 1,) int32.
        out_starts: (V + 1,) int32.
        out_nodes: int32.
        out_weights: float32.
        in_starts: (V + 1,) int32.
        in_nodes: int32.
        in_weights: float32.
        targets: (C,) float32; labels, as the loss takes them.
    """

    cell_offsets: NDArray[np.int32]
    types: NDArray[np.uint8]
    cell_starts: NDArray[np.int32]
    out_starts: NDArray[np.int32]
    out_nodes: NDArray[np.int32]
    out_weights: NDArray[np.float32]
    in_starts: NDArray[np.int32]
    in_nodes: NDArray[np.int32]
    in_weights: NDArray[np.float32]
    targets: NDArray[np.float32]


@dataclass(frozen=True)
class TrainingRules:
    """How all trials are trained; see ``nprep.kernels.graphs.train.train_gcn``.

    Attributes:
        epochs: Passes over the samples.
        batch: Samples in a step.
        peak_rate: First learning rate; cosine decay to zero.
        decay: Weight decay.
        decoupled: Whether it is decoupled from Adam.
        loss_kind: Number of the loss.
        layer_biased: Whether the GCN layers have biases.
        head_biased: Whether the dense layers have biases.
        rectify: Whether the hidden dense layers end in ReLU.
        drop_layers: Dropout rate after every GCN layer.
        drop_readout: Dropout rate of the mean over vertices.
        drop_head: Dropout rate after every hidden dense layer.
        precision: Of the matrix products, "float32" or "tf32".
    """

    epochs: int
    batch: int
    peak_rate: float
    decay: float
    decoupled: bool
    loss_kind: int
    layer_biased: bool
    head_biased: bool
    rectify: bool
    drop_layers: float
    drop_readout: float
    drop_head: float
    precision: str = "float32"


def transposed_weights(
    starts: NDArray[np.int32],
    nodes: NDArray[np.int32],
    weights: NDArray[np.float32],
    other_starts: NDArray[np.int32],
    other_nodes: NDArray[np.int32],
) -> NDArray[np.float32]:
    """The weights of one direction in the order of the other direction's entries.

    Args:
        starts: (V + 1,) first entry of each vertex.
        nodes: (E,) the vertices that it reads.
        weights: (E,) with these weights.
        other_starts: (V + 1,), likewise of the other direction.
        other_nodes: (E,).

    Returns:
        (E,): for the other direction's entry "u has v", the weight with which v reads u.
    """
    readers = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    owners = np.repeat(np.arange(len(other_starts) - 1), np.diff(other_starts))
    # Both directions hold the same pairs of vertices, so sorting either by pair aligns them.
    by_pair = np.lexsort((readers, nodes))
    other_by_pair = np.lexsort((other_nodes, owners))
    out = np.empty_like(weights)
    out[other_by_pair] = weights[by_pair]
    return out


def schedule(
    rules: TrainingRules, samples: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Adam's factors of every step, as ``nprep.kernels.numeric.adam`` computes them.

    Args:
        rules: The rules.
        samples: (T,) number of samples of each trial.

    Returns:
        The bias-corrected rates and what decoupled decay leaves of a weight, (T, S) each and 0
        after a trial's last step, and the correction of the second moment, (S,).
    """
    batches = np.minimum(rules.batch, np.maximum(samples, 1))
    steps = rules.epochs * -(-samples // batches)
    most = int(steps.max(initial=0))
    numbers = np.arange(1, most + 1)
    sizes = np.zeros((len(samples), most), np.float32)
    shrinks = np.zeros((len(samples), most), np.float32)
    for count in np.unique(steps).tolist():
        rates = np.array([cosine_rate(rules.peak_rate, step, count) for step in range(count)])
        sizes[steps == count, :count] = rates / (1.0 - BETA_1 ** numbers[:count])
        shrinks[steps == count, :count] = 1.0 - rates * rules.decay if rules.decoupled else 1.0
    return sizes, shrinks, (1.0 / np.sqrt(1.0 - BETA_2**numbers)).astype(np.float32)


class CudaTrainer:
    """The state of T trials on a device.

    Attributes:
        device: The device.
        layout: Sizes of the predictors.
        rules: How they are trained.
        steps: Steps of the longest trial.
    """

    def __init__(
        self,
        device: Device,
        layout: GcnLayout,
        rules: TrainingRules,
        graphs: TrainingGraphs,
        parameters: NDArray[np.float32],
        orders: list[NDArray[np.int32]],
        seeds: NDArray[np.uint64],
    ) -> None:
        """Copies everything to the device.

        Args:
            device: The device.
            layout: Sizes of the predictors.
            rules: How they are trained.
            graphs: Their cells.
            parameters: (T, P) initial parameters, packed as in ``nprep.kernels.graphs.train``.
            orders: For each trial (epochs, N): the order of its samples in every epoch.
            seeds: (T,) seeds of the dropout masks.
        """
        check_precision(rules.precision)
        self.device = device
        self.layout = layout
        self.rules = rules
        self._trials = len(parameters)
        samples = np.diff(graphs.cell_offsets)
        sizes, shrinks, scales = schedule(rules, samples)
        self.steps = len(scales)
        self._batch = int(min(rules.batch, samples.max()))
        self._places = int(np.diff(graphs.cell_starts).max())
        if self._places > MAX_PLACES:
            raise SettingsError(
                f"a graph has {self._places} vertices, and the cupy backend trains on at most "
                f"{MAX_PLACES}: choose another backend."
            )
        order_starts = np.cumsum([0, *(order.size for order in orders[:-1])], dtype=np.int64)
        upload = device.upload
        self._cells = upload(graphs.cell_offsets), upload(order_starts)
        self._orders = upload(np.concatenate([order.ravel() for order in orders]))
        self._starts, self._types = upload(graphs.cell_starts), upload(graphs.types)
        out = upload(graphs.out_starts), upload(graphs.out_nodes)
        into = upload(graphs.in_starts), upload(graphs.in_nodes)
        self._lists = (*out, upload(graphs.out_weights), *into, upload(graphs.in_weights))
        pairs_out = graphs.out_starts, graphs.out_nodes
        pairs_in = graphs.in_starts, graphs.in_nodes
        # The list against the edges carries the weights along them, and the other way round.
        back_in = transposed_weights(*pairs_out, graphs.out_weights, *pairs_in)
        back_out = transposed_weights(*pairs_in, graphs.in_weights, *pairs_out)
        self._back_lists = (*out, upload(back_out), *into, upload(back_in))
        self._targets = upload(graphs.targets)
        self._seeds = upload(seeds)
        self._schedule = upload(sizes), upload(shrinks), upload(scales)
        self._step = device.zeros(1, np.int32)
        self.parameters = upload(layout.pad(parameters))
        self.gradients = device.zeros(self.parameters.shape, np.float32)
        self._means = device.zeros(self.parameters.shape, np.float32)
        self._squares = device.zeros(self.parameters.shape, np.float32)
        self.losses = device.zeros((self._trials, rules.epochs), np.float64)
        self._allocate()

    def _allocate(self) -> None:
        """Makes the buffers that every step uses again."""
        trials, batch, width = self._trials, self._batch, self.layout.padded_width
        rows = batch * self._places

        def floats(*shape: int) -> DeviceArray:
            return self.device.empty(shape, np.float32)

        self._slots = self.device.empty((trials, batch), np.int32)
        self._counts = self.device.empty(trials, np.int32)
        self._sums = [floats(trials, rows, 2 * width) for _ in range(self.layout.layers)]
        self._states = [floats(trials, rows, width) for _ in range(self.layout.layers)]
        self._wide = floats(trials, rows, 2 * width)
        self._split = floats(trials, rows, 2 * width)
        self._deltas = floats(trials, rows, width)
        head = self.layout.padded_head
        self._values = [floats(trials, batch, size) for size in head[:-1]]
        self._slopes = [floats(trials, batch, size) for size in head[:-1]]
        # Twice the outputs: the ranking loss keeps slopes beside them.
        self._outputs = floats(2 * trials, batch, 1)

    def _launch(self, kernel: str, items: int, *arguments: Any) -> None:
        self.device.launch("gcn_train", kernel, items, *arguments, threads=MAX_THREADS)

    def _dropout(self, rate: float, site: int) -> tuple[Any, ...]:
        """The arguments of a dropout mask; the rate is kept to 1 / 65,536 as on the CPU."""
        limit = np.uint32(round(rate * 65536.0))
        return self._step, self._seeds, np.int32(site), limit, np.float32(1.0 / (1.0 - rate))

    def _from(self, array: DeviceArray, start: int) -> tuple[DeviceArray, np.int64]:
        """Stacked parameters from one of them on, and their distance in numbers."""
        return array.reshape(-1)[start:], np.int64(self.layout.size)

    def _quads_from(self, array: DeviceArray, start: int) -> tuple[DeviceArray, np.int64]:
        """As ``_from``, with the distance in quads."""
        return array.reshape(-1)[start:], np.int64(self.layout.size // 4)

    def _matrix(self, array: DeviceArray, tensor: Tensor) -> DeviceArray:
        """A view (T, rows, columns) of a weight matrix in stacked parameters or gradients."""
        part = array[:, tensor.start : tensor.bias]
        # Splitting the contiguous axis of a view needs no copy.
        return part.reshape(self._trials, tensor.rows, tensor.columns)

    def _multiply(self, left: DeviceArray, right: DeviceArray, out: DeviceArray) -> None:
        self.device.multiply(left, right, out, self.rules.precision)

    def step(self) -> None:
        """Queues one step of every trial that is not finished."""
        trials, batch = np.int32(self._trials), np.int32(self._batch)
        self._launch(
            "draw_batch", self._trials * self._batch, trials, batch, np.int32(self.rules.epochs),
            self._step, *self._cells, self._orders, self._slots, self._counts,
        )  # fmt: skip
        self._forward(trials, batch)
        self._launch(
            "output_loss", self._trials, trials, batch, np.int32(self.rules.epochs),
            np.int32(self.rules.loss_kind), self._slots, self._counts, self._cells[0],
            self._targets, *self._from(self.parameters, self.layout.tensors[-1].bias), self._step,
            self._outputs, self.losses,
        )  # fmt: skip
        self._backward_head(trials, batch)
        self._backward_layers(trials, batch)
        quads = self.layout.size // 4
        self._launch(
            "adam_update", self._trials * quads, trials, np.int64(quads), np.int32(self.steps),
            self._step, self._counts, *self._schedule,
            np.float32(0.0 if self.rules.decoupled else self.rules.decay), self.gradients,
            self.parameters, self._means, self._squares,
        )  # fmt: skip
        self._launch("next_step", 1, self._step)

    def _forward(self, trials: np.int32, batch: np.int32) -> None:
        """Computes the outputs of a batch, without the last bias."""
        layout, rules = self.layout, self.rules
        places, quads = np.int32(self._places), np.int32(layout.padded_width // 4)
        rows = self._batch * self._places
        sizes = trials, batch, places, quads
        products, stride = self._quads_from(self.parameters, 0)
        for layer in range(layout.layers):
            tensor = layout.tensors[layer]
            if layer > 0:
                matrix = self._matrix(self.parameters, tensor)
                self._multiply(self._states[layer - 1], matrix, self._wide)
                products, stride = self._wide, np.int64(rows * 2 * int(quads))
            self._launch(
                "layer_forward", self._trials * rows * int(quads), *sizes, np.int32(layer == 0),
                self._slots, self._starts, self._types, *self._lists, products, stride,
                *self._quads_from(self.parameters, tensor.bias),
                *self._dropout(rules.drop_layers, layer), self._sums[layer], self._states[layer],
            )  # fmt: skip
        self._launch(
            "readout_forward", self._trials * self._batch * int(quads), *sizes, self._slots,
            self._starts, self._states[-1], *self._dropout(rules.drop_readout, layout.layers),
            self._values[0],
        )  # fmt: skip
        hidden = layout.tensors[layout.layers : -1]
        for number, tensor in enumerate(hidden):
            values = self._values[number + 1]
            self._multiply(self._values[number], self._matrix(self.parameters, tensor), values)
            self._launch(
                "dense_forward", self._trials * self._batch * (tensor.columns // 4), trials, batch,
                np.int32(tensor.columns // 4), np.int32(rules.rectify),
                *self._quads_from(self.parameters, tensor.bias),
                *self._dropout(rules.drop_head, layout.layers + 1 + number), values,
            )  # fmt: skip
        last = self._matrix(self.parameters, layout.tensors[-1])
        self._multiply(self._values[-1], last, self._outputs[: self._trials])

    def _backward_head(self, trials: np.int32, batch: np.int32) -> None:
        """Computes the gradients of the dense stack and of its input."""
        layout, rules = self.layout, self.rules
        delta = self._outputs[: self._trials]
        for number in range(len(layout.tensors) - layout.layers - 1, -1, -1):
            tensor = layout.tensors[layout.layers + number]
            below = self._values[number]
            self._multiply(below.transpose(0, 2, 1), delta, self._matrix(self.gradients, tensor))
            self._bias_gradient(self._batch, tensor, rules.head_biased, delta)
            matrix = self._matrix(self.parameters, tensor)
            slopes = self._slopes[number]
            self._multiply(delta, matrix.transpose(0, 2, 1), slopes)
            if number > 0:
                quads = tensor.rows // 4
                self._launch(
                    "dense_backward", self._trials * self._batch * quads, trials, batch,
                    np.int32(quads), np.int32(rules.rectify), below,
                    *self._dropout(rules.drop_head, layout.layers + number), slopes,
                )  # fmt: skip
            delta = slopes

    def _bias_gradient(self, rows: int, tensor: Tensor, biased: bool, delta: DeviceArray) -> None:
        self._launch(
            "bias_gradient", self._trials * tensor.columns, np.int32(self._trials),
            np.int32(rows), np.int32(tensor.columns), np.int32(biased), delta,
            *self._from(self.gradients, tensor.bias),
        )  # fmt: skip

    def _backward_layers(self, trials: np.int32, batch: np.int32) -> None:
        """Computes the gradients of the GCN layers from that of the readouts."""
        layout, rules = self.layout, self.rules
        places, quads = np.int32(self._places), np.int32(layout.padded_width // 4)
        rows = self._batch * self._places
        items = self._trials * rows * int(quads)
        sizes = trials, batch, places, quads
        self._launch(
            "readout_backward", items, *sizes, self._slots, self._starts, self._slopes[0],
            *self._dropout(rules.drop_readout, layout.layers), self._deltas,
        )  # fmt: skip
        for layer in range(layout.layers - 1, -1, -1):
            tensor = layout.tensors[layer]
            self._launch(
                "split_deltas", items, trials, np.int32(rows), places, quads, self._sums[layer],
                self._deltas, *self._dropout(rules.drop_layers, layer), self._split,
            )  # fmt: skip
            self._bias_gradient(rows, tensor, rules.layer_biased, self._split)
            self._launch(
                "layer_backward", items, *sizes, self._slots, self._starts, *self._back_lists,
                self._split, self._wide,
            )  # fmt: skip
            if layer == 0:
                self._launch(
                    "type_gradient", self._trials * layout.num_types * 2 * int(quads), *sizes,
                    np.int32(layout.num_types), self._slots, self._starts, self._types, self._wide,
                    *self._quads_from(self.gradients, tensor.start),
                )  # fmt: skip
            else:
                below = self._states[layer - 1].transpose(0, 2, 1)
                self._multiply(below, self._wide, self._matrix(self.gradients, tensor))
                matrix = self._matrix(self.parameters, tensor)
                self._multiply(self._wide, matrix.transpose(0, 2, 1), self._deltas)

    def train(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Runs all steps that are left.

        Returns:
            The trained parameters (T, P), packed, and the mean loss of every epoch (T, epochs).
        """
        done = int(self.device.download(self._step)[0])
        for _ in range(done, self.steps):
            self.step()
        return (
            self.layout.unpad(self.device.download(self.parameters)),
            self.device.download(self.losses),
        )
