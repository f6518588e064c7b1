"""What networks of the mobile space cost, in closed form and for many at once.

MAC: one multiply and one add. FLOP counts are twice the MACs, as in ``torch.utils.flop_counter``.
Only convolutions and the classifier count, as there; batch norm and activations do not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.spaces.proxyless.space import HEAD_CHANNELS, NUM_CHOICES, SKIP, Block, MobileSpace


@dataclass(frozen=True)
class AdditiveCost:
    """A cost that is a sum over the blocks.

    Attributes:
        name: What it is.
        unit: Its unit.
        fixed: What the stem, head and classifier cost together.
        blocks: (B, 7) float64; what each choice costs in each block; NaN where not allowed.
    """

    name: str
    unit: str
    fixed: float
    blocks: NDArray[np.float64]

    def times(self, factor: float) -> AdditiveCost:
        """The same cost, each part of it multiplied."""
        return replace(self, fixed=self.fixed * factor, blocks=self.blocks * factor)

    def digest(self) -> str:
        """Tells two tables apart."""
        content = np.append(self.blocks.ravel(), self.fixed).tobytes()
        return hashlib.blake2b(content, digest_size=8).hexdigest()

    def of(self, encodings: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The cost of networks.

        Args:
            encodings: (N, B) uint8.

        Returns:
            (N,) float64; exact for counts (below 2^53).

        Raises:
            SettingsError: If the encodings have another number of blocks.
        """
        encodings = np.atleast_2d(encodings)
        if encodings.shape[1] != len(self.blocks):
            raise SettingsError(
                f"the {self.name} table has {len(self.blocks)} blocks and the networks have "
                f"{encodings.shape[1]}: use a table that was made for this space."
            )
        total = np.full(len(encodings), float(self.fixed))
        for row, choices in zip(self.blocks, encodings.T, strict=True):
            total += row[choices]
        return total


def _block_macs(block: Block, kernel: int, expansion: int) -> int:
    hidden = block.in_channels * expansion
    expand = block.in_channels * hidden * block.in_size**2 if expansion > 1 else 0
    depthwise = hidden * kernel**2 * block.out_size**2
    project = hidden * block.out_channels * block.out_size**2
    return expand + depthwise + project


def _block_parameters(block: Block, kernel: int, expansion: int) -> int:
    hidden = block.in_channels * expansion
    expand = block.in_channels * hidden + 2 * hidden if expansion > 1 else 0
    depthwise = hidden * kernel**2 + 2 * hidden
    project = hidden * block.out_channels + 2 * block.out_channels
    return expand + depthwise + project


def _table(space: MobileSpace, parameters: bool) -> NDArray[np.float64]:
    table = np.full((space.num_blocks, NUM_CHOICES), np.nan)
    for position, block in enumerate(space.blocks):
        for choice in block.choices:
            if choice == SKIP:
                table[position, choice] = 0
                continue
            shape = block.kernel_and_expansion(choice, first=position == 0)
            count = _block_parameters if parameters else _block_macs
            table[position, choice] = count(block, *shape)
    return table


def macs(space: MobileSpace) -> AdditiveCost:
    """Multiply-adds of one image's forward pass."""
    first, last = space.blocks[0], space.blocks[-1]
    head = space.channels(HEAD_CHANNELS)
    fixed = 3 * 9 * first.in_channels * space.stem_size**2
    fixed += last.out_channels * head * last.out_size**2 + head * space.num_classes
    return AdditiveCost("MAC", "MAC", float(fixed), _table(space, parameters=False))


def parameters(space: MobileSpace) -> AdditiveCost:
    """Trainable parameters."""
    first, last = space.blocks[0], space.blocks[-1]
    head = space.channels(HEAD_CHANNELS)
    fixed = 3 * 9 * first.in_channels + 2 * first.in_channels
    fixed += last.out_channels * head + 2 * head + head * space.num_classes + space.num_classes
    return AdditiveCost("parameters", "parameters", float(fixed), _table(space, parameters=True))
