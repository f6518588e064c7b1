"""Latency tables: milliseconds per block and choice, as a JSON file; and the limits of a search."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import NprepError, SettingsError
from nprep.imagenet.files import write_json
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.costs import AdditiveCost
from nprep.spaces.proxyless.space import NUM_CHOICES, MobileSpace

FORMAT = "nprep-latency-1"
# Draws before limits count as unsatisfiable: so many, or so many for each wanted network.
MAX_DRAWS, MAX_DRAWS_EACH = 300_000, 2_000


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
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        blocks = np.array(
            [[math.nan if v is None else float(v) for v in row] for row in content["blocks"]]
        )
        fixed, made_for = float(content["fixed"]), dict(content["space"])
    except OSError as error:
        raise LatencyTableError(
            f"latency table {path} cannot be read ({error.strerror}): make one with "
            "`python -m nprep.imagenet measure-latency`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise LatencyTableError(
            f"latency table {path} is damaged ({error}): measure it again"
        ) from error
    wanted = space_fields(space)
    for name in ("image_size", "width", "depth", "stem_stride"):
        if made_for.get(name) != wanted[name]:
            raise LatencyTableError(
                f"latency table {path} is for {name} {made_for.get(name)} and the search has "
                f"{wanted[name]}: measure one for this space"
            )
    if blocks.shape != (space.num_blocks, NUM_CHOICES):
        raise LatencyTableError(f"latency table {path} has shape {blocks.shape}: measure it again")
    if not (blocks[space.allowed] >= 0).all() or not fixed >= 0:
        raise LatencyTableError(
            f"latency table {path} lacks a time or has a negative one: measure it again"
        )
    return AdditiveCost("latency", "ms", fixed, blocks)


@dataclass(frozen=True)
class Limit:
    """A range that a cost must lie in."""

    cost: AdditiveCost
    low: float
    high: float

    def holds(self, encodings: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(N,) bool: which networks lie in the range, ends included."""
        values = self.cost.of(encodings)
        return (values >= self.low) & (values <= self.high)


@dataclass(frozen=True)
class Limits:
    """All limits of a search.

    Attributes:
        space: The space.
        limits: What must hold.
    """

    space: MobileSpace
    limits: tuple[Limit, ...]

    def hold(self, encodings: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(N,) bool: which networks are within all limits."""
        fine = np.ones(len(encodings), bool)
        for limit in self.limits:
            fine &= limit.holds(encodings)
        return fine

    def sample(
        self, rng: np.random.Generator, count: int, taken: set[str] | None = None
    ) -> NDArray[np.uint8]:
        """Draws different networks uniformly from those within the limits.

        Args:
            rng: The generator.
            count: How many.
            taken: Networks not to draw, as text; it is left as it is.

        Returns:
            (count, B) uint8.

        Raises:
            SettingsError: If the limits leave too few networks.
        """
        seen = set(taken or ())
        found: list[NDArray[np.uint8]] = []
        draws = 0
        while len(found) < count:
            if draws > max(MAX_DRAWS, MAX_DRAWS_EACH * count):
                raise SettingsError(
                    f"only {len(found)} of {count} networks were found within the limits in "
                    f"{draws} draws ({self._describe()}): widen them"
                )
            block = self.space.sample(rng, max(1024, count))
            draws += len(block)
            for encoding in block[self.hold(block)]:
                text = self.space.format(encoding)
                if text not in seen and len(found) < count:
                    seen.add(text)
                    found.append(encoding)
        return np.stack(found) if found else np.empty((0, self.space.num_blocks), np.uint8)

    def _describe(self) -> str:
        draws = self.space.sample(np.random.default_rng(0), 1000)
        parts = []
        for limit in self.limits:
            low, high = np.quantile(limit.cost.of(draws), (0.01, 0.99))
            parts.append(
                f"{limit.cost.name} from {limit.low:g} to {limit.high:g} {limit.cost.unit}, where "
                f"random networks have {low:g} to {high:g}"
            )
        return "; ".join(parts) or "none given: the space is that small"


def make_limits(
    space: MobileSpace,
    latency: AdditiveCost | None,
    latency_min: float,
    latency_max: float,
    flops_max: float,
    parameters_max: float,
) -> Limits:
    """Limits from numbers of which 0 means none.

    Args:
        space: The space.
        latency: The latency table, where latency is limited.
        latency_min: Milliseconds.
        latency_max: Milliseconds.
        flops_max: Millions of FLOP (2 per multiply-add).
        parameters_max: Millions of parameters.

    Raises:
        SettingsError: If latency is limited without a table, or the range is empty.
    """
    limits = []
    if latency_min or latency_max:
        if latency is None:
            raise SettingsError(
                "latency is limited and there is no --latency-table: measure one with "
                "`python -m nprep.imagenet measure-latency`"
            )
        high = latency_max or math.inf
        if latency_min > high:
            raise SettingsError(f"latency_min {latency_min} is above latency_max {latency_max}")
        limits.append(Limit(latency, latency_min, high))
    if flops_max:
        # MACs are counted; the limit is given in FLOP.
        limits.append(Limit(costs.macs(space), 0, flops_max * 1e6 / 2))
    if parameters_max:
        limits.append(Limit(costs.parameters(space), 0, parameters_max * 1e6))
    return Limits(space, tuple(limits))
