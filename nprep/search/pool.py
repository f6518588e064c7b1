"""The architectures of one search, addressed by position.

A method knows a pool, never a file, and never which of the two worlds answers. The two pools:

- ``nprep.table.view.View``: the M architectures of a table's view, positions 0 to M - 1;
- the open pool of a study of real trainings: a list that grows as architectures are drawn, each
  within the limits of the study (latency, FLOPs, parameters).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.spaces.base import Space


class Pool(Protocol):
    """What one search may ask for, by int32 position."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def space(self) -> Space:
        """The space that its architectures are of."""

    @property
    def budgets(self) -> tuple[int, ...]:
        """Lengths of training that can be asked for, in epochs, ascending; the last is in full."""

    @property
    def parallel(self) -> int:
        """How many trainings run side by side, so that a method may as well ask for as many."""

    @property
    def threads(self) -> int:
        """How many threads a method may train its predictors with."""

    @property
    def closed(self) -> bool:
        """Whether it holds all its architectures from the start, so that ``len`` never changes."""

    def __len__(self) -> int:
        """The number of positions that are known, which grows in an open pool."""

    def sample(
        self, count: int, rng: np.random.Generator, sampling: str = "cells"
    ) -> NDArray[np.int32]:
        """Random architectures, with repetition.

        Args:
            count: How many.
            rng: Advanced.
            sampling: "cells": uniformly over the architectures of the pool; "specs": by the space's
                own sampler, redrawn outside the pool.

        Returns:
            (count,) positions.
        """

    def mutate(self, positions: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        """One random child of each of (N,) architectures, redrawn outside the pool: (N,)."""

    def neighbours(self, position: int) -> NDArray[np.int32]:
        """All architectures of the pool one step away from one of them, ascending."""

    def find(self, batch: Any) -> NDArray[np.int32]:
        """The positions of (N,) architectures of the space; -1 for what is not in the pool.

        An open pool takes in what lies within its limits.
        """

    def take(self, positions: NDArray[np.int32]) -> Any:
        """The architectures at some positions, as a batch of the space."""

    def candidates(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """What a predictor ranks: (C,) positions, ascending, all different.

        Everything in a closed pool, which leaves the generator alone; random ones in an open pool.
        """
