"""What every backend of predictors must hold."""

from __future__ import annotations

import numpy as np

from nprep.predictor.backends.base import Backend, TrainingTask, predictions
from nprep.predictor.backends.make import make_backend
from nprep.predictor.gcn import train
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.spaces.base import Members
from nprep.spaces.nb101.space import NB101

_SETTINGS = GcnSettings(width=24, epochs=5)


class BackendSuite:
    """Derive from it, name the class ``Test...`` and set ``name``, or override ``backend``.

    Attributes:
        name: What ``nprep.predictor.backends.make.make_backend`` takes.
        tolerance: Largest difference of a prediction from that of the numba backend.
    """

    name: str
    tolerance: float = 2e-3

    def backend(self) -> Backend:
        """The backend to test."""
        return make_backend(self.name)

    def _members(self, count: int, seed: int = 0) -> Members:
        specs = NB101.sample(count, np.random.default_rng(seed))
        return Members(NB101, NB101.pruned(specs))

    def _task(self, seed: int, classifier: bool = False) -> TrainingTask:
        members = self._members(30, seed)
        accuracies = 0.8 + 0.1 * np.random.default_rng(seed).random(30)
        labels = accuracies > 0.85 if classifier else accuracies
        return TrainingTask(members, labels, _SETTINGS, np.random.SeedSequence(seed))

    def test_it_describes_itself(self) -> None:
        """Runs say what trained their predictors."""
        described = self.backend().describe()
        assert described["name"]
        assert all(isinstance(value, str) for value in described.values())

    def test_predictors_agree_with_the_reference(self) -> None:
        """Training and inference are those of the numba kernels, up to rounding."""
        backend, members = self.backend(), self._members(200, 9)
        plan = SharingPlan.build(members, _SETTINGS.normalisation, _SETTINGS.layers)
        for classifier in (False, True):
            task = self._task(1, classifier)
            wanted = plan.predict(train(task.cells, task.labels, task.settings, task.seed))
            (found,) = predictions(backend, plan, backend.train([task]))
            assert found.shape == (200,)
            np.testing.assert_allclose(found, wanted, atol=self.tolerance)

    def test_a_task_does_not_depend_on_the_others(self) -> None:
        """A trial alone gives what it gives in a block, up to rounding."""
        backend, members = self.backend(), self._members(50, 9)
        plan = SharingPlan.build(members, _SETTINGS.normalisation, _SETTINGS.layers)
        together = list(
            predictions(backend, plan, backend.train([self._task(seed) for seed in range(3)]))
        )
        for seed in range(3):
            (alone,) = predictions(backend, plan, backend.train([self._task(seed)]))
            np.testing.assert_allclose(alone, together[seed], atol=self.tolerance)

    def test_the_same_seed_gives_the_same_predictor(self) -> None:
        """Twice is once."""
        backend = self.backend()
        one, two = (backend.train([self._task(4)])[0].parameters for _ in range(2))
        np.testing.assert_array_equal(one, two)
