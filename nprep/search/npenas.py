"""NPENAS: evolution that trains only those children that a graph network predicts to be good.

Wei, Niu, Tang, Wang, Hu, Liang: "NPENAS: Neural Predictor Guided Evolution for Neural Architecture
Search", 2020 (its form NPENAS-NP). As in the authors' program: 10 random cells, then in every round
a predictor trained from scratch on all cells so far, 100 mutations of the best cells, and the 10 of
them with the best predictions are trained. The predictor here is this package's GCN in the size and
with the training of the authors' graph isomorphism network (three layers of 32 channels that sum
over neighbours, a dense layer of 16 units, 300 epochs of Adam at 0.005). Published at 150 queries,
as others quote it, the mean of the validation runs driving the search in the authors' program:
94.14 % mean test accuracy for NPENAS-NP, 94.10 for NPENAS-BO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nprep.errors import SettingsError
from nprep.predictor.gcn import train
from nprep.predictor.scoring import plan_for
from nprep.predictor.settings import GcnSettings
from nprep.search.archive import Breeding, archive_of
from nprep.search.evaluator import evaluator_of
from nprep.search.method import Preset
from nprep.search.pool import Pool
from nprep.search.predicting import members_of
from nprep.search.rules import SEARCH_STREAM, ReplayProtocol, stream
from nprep.search.trace import Trace


@dataclass(frozen=True)
class Npenas(Preset):
    """Evolution guided by a neural predictor (Wei et al., 2020).

    Attributes:
        name: Name of the method.
        initial: Random architectures that a trial begins with, by the space's own sampler.
        batch: Trainings in a round.
        max_samples: Samples after which a trial ends, since its rounds get slower and slower.
        breeding: How candidates are made; those beyond ``candidates`` are dropped.
        predictor: Of the graph network.
    """

    name: str = "npenas"
    initial: int = 10
    batch: int = 10
    max_samples: int = 500
    breeding: Breeding = field(default_factory=lambda: Breeding(parents=50))
    predictor: GcnSettings = field(
        default_factory=lambda: GcnSettings(
            width=32,
            head=(16,),
            normalisation="sum",
            batch=16,
            learning_rate=5e-3,
            weight_decay=1e-4,
        )
    )

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        for setting in ("initial", "batch", "max_samples"):
            if getattr(self, setting) < 1:
                raise SettingsError(f"{setting} is {getattr(self, setting)}: use at least 1.")

    def run_block(
        self,
        pool: Pool,
        seeds: Sequence[np.random.SeedSequence],
        samples: int,
        protocol: ReplayProtocol,
    ) -> list[Trace]:
        """Runs one trial per seed (see ``nprep.search.method.Method``)."""
        return [self._trial(pool, seed, samples, protocol) for seed in seeds]

    def _trial(
        self, pool: Pool, seed: np.random.SeedSequence, samples: int, protocol: ReplayProtocol
    ) -> Trace:
        draws, networks = stream(seed, SEARCH_STREAM).spawn(2)
        evaluator = evaluator_of(pool, seed, min(samples, self.max_samples), protocol)
        archive = archive_of(pool, evaluator, draws)
        archive.train(archive.draw(self.initial))
        settings = self.predictor.for_samples(samples)
        while not evaluator.done:
            candidates = archive.candidates(self.breeding, self.breeding.candidates)
            if not len(candidates):
                break
            network = train(
                members_of(pool, archive.positions), archive.values, settings, networks.spawn(1)[0]
            )
            plan = plan_for(members_of(pool, candidates.positions), settings)
            scores = plan.predict(network)
            archive.train(candidates.take(np.argsort(-scores, kind="stable")[: self.batch]))
        return evaluator.trace()


def preset(name: str, train_samples: int) -> Npenas:
    """The method of a name; it has no use for a number of training samples."""
    return Npenas(name)
