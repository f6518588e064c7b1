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

from nprep.errors import SettingsError
from nprep.kernels.numeric.rng import seed_state
from nprep.kernels.search.breeding import climb
from nprep.search.baselines import rules_of, space_of
from nprep.search.method import Preset
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Trace, trace_of
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
        """Runs one trial per seed (see :class:`nprep.search.method.Method`)."""
        space = space_of(view)
        traces = []
        for seed in seeds:
            positions = np.empty(samples, np.int32)
            repeats = np.empty(samples, np.uint8)
            begins = np.empty(samples, np.bool_)
            state = seed_state(stream(seed, SEARCH_STREAM))
            rules = rules_of(seed, samples, protocol)
            count = climb(state, space, rules, self.initial, self.whole, positions, repeats, begins)
            rounds = np.flatnonzero(begins[:count]).tolist()
            traces.append(trace_of(view, positions[:count], repeats[:count], None, rounds))
        return traces
