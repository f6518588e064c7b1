"""The baselines in PyTorch: the predictor as it is usually written, padded and dense."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from nprep.predictor.gcn import GcnWeights
from nprep.spaces.nb101.cells import CellBatch, normalised_adjacency

CHUNK = 8192


class DenseGcn(torch.nn.Module):
    """Three bidirectional layers on padded (B, 7, 7) adjacencies and (B, 7, 5) one-hots."""

    def __init__(self, weights: GcnWeights) -> None:
        super().__init__()
        pairs = [weights.layer(number) for number in range(weights.settings.layers)]
        self.layers = torch.nn.ParameterList(torch.tensor(matrix) for matrix, _ in pairs)
        self.head = torch.nn.ParameterList(torch.tensor(m) for m, _ in weights.head())
        self.bias = torch.nn.ParameterList(torch.tensor(b) for _, b in weights.head())
        self.width = weights.width
        self.dropout = torch.nn.Dropout(weights.settings.dropout_head)
        self.rectify = weights.settings.activation == "relu"

    def forward(
        self,
        along: torch.Tensor,
        against: torch.Tensor,
        states: torch.Tensor,
        used: torch.Tensor,
    ) -> torch.Tensor:
        for matrix in self.layers:
            products = states @ matrix
            left = torch.relu(along @ products[:, :, : self.width])
            right = torch.relu(against @ products[:, :, self.width :])
            states = 0.5 * left + 0.5 * right
        values = (states * used[:, :, None]).sum(1) / used.sum(1, keepdim=True)
        last = len(self.head) - 1
        for number, (matrix, bias) in enumerate(zip(self.head, self.bias, strict=True)):
            values = values @ matrix + bias
            if number < last:
                values = self.dropout(torch.relu(values) if self.rectify else values)
        return values[:, 0]


def tensors_of(cells: CellBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch as the model takes it."""
    along, against = normalised_adjacency(cells)
    used = np.arange(7) < cells.num_vertices[:, None]
    return (
        torch.from_numpy(along),
        torch.from_numpy(against),
        # Order of the one-hot: by operation code, as the weights have it.
        torch.from_numpy(one_hot_by_code(cells)),
        torch.from_numpy(used.astype(np.float32)),
    )


def one_hot_by_code(cells: CellBatch) -> NDArray[np.float32]:
    """(N, 7, 5) float32."""
    return (cells.operations[:, :, None] == np.arange(5)).astype(np.float32)


def predict_dense(
    model: DenseGcn, tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
) -> NDArray[np.float32]:
    """Outputs for all cells, in chunks."""
    outputs = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(tensors[0]), CHUNK):
            outputs.append(model(*(tensor[start : start + CHUNK] for tensor in tensors)))
    return torch.cat(outputs).numpy()


def train_eager(
    weights: GcnWeights, cells: CellBatch, targets: NDArray[np.float32], epochs: int, of: int
) -> float:
    """The first ``epochs`` of a training that has ``of`` of them; returns the last loss."""
    settings = weights.settings
    model = DenseGcn(weights)
    model.train()
    tensors, labels = tensors_of(cells), torch.from_numpy(targets)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = of * -(-len(cells) // settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    value = math.nan
    for _ in range(epochs):
        order = torch.randperm(len(cells))
        for start in range(0, len(cells), settings.batch):
            batch = order[start : start + settings.batch]
            optimiser.zero_grad()
            outputs = model(*(tensor[batch] for tensor in tensors))
            loss = torch.nn.functional.mse_loss(outputs, labels[batch])
            loss.backward()  # type: ignore[no-untyped-call] # torch does not annotate it
            optimiser.step()
            schedule.step()
            value = float(loss.detach())
    return value
