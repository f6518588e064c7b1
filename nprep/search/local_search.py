"""Local search: climb from a random cell to a local optimum, and start again.

White, Nolen, Savani: "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021. Two
specs are neighbours if one operation or one edge differs, where pruning does not remove the
difference: the neighbourhood of the program naszilla. Published at 150 queries, the mean of the
validation runs driving the search: 94.068 % mean test accuracy over 200 trials (Table 1 of
s41598-025-94187-8), against 93.659 % for random search and 93.891 % for regularized evolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.kernels.breeding import climb
from nprep.kernels.evolution import Rules, Space
from nprep.search.base import Preset, ReplayProtocol, Trace
from nprep.search.compiled import run_trials
from nprep.table.view import View


@dataclass(frozen=True)
class LocalSearch(Preset):
    """Local search (White et al., 2021); the defaults are those of the program naszilla.

    No cell is trained twice. A neighbour outside the view is not considered.

    Attributes:
        name: Name of the preset.
        initial: Random specs of each start; the climb begins at the best of them.
        whole: Whether all neighbours are trained before the step to the best of them, as in the
            paper's plain form; otherwise the first better neighbour is the step, as in naszilla.
    """

    name: str = "local-search"
    initial: int = 10
    whole: bool = False

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        if self.initial < 1:
            raise SettingsError(f"{self.name} starts from {self.initial} specs: use at least 1.")

    def run_block(
        self,
        view: View,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see :class:`nprep.search.base.Method`)."""

        def loop(
            state: NDArray[np.uint64],
            space: Space,
            rules: Rules,
            positions: NDArray[np.int32],
            repeats: NDArray[np.uint8],
        ) -> int:
            return climb(state, space, rules, self.initial, self.whole, positions, repeats)

        return run_trials(loop, view, seeds, samples, protocol)
