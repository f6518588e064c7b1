"""The ProxylessNAS-mobile space as a member of the protocol of spaces (Cai et al., ICLR 2019).

A batch is ``Codes``: one row of block choices for each network. Its
graph is the chain of its blocks. What a network costs and which sizes there are is said by
``MobileSpace``, of which this is a view.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError
from nprep.spaces.choices import ChoiceSpace, Codes
from nprep.spaces.graphs import GraphBatch, check_normalisation
from nprep.spaces.proxyless.space import EXPANSIONS, KERNELS, NUM_CHOICES, SKIP, MobileSpace


class ProxylessSpace(ChoiceSpace):
    """Chains of inverted bottlenecks, at full size or smaller.

    Attributes:
        mobile: Sizes of the networks: images, channels, blocks.
    """

    name = "proxyless"
    title = "ProxylessNAS"
    node_types = (
        *(f"kernel {k}, expansion {e}" for k, e in zip(KERNELS, EXPANSIONS, strict=True)),
        "skip",
    )

    def __init__(self, mobile: MobileSpace | None = None) -> None:
        """Takes the sizes; None: those of the paper."""
        self.mobile = mobile or MobileSpace()
        self.allowed = tuple(block.choices for block in self.mobile.blocks)

    def graphs(self, batch: Codes, normalisation: str = "row") -> GraphBatch:
        """The networks as chains of their blocks; a node's type is its block's choice."""
        return chain_graphs(batch.values, normalisation)

    def parse(self, text: str) -> Codes:
        """The network of one digit a block, or of a name: largest, smallest, mobilenet-v2-like.

        Raises:
            InvalidSpecError: If it is none of this space.
        """
        return Codes(self.mobile.parse(text)[None])

    def format(self, batch: Codes) -> list[str]:
        """One digit a block."""
        return [self.mobile.format(row) for row in batch]

    def describe(self, batch: Codes) -> list[dict[str, object]]:
        """The digits, and the number of blocks that are there."""
        return [
            {"architecture": text, "blocks": int((row != SKIP).sum())}
            for text, row in zip(self.format(batch), batch, strict=True)
        ]


def chain_graphs(encodings: NDArray[np.uint8], normalisation: str = "row") -> GraphBatch:
    """Each network as a chain of its blocks.

    Args:
        encodings: (N, B) uint8 choices.
        normalisation: See ``nprep.spaces.base.Space.graphs``.

    Returns:
        The graphs; a node's type is its block's choice.

    Raises:
        InvalidSpecError: If the encodings are not (N, B).
        SettingsError: If the normalisation is unknown.
    """
    check_normalisation(normalisation)
    if encodings.ndim != 2:
        raise InvalidSpecError(f"encodings have shape {encodings.shape}, not (N, blocks).")
    count, length = encodings.shape
    nodes = np.arange(count * length, dtype=np.int32).reshape(count, length)

    def entries(other: NDArray[np.int32]) -> tuple[NDArray[np.integer], ...]:
        """A node and its one neighbour; a node at the end (its own neighbour here) has none."""
        pairs = np.stack([nodes, other], axis=-1).reshape(-1, 2)
        alone = pairs[:, 0] == pairs[:, 1]
        keep = np.stack([np.ones_like(alone), ~alone], axis=1)
        starts = np.zeros(len(pairs) + 1, np.int32)
        np.cumsum(keep.sum(1), out=starts[1:])
        own = np.repeat(np.where(alone, 1, 2), 2).reshape(-1, 2)
        if normalisation == "row":
            weights = 1.0 / own
        elif normalisation == "sum":
            weights = np.ones(own.shape)
        else:
            # Along the edges all but the last node read another; all but the first are read.
            last = np.arange(length) == length - 1
            first = np.arange(length) == 0
            ahead = np.tile(np.where(last, 1, 2), count)
            behind = np.tile(np.where(first, 1, 2), count)
            mine, theirs = (ahead, behind) if other[0, -1] == nodes[0, -1] else (behind, ahead)
            weights = 1.0 / np.sqrt(mine[:, None] * theirs[pairs])
        return starts, pairs[keep], weights[keep]

    out_starts, out_nodes, out_weights = entries(np.minimum(nodes + 1, nodes[:, -1:]))
    in_starts, in_nodes, in_weights = entries(np.maximum(nodes - 1, nodes[:, :1]))
    return GraphBatch(
        types=np.ascontiguousarray(encodings.reshape(-1)),
        num_types=NUM_CHOICES,
        cell_starts=np.arange(count + 1, dtype=np.int32) * np.int32(length),
        out_starts=out_starts.astype(np.int32),
        out_nodes=out_nodes.astype(np.int32),
        out_weights=out_weights.astype(np.float32),
        in_starts=in_starts.astype(np.int32),
        in_nodes=in_nodes.astype(np.int32),
        in_weights=in_weights.astype(np.float32),
        chain_length=length if normalisation == "row" else 0,
    )


PROXYLESS = ProxylessSpace()
