"""The ProxylessNAS-mobile space: chains of inverted bottlenecks.

A network is a row of block choices, uint8. Choices 0 to 5 are inverted bottlenecks (kernel 3, 3, 5,
5, 7, 7 with expansion 3, 6, 3, 6, 3, 6), choice 6 leaves the block out. Block 0 always has
expansion 1 and uses the choices 0, 2 and 4 for its three kernels. The first block of a stage
changes the shape and cannot be left out.

Source: Cai et al. 2019 (arXiv 1812.00332) and Wen et al. 2020 (arXiv 1912.00848), figure 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError, SettingsError

KERNELS = (3, 3, 5, 5, 7, 7)
EXPANSIONS = (3, 6, 3, 6, 3, 6)
SKIP = 6
NUM_CHOICES = 7
FIRST_BLOCK_CHOICES = (0, 2, 4)

STEM_CHANNELS = 32
FIRST_CHANNELS = 16
STAGE_CHANNELS = (32, 40, 80, 96, 192)
STAGE_STRIDES = (2, 2, 2, 1, 2)
LAST_CHANNELS = 320
HEAD_CHANNELS = 1280


def round_channels(channels: float, divisor: int = 8) -> int:
    """The multiple of ``divisor`` nearest to a channel count, at least 90 % of it.

    Args:
        channels: The wished number.
        divisor: Hardware likes multiples of this.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class Block:
    """The place of one block in the chain.

    Attributes:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Of the depthwise convolution.
        in_size: Height and width that come in, pixels.
        out_size: Height and width that go out, pixels.
        choices: The choices that are allowed here.
    """

    in_channels: int
    out_channels: int
    stride: int
    in_size: int
    out_size: int
    choices: tuple[int, ...]

    @property
    def residual(self) -> bool:
        """Whether the block adds its input to its output."""
        return self.stride == 1 and self.in_channels == self.out_channels

    def kernel_and_expansion(self, choice: int, first: bool) -> tuple[int, int]:
        """Kernel size and expansion of a choice other than SKIP."""
        return KERNELS[choice], 1 if first else EXPANSIONS[choice]


@dataclass(frozen=True)
class MobileSpace:
    """The space at full size, or the same space made smaller.

    Attributes:
        num_classes: Outputs of the classifier.
        image_size: Height and width of the images, pixels.
        width: Multiplies every channel count (rounded to multiples of 8).
        depth: Blocks in each of the five middle stages; 4 in the original.
        stem_stride: 2 in the original; 1 keeps more pixels of small images.
    """

    num_classes: int = 1000
    image_size: int = 224
    width: float = 1.0
    depth: int = 4
    stem_stride: int = 2

    def __post_init__(self) -> None:
        """Refuses sizes that make no network."""
        if self.num_classes < 2:
            raise SettingsError(
                f"num_classes is {self.num_classes}: a classifier needs at least 2."
            )
        if not 1 <= self.depth <= 16:
            raise SettingsError(f"depth is {self.depth}: use 1 to 16 blocks a stage.")
        if not 0.05 <= self.width <= 8:
            raise SettingsError(f"width is {self.width}: use a factor from 0.05 to 8.")
        if not 8 <= self.image_size <= 4096:
            raise SettingsError(f"image_size is {self.image_size}: use 8 to 4096 pixels.")
        if self.stem_stride not in (1, 2):
            raise SettingsError(f"stem_stride is {self.stem_stride}: use 1 or 2.")

    def channels(self, full: int) -> int:
        """A channel count of the original, at this width."""
        return full if self.width == 1 else round_channels(full * self.width)

    @property
    def stem_size(self) -> int:
        """Height and width after the stem, pixels."""
        return -(-self.image_size // self.stem_stride)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The places of all blocks, in order."""
        plan: list[tuple[int, int, tuple[int, ...]]] = [(FIRST_CHANNELS, 1, FIRST_BLOCK_CHOICES)]
        everything = tuple(range(NUM_CHOICES))
        for channels, stride in zip(STAGE_CHANNELS, STAGE_STRIDES, strict=True):
            plan.append((channels, stride, everything[:-1]))
            plan += [(channels, 1, everything)] * (self.depth - 1)
        plan.append((LAST_CHANNELS, 1, everything[:-1]))
        blocks = []
        incoming, size = self.channels(STEM_CHANNELS), self.stem_size
        for full, stride, choices in plan:
            outgoing, next_size = self.channels(full), -(-size // stride)
            blocks.append(Block(incoming, outgoing, stride, size, next_size, choices))
            incoming, size = outgoing, next_size
        return tuple(blocks)

    @property
    def num_blocks(self) -> int:
        """The length B of an encoding; 22 in the original."""
        return len(self.blocks)

    @property
    def size(self) -> int:
        """The number of different encodings."""
        return prod(len(block.choices) for block in self.blocks)

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """(B, 7) bool: which choice is allowed in which block."""
        table = np.zeros((self.num_blocks, NUM_CHOICES), bool)
        for row, block in zip(table, self.blocks, strict=True):
            row[list(block.choices)] = True
        return table

    def check(self, encodings: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Validates encodings.

        Args:
            encodings: (B,) or (N, B) integers.

        Returns:
            The same as uint8.

        Raises:
            InvalidSpecError: If the length or a choice is not of this space.
        """
        array = np.asarray(encodings)
        if array.ndim not in (1, 2) or array.shape[-1] != self.num_blocks:
            raise InvalidSpecError(
                f"an encoding has shape {array.shape}, and networks of this space have "
                f"{self.num_blocks} blocks."
            )
        rows = np.atleast_2d(array)
        inside = (rows >= 0) & (rows < NUM_CHOICES)
        fine = inside & self.allowed[np.arange(self.num_blocks), np.where(inside, rows, 0)]
        if not fine.all():
            row, block = (int(part) for part in np.argwhere(~fine)[0])
            choices = ", ".join(map(str, self.blocks[block].choices))
            raise InvalidSpecError(
                f"block {block} has choice {int(rows[row, block])}, and may have: {choices}."
            )
        return array.astype(np.uint8)

    def parse(self, text: str) -> NDArray[np.uint8]:
        """Reads an encoding.

        Args:
            text: One digit a block, or a name: "largest", "smallest", "mobilenet-v2-like".

        Returns:
            (B,) uint8.

        Raises:
            InvalidSpecError: If the text is no network of this space.
        """
        if text in ("largest", "smallest", "mobilenet-v2-like"):
            return self.known(text)
        if not (text.isascii() and text.isdigit()):
            raise InvalidSpecError(
                f"architecture {text!r} is no network of the mobile space: give "
                f"{self.num_blocks} digits from 0 to 6, largest, smallest or mobilenet-v2-like."
            )
        return self.check(np.frombuffer(text.encode(), np.uint8) - np.uint8(ord("0")))

    @staticmethod
    def format(encoding: NDArray[np.uint8]) -> str:
        """An encoding as text, one digit a block."""
        return "".join(map(str, encoding.tolist()))

    def known(self, name: str) -> NDArray[np.uint8]:
        """A named member: (B,) uint8."""
        if name == "mobilenet-v2-like":
            return np.array([0] + [1] * (self.num_blocks - 1), np.uint8)
        if name == "largest":
            return np.array([4] + [5] * (self.num_blocks - 1), np.uint8)
        skippable = self.allowed[:, SKIP]
        return np.where(skippable, SKIP, 0).astype(np.uint8)

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
        """Draws networks uniformly, with repetition.

        Args:
            rng: The generator.
            count: How many.

        Returns:
            (count, B) uint8.
        """
        columns = [
            np.asarray(block.choices, np.uint8)[rng.integers(len(block.choices), size=count)]
            for block in self.blocks
        ]
        return np.stack(columns, axis=1)

    def mutate(
        self, rng: np.random.Generator, encoding: NDArray[np.uint8], changes: int = 1
    ) -> NDArray[np.uint8]:
        """Changes some blocks, each to another allowed choice.

        Args:
            rng: The generator.
            encoding: (B,) uint8; left as it is.
            changes: How many different blocks change.

        Returns:
            (B,) uint8.
        """
        child = encoding.copy()
        for block in rng.choice(self.num_blocks, size=changes, replace=False):
            others = [c for c in self.blocks[block].choices if c != encoding[block]]
            child[block] = others[rng.integers(len(others))]
        return child

    def index_of(self, encoding: NDArray[np.uint8]) -> int:
        """The number of a network, from 0 to ``size`` - 1."""
        index = 0
        for block, choice in zip(self.blocks, encoding.tolist(), strict=True):
            index = index * len(block.choices) + block.choices.index(choice)
        return index

    def from_index(self, index: int) -> NDArray[np.uint8]:
        """The network of a number; the inverse of ``index_of``."""
        choices = []
        for block in reversed(self.blocks):
            index, digit = divmod(index, len(block.choices))
            choices.append(block.choices[digit])
        return np.array(choices[::-1], np.uint8)
