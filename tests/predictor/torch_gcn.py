"""The GCN predictor and its training in PyTorch: the reference for the compiled trainer."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from nprep.predictor.gcn import GcnWeights
from nprep.spaces.nb101.cells import CellBatch
from tests.predictor.naive_gcn import matrix_of, normalise

DOUBLE = torch.float64


class TorchGcn(torch.nn.Module):
    """Same initial weights as ``weights``; computes in float64."""

    def __init__(self, weights: GcnWeights) -> None:
        super().__init__()
        self.settings = weights.settings
        self.width = weights.width
        settings = self.settings
        self.layers = torch.nn.ParameterList()
        self.layer_bias = torch.nn.ParameterList()
        for number in range(settings.layers):
            matrix, bias = weights.layer(number)
            self.layers.append(torch.tensor(matrix, dtype=DOUBLE))
            self.layer_bias.append(torch.tensor(bias, dtype=DOUBLE))
        self.head = torch.nn.ParameterList()
        self.head_bias = torch.nn.ParameterList()
        for matrix, bias in weights.head():
            self.head.append(torch.tensor(matrix, dtype=DOUBLE))
            self.head_bias.append(torch.tensor(bias, dtype=DOUBLE))

    def trained(self) -> list[torch.nn.Parameter]:
        parameters = list(self.layers) + list(self.head)
        if self.settings.layer_bias:
            parameters += list(self.layer_bias)
        if self.settings.head_bias:
            parameters += list(self.head_bias)
        return parameters

    def forward(
        self, graphs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    ) -> torch.Tensor:
        means = []
        for ahead, behind, states in graphs:
            for matrix, bias in zip(self.layers, self.layer_bias, strict=True):
                one = torch.relu(ahead @ states @ matrix[:, : self.width] + bias[: self.width])
                two = torch.relu(behind @ states @ matrix[:, self.width :] + bias[self.width :])
                states = 0.5 * one + 0.5 * two
            means.append(states.mean(0))
        values = torch.stack(means)
        for number, (matrix, bias) in enumerate(zip(self.head, self.head_bias, strict=True)):
            values = values @ matrix + bias
            if self.settings.activation == "relu" and number + 1 < len(self.head):
                values = torch.relu(values)
        return values[:, 0]

    def flat(self) -> NDArray[np.float64]:
        parts = []
        for one, two in ((self.layers, self.layer_bias), (self.head, self.head_bias)):
            for matrix, bias in zip(one, two, strict=True):
                parts += [matrix.detach().numpy().ravel(), bias.detach().numpy().ravel()]
        return np.concatenate(parts)


def loss_of(outputs: torch.Tensor, targets: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "class":
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs, targets)
    if kind == "score":
        first, second = torch.tril_indices(len(outputs), len(outputs), -1)
        sign = torch.sign(targets[first] - targets[second])
        return torch.nn.functional.softplus(-sign * (outputs[first] - outputs[second])).mean()
    if kind.startswith("sigmoid"):
        unit = 1e4 if kind == "sigmoid-percent" else 1.0
        return unit * ((0.1 + 0.9 * torch.sigmoid(outputs) - targets) ** 2).mean()
    return ((outputs - targets) ** 2).mean()


def train_in_torch(
    model: TorchGcn, cells: CellBatch, targets: NDArray[np.floating], kind: str, rate: float
) -> list[float]:
    """Trains without dropout or shuffling, as the settings say; returns the losses of all steps."""
    settings = model.settings
    graphs = []
    for row in range(len(cells)):
        matrix = matrix_of(cells, row)
        types = cells.operations[row, : cells.num_vertices[row]].astype(np.int64)
        graphs.append(
            (
                torch.tensor(normalise(matrix, settings.normalisation)),
                torch.tensor(normalise(matrix.T, settings.normalisation)),
                torch.nn.functional.one_hot(torch.tensor(types), 5).to(DOUBLE),
            )
        )
    labels = torch.tensor(targets, dtype=DOUBLE)
    kind_of = torch.optim.AdamW if settings.decoupled else torch.optim.Adam
    optimiser = kind_of(model.trained(), lr=rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(cells) // settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + np.cos(np.pi * step / steps))
    )
    losses = []
    for _ in range(settings.epochs):
        for first in range(0, len(cells), settings.batch):
            batch = slice(first, first + settings.batch)
            optimiser.zero_grad()
            loss = loss_of(model(graphs[batch]), labels[batch], kind)
            loss.backward()  # type: ignore[no-untyped-call] # torch does not annotate it
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
    return losses
