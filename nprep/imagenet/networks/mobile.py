"""Networks of the mobile space in torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nprep.spaces.proxyless.space import HEAD_CHANNELS, SKIP, Block, MobileSpace


def _conv(
    incoming: int, outgoing: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(incoming, outgoing, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outgoing),
    ]
    if act:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection, each with batch norm."""

    def __init__(self, block: Block, kernel: int, expansion: int, drop_path: float = 0.0) -> None:
        """Builds the block.

        Args:
            block: Its place in the chain.
            kernel: Side of the depthwise kernel.
            expansion: Hidden channels per input channel; 1 leaves the expansion out.
            drop_path: Probability of dropping the residual branch of an image (stochastic depth,
                Huang et al. 2016).
        """
        super().__init__()
        hidden = block.in_channels * expansion
        layers = [_conv(block.in_channels, hidden, 1)] if expansion > 1 else []
        layers.append(_conv(hidden, hidden, kernel, block.stride, groups=hidden))
        layers.append(_conv(hidden, block.out_channels, 1, act=False))
        self.layers = nn.Sequential(*layers)
        self.residual = block.residual
        self.drop_path = drop_path

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C', H', W')."""
        out: Tensor = self.layers(images)
        if not self.residual:
            return out
        if self.drop_path and self.training:
            kept = 1 - self.drop_path
            drawn = torch.rand(len(out), 1, 1, 1, device=out.device) < kept
            out = out * (drawn.to(out.dtype) / kept)
        return images + out


def build_block(
    space: MobileSpace, position: int, choice: int, drop_path: float = 0.0
) -> nn.Module:
    """One block of a network, for example to time it alone."""
    if choice == SKIP:
        return nn.Identity()
    block = space.blocks[position]
    kernel, expansion = block.kernel_and_expansion(choice, first=position == 0)
    return InvertedBottleneck(block, kernel, expansion, drop_path)


class MobileNetwork(nn.Module):
    """A network of the mobile space.

    Attributes:
        encoding: Its choices, as text.
    """

    def __init__(
        self,
        space: MobileSpace,
        encoding: NDArray[np.uint8],
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        """Builds and initialises the network (from torch's global generator).

        Args:
            space: The space.
            encoding: (B,) choices.
            dropout: Probability of dropping a feature before the classifier.
            drop_path: Probability of dropping the last residual branch; it rises linearly from 0
                at the first block.

        Raises:
            InvalidSpecError: If the encoding is not of the space.
        """
        super().__init__()
        encoding = space.check(encoding)
        self.encoding = space.format(encoding)
        first, last = space.blocks[0], space.blocks[-1]
        head = space.channels(HEAD_CHANNELS)
        last_position = max(1, len(encoding) - 1)
        self.stem = _conv(3, first.in_channels, 3, space.stem_stride)
        self.blocks = nn.Sequential(
            *(
                build_block(space, position, int(choice), drop_path * position / last_position)
                for position, choice in enumerate(encoding)
            )
        )
        self.head = _conv(last.out_channels, head, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head, space.num_classes)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to logits (N, num_classes)."""
        features: Tensor = self.head(self.blocks(self.stem(images)))
        logits: Tensor = self.classifier(self.dropout(features.mean((2, 3))))
        return logits


def _initialise(module: nn.Module) -> None:
    # As in MobileNetV2's reference code in torchvision.
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters of a module."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_flops(model: nn.Module, image_size: int) -> int:
    """FLOPs of one image's forward pass, counted by torch (2 per multiply-add)."""
    from torch.utils.flop_counter import FlopCounterMode

    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        device = next(model.parameters()).device
        model(torch.empty(1, 3, image_size, image_size, device=device))
    model.train(training)
    return int(counter.get_total_flops())
