"""Predictors on a CUDA device: blocks of them train, and are asked, together."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.cuda.device import Device
from nprep.kernels.cuda.gcn import CudaGcn, Direction, InferencePlan
from nprep.kernels.cuda.gcn_train import CudaTrainer, TrainingGraphs, TrainingRules
from nprep.kernels.cuda.layout import GcnLayout
from nprep.kernels.numeric.rng import seed_state, shuffle
from nprep.predictor.backends.base import DEFAULT_MEMORY, TrainingTask
from nprep.predictor.gathers import Segment
from nprep.predictor.gcn import GcnWeights, initial_parameters
from nprep.predictor.labels import LabelScale, loss_kind
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.spaces.graphs import GraphBatch

# Predictors whose outputs are held in host memory at once: 54 MB for a whole space.
_AT_ONCE = 32


class CupyBackend:
    """CUDA kernels and cuBLAS, through CuPy.

    Attributes:
        name: "cupy".
        precision: "float32", "tf32" or "bfloat16", of the GCN's products when it is asked. Training
            in "bfloat16" takes tf32.
        whole: True.
        device: Where everything runs.
        memory: Bytes that the buffers of predictors may take together.
    """

    name = "cupy"
    whole = True

    def __init__(
        self, device: Device, precision: str = "float32", memory: int = DEFAULT_MEMORY
    ) -> None:
        """Takes a device; nothing is copied yet."""
        self.device = device
        self.precision = precision
        self.memory = memory
        self._placed: tuple[weakref.ref[SharingPlan], list[CudaGcn]] | None = None

    @property
    def training_precision(self) -> str:
        """Of the products in training."""
        return "float32" if self.precision == "float32" else "tf32"

    def describe(self) -> dict[str, str]:
        """See ``nprep.predictor.backends.base.Backend.describe``."""
        return {
            "name": self.name,
            "precision": self.precision,
            "training": f"cupy {self.training_precision}",
            "device": self.device.name,
        }

    def outputs(
        self, plan: SharingPlan, weights: Sequence[GcnWeights]
    ) -> Iterator[NDArray[np.float32]]:
        """See ``nprep.predictor.backends.base.Backend.outputs``."""
        for one in weights:
            plan.check(one)
        if self._placed is None or self._placed[0]() is not plan:
            placed = [
                CudaGcn(self.device, _inference_plan(plan, part), self.precision, self.memory)
                for part in plan.segments
            ]
            self._placed = weakref.ref(plan), placed
        for group in _runs(weights):
            settings = group[0].settings
            parameters = np.stack([one.parameters for one in group])
            out = np.empty((len(group), len(plan)), np.float32)
            for segment, predictor in zip(plan.segments, self._placed[1], strict=True):
                out[:, segment.cells] = predictor.predict(
                    parameters, group[0].width, settings.head, settings.activation == "relu"
                )
            yield from out

    def train(self, tasks: Sequence[TrainingTask]) -> list[GcnWeights]:
        """See ``nprep.predictor.backends.base.Backend.train``.

        Raises:
            SettingsError: If a task has no samples, or not one label for each.
        """
        groups: dict[tuple[GcnSettings, bool, int], list[tuple[int, TrainingTask, GraphBatch]]] = {}
        for place, task in enumerate(tasks):
            graphs = task.cells.graphs(task.settings.normalisation)
            if len(graphs) == 0 or len(graphs) != len(task.labels):
                raise SettingsError(
                    f"{len(graphs)} training cells come with {len(task.labels)} labels; give one "
                    "label a cell."
                )
            settings = task.settings.for_samples(len(graphs))
            key = settings, bool(task.labels.dtype == np.bool_), graphs.num_types
            groups.setdefault(key, []).append((place, task, graphs))
        trained: dict[int, GcnWeights] = {}
        for (settings, classifier, num_types), members in groups.items():
            most = max(1, self.memory // _training_bytes(settings, num_types, members))
            for start in range(0, len(members), most):
                some = members[start : start + most]
                results = self._train_group(settings, classifier, num_types, some)
                trained.update(zip((place for place, _, _ in some), results, strict=True))
        return [trained[place] for place in range(len(tasks))]

    def _train_group(
        self,
        settings: GcnSettings,
        classifier: bool,
        num_types: int,
        members: list[tuple[int, TrainingTask, GraphBatch]],
    ) -> list[GcnWeights]:
        """Trains predictors of equal settings together."""
        scales = [LabelScale.fit(task.labels, settings) for _, task, _ in members]
        targets = [s.targets(m[1].labels) for s, m in zip(scales, members, strict=True)]
        graphs = GraphBatch.concatenate([graphs for _, _, graphs in members])
        counts = [len(graphs) for _, _, graphs in members]
        starts, orders = [], []
        for (_, task, _), count in zip(members, counts, strict=True):
            state = seed_state(task.seed)
            # The same initial weights as on the CPU.
            starts.append(initial_parameters(settings, num_types, state))
            order = np.arange(count, dtype=np.int32)
            drawn = np.empty((settings.epochs, count), np.int32)
            for epoch in range(settings.epochs):
                shuffle(state, order)
                drawn[epoch] = order
            orders.append(drawn)
        trainer = CudaTrainer(
            self.device,
            _layout(settings, num_types),
            _rules(settings, classifier, self.training_precision),
            TrainingGraphs(
                cell_offsets=np.cumsum([0, *counts], dtype=np.int32),
                types=graphs.types,
                cell_starts=graphs.cell_starts,
                out_starts=graphs.out_starts,
                out_nodes=graphs.out_nodes,
                out_weights=graphs.out_weights,
                in_starts=graphs.in_starts,
                in_nodes=graphs.in_nodes,
                in_weights=graphs.in_weights,
                targets=np.concatenate(targets),
            ),
            np.stack(starts),
            orders,
            np.array([m[1].seed.generate_state(1, np.uint64)[0] for m in members], np.uint64),
        )
        parameters, losses = trainer.train()
        return [
            GcnWeights(np.ascontiguousarray(one), num_types, settings, scale, loss)
            for one, scale, loss in zip(parameters, scales, losses, strict=True)
        ]


def _inference_plan(plan: SharingPlan, segment: Segment) -> InferencePlan:
    """A segment as the device takes it."""
    layers = tuple(
        (
            Direction(gather.out_starts, gather.out_sources, gather.out_weights),
            Direction(gather.in_starts, gather.in_sources, gather.in_weights),
        )
        for gather in segment.layers
    )
    return InferencePlan(plan.num_types, layers, segment.cell_starts)


def _runs(weights: Sequence[GcnWeights]) -> Iterator[list[GcnWeights]]:
    """Runs of predictors of equal architecture, of bounded length."""
    run: list[GcnWeights] = []
    for one in weights:
        if run and (one.settings != run[0].settings or len(run) == _AT_ONCE):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _layout(settings: GcnSettings, num_types: int) -> GcnLayout:
    assert settings.width is not None
    return GcnLayout(num_types, settings.layers, settings.width, settings.head)


def _training_bytes(
    settings: GcnSettings, num_types: int, members: list[tuple[int, TrainingTask, GraphBatch]]
) -> int:
    """About what one predictor takes in training: parameters, gradients, moments, activations."""
    layout = _layout(settings, num_types)
    rows = settings.batch * max(graphs.largest for _, _, graphs in members)
    return 4 * (4 * layout.size + rows * layout.padded_width * (3 * settings.layers + 5))


def _rules(settings: GcnSettings, classifier: bool, precision: str) -> TrainingRules:
    return TrainingRules(
        epochs=settings.epochs,
        batch=settings.batch,
        peak_rate=settings.classifier_learning_rate if classifier else settings.learning_rate,
        decay=settings.weight_decay,
        decoupled=settings.decoupled,
        loss_kind=loss_kind(classifier, settings),
        layer_biased=settings.layer_bias,
        head_biased=settings.head_bias,
        rectify=settings.activation == "relu",
        drop_layers=settings.dropout_layers,
        drop_readout=settings.dropout_readout,
        drop_head=settings.dropout_head,
        precision=precision,
    )
