"""Gradient checkpointing: activations are computed again in the backward pass, not kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from nprep.imagenet.networks.cell_network import Cell
from nprep.imagenet.networks.mobile import InvertedBottleneck


@contextlib.contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Lets batch norms count a batch once: its second pass leaves their averages alone."""
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # A weight of 0 for the batch; to track nothing would save other tensors than at first.
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _forward(block: nn.Module, forward: Any, images: Tensor) -> Tensor:
    if not block.training:
        plain: Tensor = forward(images)
        return plain
    out: Tensor = checkpoint(
        forward,
        images,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _statistics_kept(block)),
    )
    return out


def keep_no_activations(model: nn.Module) -> None:
    """Makes each block of a network compute its activations again when gradients need them.

    Weights come out the same: the second pass draws the same dropout and leaves the averages of
    batch norm alone.
    """
    for block in model.modules():
        if isinstance(block, Cell | InvertedBottleneck):
            # Bound to this block: a copy of the network, as the average is, keeps none anyway.
            block.forward = partial(_forward, block, block.forward)  # type: ignore[method-assign] # per block
