"""What every search method must hold."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.search.method import KINDS, Method, check_pool
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from nprep.table.view import View

PROTOCOLS = {
    "paper": ReplayProtocol(),
    "query": ReplayProtocol(repeats="query"),
    "free": ReplayProtocol(duplicates="free"),
    "specs": ReplayProtocol(sampling="specs"),
}


class MethodSuite:
    """Derive from it, name the class ``Test...`` and set ``method`` and ``view``.

    Attributes:
        method: What is tested.
        view: What it searches: a table's view, of a few hundred architectures so that it is fast.
        samples: Samples of a trial.
    """

    method: Method
    view: View
    samples: int = 24

    def _run(
        self, trials: range, protocol: ReplayProtocol, samples: int | None = None
    ) -> list[Trace]:
        seeds = [trial_seed(5, self.method.name, trial) for trial in trials]
        return self.method.run_block(self.view, seeds, samples or self.samples, protocol)

    def _epochs(self, trace: Trace) -> np.ndarray:
        full = np.full(len(trace), self.view.full_epochs)
        return full if trace.epochs is None else trace.epochs.astype(int)

    def test_it_says_what_it_is(self) -> None:
        """Name, kind and settings can be stored."""
        assert self.method.name
        assert self.method.kind in KINDS
        described = self.method.settings()
        assert described["name"] == self.method.name
        assert json.loads(json.dumps(described)).keys() == described.keys()

    def test_it_searches_the_view(self) -> None:
        """Its declared fields let it."""
        check_pool(self.method, self.view)

    def test_short_trainings_are_declared(self) -> None:
        """Where they are missing it is refused before anything runs."""
        plain = dataclasses.replace(self.view, lower={})
        if set(self.method.budgets_on(plain)) <= {plain.full_epochs}:
            check_pool(self.method, plain)
            return
        with pytest.raises(SettingsError, match=self.method.name):
            check_pool(self.method, plain)

    @pytest.mark.parametrize("rules", PROTOCOLS)
    def test_a_trial_stays_within_its_budget_and_view(self, rules: str) -> None:
        """It is charged what it asked for, and told the values of the view."""
        (trace,) = self._run(range(1), PROTOCOLS[rules])
        assert len(trace) > 0
        epochs = self._epochs(trace)
        assert epochs.sum() <= self.view.full_epochs * self.samples
        assert trace.positions.min() >= 0
        assert trace.positions.max() < len(self.view)
        for budget in np.unique(epochs).tolist():
            some = epochs == budget
            at = trace.positions[some], trace.repeats[some]
            known = self.view.at(budget)
            np.testing.assert_array_equal(trace.validation[some], known.validation[at])
        if rules == "free" and trace.epochs is None:
            assert len(np.unique(trace.positions)) == len(trace)

    def test_a_seed_decides_a_trial_alone_or_in_a_block(self) -> None:
        """Trials are independent of each other."""
        block = self._run(range(3), ReplayProtocol())
        for trial in range(3):
            (alone,) = self._run(range(trial, trial + 1), ReplayProtocol())
            np.testing.assert_array_equal(alone.positions, block[trial].positions)
            np.testing.assert_array_equal(alone.repeats, block[trial].repeats)
        if self.method.kind != "bound":
            assert not np.array_equal(block[0].positions, block[1].positions)

    def test_rounds_begin_with_the_first_query_and_ascend(self) -> None:
        """What is trained side by side is said in order."""
        (trace,) = self._run(range(1), ReplayProtocol())
        if trace.rounds is not None:
            assert trace.rounds[0] == 0
            assert (np.diff(trace.rounds) > 0).all()
            assert trace.rounds[-1] < len(trace)

    def test_a_single_sample_is_enough(self) -> None:
        """A budget that is too small for the method ends it, no more."""
        (trace,) = self._run(range(1), ReplayProtocol(), samples=1)
        assert self._epochs(trace).sum() <= self.view.full_epochs
