"""Whole spaces in PyTorch, on a CUDA device or the CPU; training stays with the compiled loop.

Eager training in PyTorch takes several times as long as the compiled loop even for stacked trials
on a CPU, and on a GPU the ``cupy`` backend has kernels for it, so there is no trainer here.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep._optional import need
from nprep.predictor.backends.numba import NumbaBackend
from nprep.predictor.gathers import Segment
from nprep.predictor.gcn import GcnWeights
from nprep.predictor.plan import SharingPlan

# Nodes of the last layer at a time: 2 x 144 floats each make 75 MB.
_NODES = 1 << 16


class TorchBackend(NumbaBackend):
    """Asks in PyTorch and trains as ``NumbaBackend``.

    Attributes:
        name: "torch".
        precision: "float32" or "bfloat16", of the products of the GCN layers.
        device: "cuda" or "cpu".
    """

    name = "torch"

    def __init__(self, precision: str = "float32", device: str | None = None) -> None:
        """Finds a device.

        Args:
            precision: "float32" or "bfloat16".
            device: Name of a PyTorch device; None: CUDA where it can be used.

        Raises:
            MissingDependencyError: If PyTorch cannot be imported.
        """
        super().__init__()
        self._torch = need("torch", "use the torch backend", instead="choose another backend")
        self.precision = precision
        self.device = device or ("cuda" if self._torch.cuda.is_available() else "cpu")
        self.whole = self.device != "cpu"
        self._placed: tuple[weakref.ref[SharingPlan], list[dict[str, Any]]] | None = None

    def describe(self) -> dict[str, str]:
        """See ``nprep.predictor.backends.base.Backend.describe``."""
        device = self.device
        if device.startswith("cuda"):
            device = self._torch.cuda.get_device_name()
        return {**super().describe(), "device": device}

    def outputs(
        self, plan: SharingPlan, weights: Sequence[GcnWeights]
    ) -> Iterator[NDArray[np.float32]]:
        """See ``nprep.predictor.backends.base.Backend.outputs``."""
        if self._placed is None or self._placed[0]() is not plan:
            self._placed = weakref.ref(plan), [self._place(part) for part in plan.segments]
        for one in weights:
            plan.check(one)
            out = np.empty(len(plan), np.float32)
            with self._torch.inference_mode():
                for segment, placed in zip(plan.segments, self._placed[1], strict=True):
                    out[segment.cells] = self._segment(segment, placed, one).cpu().numpy()
            yield out

    def _tensor(self, array: NDArray[Any]) -> Any:
        # A copy: arrays that are mapped or views may not be written, of which PyTorch warns.
        return self._torch.tensor(np.asarray(array), device=self.device)

    def _place(self, segment: Segment) -> dict[str, Any]:
        """A segment's lists on the device."""
        return {
            "layers": [[self._tensor(array) for array in gather.lists] for gather in segment.layers]
        }

    def _states(
        self, lists: Sequence[Any], left: Any, right: Any, bias: Any, first: int, last: int
    ) -> Any:
        """States of some rows of a layer."""
        torch = self._torch
        width = left.shape[1]
        sides = []
        for k, products, part in ((0, left, bias[:width]), (3, right, bias[width:])):
            starts, sources, weights = lists[k : k + 3]
            begin, end = int(starts[first]), int(starts[last])
            sums = torch.nn.functional.embedding_bag(
                sources[begin:end],
                products,
                starts[first:last] - begin,
                mode="sum",
                per_sample_weights=weights[begin:end],
            )
            sides.append(torch.relu(sums + part))
        return (sides[0] + sides[1]) / 2

    def _multiply(self, states: Any, matrix: NDArray[np.float32]) -> tuple[Any, Any]:
        """Products with both halves of a layer's matrix, in float32."""
        dtype = getattr(self._torch, self.precision)
        width = matrix.shape[1] // 2
        halves = (self._tensor(np.ascontiguousarray(matrix[:, side])) for side in (
            slice(0, width), slice(width, None)
        ))  # fmt: skip
        left, right = ((states.to(dtype) @ half.to(dtype)).float() for half in halves)
        return left, right

    def _segment(self, segment: Segment, placed: dict[str, Any], weights: GcnWeights) -> Any:
        """Raw outputs for the cells of a segment."""
        torch = self._torch
        matrix = weights.layer(0)[0]
        left = self._tensor(np.ascontiguousarray(matrix[:, : weights.width]))
        right = self._tensor(np.ascontiguousarray(matrix[:, weights.width :]))
        layers = placed["layers"]
        for number, lists in enumerate(layers[:-1]):
            bias = self._tensor(weights.layer(number)[1])
            states = self._states(lists, left, right, bias, 0, len(lists[0]) - 1)
            left, right = self._multiply(states, weights.layer(number + 1)[0])
        bias = self._tensor(weights.layer(len(layers) - 1)[1])
        head = [(self._tensor(matrix), self._tensor(bias)) for matrix, bias in weights.head()]
        starts = segment.cell_starts.astype(np.int64)
        outputs = []
        for first, last in itertools.pairwise(_chunks(starts)):
            begin, end = int(starts[first]), int(starts[last])
            states = self._states(layers[-1], left, right, bias, begin, end)
            values = torch.nn.functional.embedding_bag(
                torch.arange(end - begin, device=self.device),
                states,
                self._tensor(starts[first:last] - begin),
                mode="mean",
            )
            for number, (matrix, shift) in enumerate(head):
                values = values @ matrix + shift
                if weights.settings.activation == "relu" and number + 1 < len(head):
                    values = torch.relu(values)
            outputs.append(values[:, 0])
        return torch.cat(outputs)


def _chunks(starts: NDArray[np.int64]) -> list[int]:
    """Edges of runs of cells with about ``_NODES`` nodes each."""
    edges = [0]
    while edges[-1] < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[edges[-1]] + _NODES, "right")) - 1
        edges.append(min(max(last, edges[-1] + 1), len(starts) - 1))
    return edges
