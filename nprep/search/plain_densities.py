"""What Hyperband and BOHB propose on any pool, by the codes of its space.

The plain form of ``nprep.search.successive_halving``'s samplers, whose compiled loops know the
matrices of NASBench-101.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError
from nprep.search import plain
from nprep.search.archive import Positions
from nprep.search.pool import Pool

# Of the reference implementation of BOHB, HpBandSter.
_MIN_WIDTH = 1e-3
# Architectures that tell which values a place of the codes may have.
_LOOKED_AT = 4096
# Rounds of proposals before a random architecture is taken instead.
_TRIES = 10


class PlainSampler:
    """Random architectures, those of a bracket all different."""

    def __init__(self, pool: Pool, seed: np.random.SeedSequence, sampling: str) -> None:
        """Prepares a trial.

        Args:
            pool: The architectures.
            seed: Decides the draws.
            sampling: "cells" or "specs" (see ``nprep.search.rules.ReplayProtocol``).
        """
        self._pool = pool
        self._rng = np.random.default_rng(seed)
        self._sampling = sampling

    def propose(self, count: int) -> Positions:
        """The architectures of a bracket; fewer where the pool has fewer."""
        return Positions(plain.draw_new(self._pool, self._rng, count, set(), self._sampling))

    def learn(self, budget: int, trained: Positions, values: NDArray[np.float32]) -> None:
        """Told what trainings gave."""


@dataclass(frozen=True)
class Densities:
    """Settings of the kernel densities.

    Attributes:
        top_share: Share of the trained architectures that counts as good.
        samples: Samples of which the best is proposed.
        random_share: Share of proposals that are random architectures.
    """

    top_share: float
    samples: int
    random_share: float


class PlainDensitySampler(PlainSampler):
    """Architectures that are likely among the good and unlikely among the bad ones.

    Each place of the codes that varies is a categorical parameter with the kernel of Aitchison and
    Aitken, as in HpBandSter: a datum keeps its value with probability 1 - width, else takes one of
    the others.
    """

    def __init__(
        self, pool: Pool, seed: np.random.SeedSequence, sampling: str, settings: Densities
    ) -> None:
        """Prepares a trial (see ``PlainSampler``)."""
        super().__init__(pool, seed, sampling)
        self._settings = settings
        self._trained: dict[int, list[NDArray[np.int32]]] = {}
        self._values: dict[int, list[NDArray[np.float32]]] = {}
        seen = pool.space.to_codes(pool.take(pool.sample(_LOOKED_AT, np.random.default_rng(0))))
        self._levels: Sequence[NDArray[np.uint8]] = [np.unique(column) for column in seen.T]
        self._free = [w for w, levels in enumerate(self._levels) if len(levels) > 1]

    def learn(self, budget: int, trained: Positions, values: NDArray[np.float32]) -> None:
        """Told what trainings gave."""
        self._trained.setdefault(budget, []).append(trained.positions)
        self._values.setdefault(budget, []).append(values)

    def propose(self, count: int) -> Positions:
        """The architectures of a bracket; fewer where the pool has fewer."""
        model = self._fit()
        found: dict[int, None] = {}
        for _ in range(count):
            position = -1
            if model is not None and self._rng.random() >= self._settings.random_share:
                position = self._likely(*model, found)
            if position < 0:
                drawn = plain.draw_new(self._pool, self._rng, 1, {*found}, self._sampling)
                if not len(drawn):
                    break
                position = int(drawn[0])
            found[position] = None
        return Positions(np.array([*found], np.int32))

    def _fit(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """Codes of the good and the bad of the longest trainings that are many enough."""
        fewest = len(self._free) + 1
        for budget in sorted(self._trained, reverse=True):
            values = np.concatenate(self._values[budget])
            good = max(fewest, int(self._settings.top_share * len(values)))
            if len(values) >= good + fewest:
                positions = np.concatenate(self._trained[budget])
                codes = self._pool.space.to_codes(self._pool.take(positions))
                order = np.argsort(-values, kind="stable")
                return codes[order[:good]], codes[order[good:]]
        return None

    def _likely(
        self, good: NDArray[np.uint8], bad: NDArray[np.uint8], found: dict[int, None]
    ) -> int:
        """The best of some samples of the good density that are new; -1 if there is none."""
        widths = [self._widths(codes) for codes in (good, bad)]
        for _ in range(_TRIES):
            data = good[self._rng.integers(len(good), size=self._settings.samples)].copy()
            for w in self._free:
                moved = self._rng.random(len(data)) < widths[0][w]
                others = self._rng.integers(1, len(self._levels[w]), size=len(data))
                ranks = np.searchsorted(self._levels[w], data[:, w])
                ranks = np.where(moved, (ranks + others) % len(self._levels[w]), ranks)
                data[:, w] = self._levels[w][ranks]
            scores = self._log_density(data, good, widths[0])
            scores -= self._log_density(data, bad, widths[1])
            for place in np.argsort(-scores, kind="stable"):
                try:
                    batch = self._pool.space.from_codes(data[place : place + 1])
                except InvalidSpecError:
                    continue
                position = int(self._pool.find(batch)[0])
                if position >= 0 and position not in found:
                    return position
        return -1

    def _widths(self, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(W,) kernel widths by the normal reference rule, within what a kernel may have."""
        ranks = np.stack(
            [
                np.searchsorted(levels, column)
                for levels, column in zip(self._levels, codes.T, strict=True)
            ]
        )
        deviation = ranks.astype(np.float64).std(axis=1)
        widths = 1.06 * deviation * len(codes) ** (-1.0 / (4 + len(self._free)))
        counts = np.array([len(levels) for levels in self._levels])
        return np.clip(widths, _MIN_WIDTH, np.maximum(1.0 - 1.0 / counts, _MIN_WIDTH))

    def _log_density(
        self, data: NDArray[np.uint8], codes: NDArray[np.uint8], widths: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(S,) logarithms of a density at some codes."""
        total = np.zeros((len(data), len(codes)))
        for w in self._free:
            same = data[:, w, None] == codes[None, :, w]
            others = widths[w] / (len(self._levels[w]) - 1)
            total += np.log(np.where(same, 1.0 - widths[w], others))
        highest = total.max(axis=1)
        density = np.exp(total - highest[:, None]).mean(axis=1)
        return np.asarray(highest + np.log(density))
