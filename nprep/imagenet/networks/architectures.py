"""From the text of an architecture to its network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from nprep.errors import InvalidSpecError, SettingsError
from nprep.imagenet.settings import TrainSettings
from nprep.spaces.base import Space
from nprep.spaces.proxyless.chains import ProxylessSpace
from nprep.spaces.proxyless.space import MobileSpace, round_channels

if TYPE_CHECKING:
    from torch import nn

CELL_PREFIX = "nb101:"
_CODES = {
    "conv3x3-bn-relu": 0,
    "conv1x1-bn-relu": 1,
    "maxpool3x3": 2,
    "input": 3,
    "output": 4,
}
_NAMES = {code: name for name, code in _CODES.items()}


def space_of(settings: TrainSettings, num_classes: int) -> MobileSpace:
    """The mobile space that a training's settings describe."""
    return MobileSpace(
        num_classes, settings.image_size, settings.width, settings.depth, settings.stem_stride
    )


def parse_cell(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads a cell.

    Args:
        text: ``nb101:MATRIX:OPS``, MATRIX being n x n digits 0 and 1, row by row, and OPS n names
            joined by commas, as in the official records (``raw_adjacency``, ``raw_operations``).

    Returns:
        (n, n) matrix and (n,) operation codes.

    Raises:
        InvalidSpecError: If the text is no cell.
    """
    parts = text.removeprefix(CELL_PREFIX).split(":")
    names = parts[-1].split(",")
    size = len(names)
    if len(parts) != 2 or set(parts[0]) - set("01") or len(parts[0]) != size * size:
        raise InvalidSpecError(
            f"cell {text!r} cannot be read: write nb101:MATRIX:OPS with n x n digits 0 or 1 and n "
            "operations joined by commas."
        )
    unknown = [name for name in names if name not in _CODES]
    if unknown or names[0] != "input" or names[-1] != "output":
        raise InvalidSpecError(
            f"cell {text!r} has operations {', '.join(names)}: the first is input, the last "
            "output, the others are conv3x3-bn-relu, conv1x1-bn-relu or maxpool3x3."
        )
    matrix = np.array(list(parts[0]), dtype=np.uint8).reshape(size, size)
    return matrix, np.array([_CODES[name] for name in names], np.uint8)


def arch_of(space: Space, batch: Any) -> list[str]:
    """What ``build`` calls the architectures of a space.

    Args:
        space: A space whose networks can be built.
        batch: Some of its architectures.

    Raises:
        SettingsError: If networks of that space cannot be built.
    """
    if isinstance(space, ProxylessSpace):
        return space.format(batch)
    if space.name == "nb101":
        texts = []
        for text in space.format(batch):
            matrix, operations = json.loads(text)
            digits = "".join(str(int(entry)) for row in matrix for entry in row)
            texts.append(f"{CELL_PREFIX}{digits}:{','.join(operations)}")
        return texts
    raise SettingsError(
        f"networks of the space {space.name} cannot be trained here: use --space proxyless or "
        "nb101."
    )


def parse_arch(space: Space, text: str) -> Any:
    """The batch of one architecture that ``arch_of`` wrote."""
    if space.name == "nb101":
        matrix, operations = parse_cell(text)
        names = [_NAMES[code] for code in operations.tolist()]
        return space.parse(json.dumps([matrix.tolist(), names]))
    return space.parse(text)


def build(settings: TrainSettings, num_classes: int) -> nn.Module:
    """Builds the network of a training, its weights drawn from torch's global generator.

    Args:
        settings: Name the architecture, and the width, depth and image size.
        num_classes: Outputs of the classifier.

    Raises:
        InvalidSpecError: If the architecture is not of its space.
    """
    # Here, not above: a search names architectures without loading torch.
    from torch import nn

    from nprep.imagenet.networks.cell_network import CellNetwork
    from nprep.imagenet.networks.checkpointing import keep_no_activations
    from nprep.imagenet.networks.mobile import MobileNetwork

    model: nn.Module
    if settings.arch.startswith(CELL_PREFIX):
        matrix, operations = parse_cell(settings.arch)
        stem = 128 if settings.width == 1 else round_channels(128 * settings.width)
        model = CellNetwork(matrix, operations, num_classes, stem)
    else:
        space = space_of(settings, num_classes)
        model = MobileNetwork(
            space, space.parse(settings.arch), settings.dropout, settings.drop_path
        )
    if settings.bn_momentum:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = settings.bn_momentum
    if settings.grad_checkpointing:
        keep_no_activations(model)
    return model
