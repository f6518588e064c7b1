"""Latency tables: milliseconds per block and choice, as a JSON file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from nprep.errors import NprepError
from nprep.imagenet.files import write_json
from nprep.spaces.proxyless.costs import AdditiveCost
from nprep.spaces.proxyless.space import NUM_CHOICES, MobileSpace

FORMAT = "nprep-latency-1"


class LatencyTableError(NprepError):
    """A latency table that is missing, damaged or of another space."""


def save_latency(path: Path, space: MobileSpace, cost: AdditiveCost, about: dict[str, Any]) -> None:
    """Writes a latency table.

    Args:
        path: The JSON file.
        space: The space that it is for.
        cost: Milliseconds; what is not allowed (NaN) becomes null.
        about: How it was measured, and how well sums match whole networks.
    """
    rows = [[None if math.isnan(v) else round(v, 6) for v in row] for row in cost.blocks.tolist()]
    content = {
        "format": FORMAT,
        "unit": "ms",
        "space": space_fields(space),
        "fixed": round(cost.fixed, 6),
        "blocks": rows,
        "about": about,
    }
    write_json(path, content)


def space_fields(space: MobileSpace) -> dict[str, Any]:
    """What tells two spaces apart, for files."""
    return {
        "num_classes": space.num_classes,
        "image_size": space.image_size,
        "width": space.width,
        "depth": space.depth,
        "stem_stride": space.stem_stride,
    }


def load_latency(path: Path, space: MobileSpace) -> AdditiveCost:
    """Reads a latency table.

    Args:
        path: The JSON file.
        space: The space that it must be for; the number of classes may differ.

    Raises:
        LatencyTableError: If it is missing, damaged, negative or of another space.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        blocks = np.array(
            [[math.nan if v is None else float(v) for v in row] for row in content["blocks"]]
        )
        fixed, made_for = float(content["fixed"]), dict(content["space"])
    except OSError as error:
        raise LatencyTableError(
            f"latency table {path} cannot be read ({error.strerror}): make one with "
            "`python -m nprep.imagenet measure-latency`."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise LatencyTableError(
            f"latency table {path} is damaged ({error}): measure it again."
        ) from error
    wanted = space_fields(space)
    for name in ("image_size", "width", "depth", "stem_stride"):
        if made_for.get(name) != wanted[name]:
            raise LatencyTableError(
                f"latency table {path} is for {name} {made_for.get(name)} and the search has "
                f"{wanted[name]}: measure one for this space."
            )
    if blocks.shape != (space.num_blocks, NUM_CHOICES):
        raise LatencyTableError(f"latency table {path} has shape {blocks.shape}: measure it again.")
    if not (blocks[space.allowed] >= 0).all() or not fixed >= 0:
        raise LatencyTableError(
            f"latency table {path} lacks a time or has a negative one: measure it again."
        )
    return AdditiveCost("latency", "ms", fixed, blocks)
