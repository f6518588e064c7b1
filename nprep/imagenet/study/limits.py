"""What the networks of a study may cost: a filter on its space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.spaces.base import Space
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.chains import ProxylessSpace
from nprep.spaces.proxyless.costs import AdditiveCost


@dataclass(frozen=True)
class Limit:
    """A range that a cost must lie in, ends included.

    Attributes:
        name: What the cost is.
        unit: Its unit.
        low: The least.
        high: The most.
        of: The (N,) costs of a batch of N networks.
        digest: Tells two costs of the same name apart.
    """

    name: str
    unit: str
    low: float
    high: float
    of: Callable[[Any], NDArray[np.floating]]
    digest: str = ""

    @staticmethod
    def additive(cost: AdditiveCost, low: float, high: float) -> Limit:
        """A limit of a cost that is a sum over the blocks of a network."""

        def of(batch: Any) -> NDArray[np.float64]:
            return cost.of(batch.values)

        return Limit(cost.name, cost.unit, low, high, of, cost.digest())

    def identity(self) -> list[object]:
        """What a resumed study must have in common with the one before."""
        return [self.name, self.low, str(self.high), self.digest]


@dataclass(frozen=True)
class Limits:
    """All limits of a study.

    Attributes:
        space: The space.
        limits: What must hold.
    """

    space: Space
    limits: tuple[Limit, ...] = ()

    def hold(self, batch: Any) -> NDArray[np.bool_]:
        """(N,) bool: which networks are within all limits."""
        fine = np.ones(len(batch), bool)
        for limit in self.limits:
            values = limit.of(batch)
            fine &= (values >= limit.low) & (values <= limit.high)
        return fine

    def describe(self) -> str:
        """The limits, beside what random networks have."""
        draws = self.space.sample(1000, np.random.default_rng(0))
        parts = []
        for limit in self.limits:
            low, high = np.quantile(limit.of(draws), (0.01, 0.99))
            parts.append(
                f"{limit.name} from {limit.low:g} to {limit.high:g} {limit.unit}, where random "
                f"networks have {low:g} to {high:g}"
            )
        return "; ".join(parts) or "none given: the space is that small"


def make_limits(
    space: Space,
    latency: AdditiveCost | None = None,
    latency_min: float = 0.0,
    latency_max: float = 0.0,
    flops_max: float = 0.0,
    parameters_max: float = 0.0,
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
        SettingsError: If latency is limited without a table, a range is empty, or the space does
            not know such a cost.
    """
    numbers = {"latency_min": latency_min, "latency_max": latency_max, "flops_max": flops_max,
               "parameters_max": parameters_max}  # fmt: skip
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise SettingsError(f"{name} is {value}: use a number from 0 (no limit) up.")
    if (latency_min or latency_max) and latency is None:
        raise SettingsError(
            "latency is limited and there is no --latency-table: measure one with "
            "`python -m nprep.imagenet measure-latency`."
        )
    if latency_max and latency_min > latency_max:
        raise SettingsError(f"latency_min {latency_min} is above latency_max {latency_max}.")
    if not isinstance(space, ProxylessSpace):
        return _column_limits(space, numbers)
    limits = []
    if latency is not None and (latency_min or latency_max):
        limits.append(Limit.additive(latency, latency_min, latency_max or math.inf))
    if flops_max:
        # MACs are counted; the limit is given in FLOP.
        limits.append(Limit.additive(costs.macs(space.mobile), 0, flops_max * 1e6 / 2))
    if parameters_max:
        limits.append(Limit.additive(costs.parameters(space.mobile), 0, parameters_max * 1e6))
    return Limits(space, tuple(limits))


def _column_limits(space: Space, numbers: dict[str, float]) -> Limits:
    """Limits of what the space itself knows of an architecture."""
    given = [name for name, value in numbers.items() if value]
    if not given:
        return Limits(space)
    known = "trainable_parameters" in space.columns(space.sample(1, np.random.default_rng(0)))
    if given != ["parameters_max"] or not known:
        offered = "--parameters-max alone" if known else "no limits"
        raise SettingsError(
            f"{given[0]} is limited and the space {space.name} does not know that cost: use "
            f"{offered}, or --space proxyless."
        )

    def parameters(batch: Any) -> NDArray[np.floating]:
        # Of the network at the width of the space's tables.
        return space.columns(batch)["trainable_parameters"].astype(np.float64)

    high = numbers["parameters_max"] * 1e6
    return Limits(space, (Limit("parameters", "parameters", 0, high, parameters),))
