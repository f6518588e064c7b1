"""The compiled loops on NASBench-101 and the plain loops for every pool are the same methods."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nprep.search import baselines, local_search
from nprep.search.baselines import RandomSearch, RegularizedEvolution
from nprep.search.local_search import LocalSearch
from nprep.search.method import Method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from tests.synthetic import synthetic_view

VIEW = synthetic_view(500)
TRIALS = 120
SAMPLES = 60
SMALL = {"population": 10, "tournament": 6, "founders": 6}
TWINS: dict[str, Method] = {
    "random": RandomSearch(),
    "evolution": RegularizedEvolution(**SMALL),
    "replacement": RegularizedEvolution(**SMALL, replacement=True),
    "cells": RegularizedEvolution(**SMALL, initial="cells"),
    "local-search": LocalSearch(initial=4),
    "local-search-whole": LocalSearch(initial=1, whole=True),
}


def statistics(traces: list[Trace]) -> np.ndarray:
    """Of each trial: lengths, distinct cells, and the values after a third, two thirds and all."""
    rows = []
    for trace in traces:
        best = np.maximum.accumulate(trace.validation)
        thirds = np.array_split(trace.validation, 3)
        rows.append(
            [
                len(trace),
                len(np.unique(trace.positions)),
                *(float(part.mean()) for part in thirds),
                *(float(best[len(best) * k // 3 - 1]) for k in (1, 2, 3)),
            ]
        )
    return np.array(rows)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of means in standard errors."""
    spread = np.sqrt(one.var(axis=0, ddof=1) / len(one) + other.var(axis=0, ddof=1) / len(other))
    return float((np.abs(one.mean(axis=0) - other.mean(axis=0)) / np.maximum(spread, 1e-9)).max())


def run(method: Method, protocol: ReplayProtocol, first: int = 0) -> np.ndarray:
    seeds = [trial_seed(3, method.name, first + trial) for trial in range(TRIALS)]
    return statistics(method.run_block(VIEW, seeds, SAMPLES, protocol))


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (baselines, local_search):
        monkeypatch.setattr(module, "has_compiled_loops", lambda pool: False)


@pytest.mark.parametrize("name", TWINS)
def test_twins_have_the_same_distribution(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = ReplayProtocol(duplicates="free")
    compiled = run(TWINS[name], protocol)
    plainly(monkeypatch)
    # Eight statistics: 3.5 standard errors of the largest are one chance in 270.
    assert distance(compiled, run(TWINS[name], protocol)) < 3.5


def test_the_comparison_tells_methods_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = ReplayProtocol()
    compiled = run(TWINS["evolution"], protocol)
    plainly(monkeypatch)
    other = dataclasses.replace(TWINS["evolution"], tournament=1)  # type: ignore[type-var]
    assert distance(compiled, run(other, protocol)) > 5


def test_one_machine_gives_the_plain_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    plainly(monkeypatch)
    method = RegularizedEvolution(**SMALL)
    seeds = [trial_seed(0, "evolution", trial) for trial in range(3)]
    alone = method.run_block(VIEW, seeds, 40, ReplayProtocol())
    timed = method.run_concurrently(VIEW, seeds, 40, ReplayProtocol(), 1)
    for one, other in zip(alone, timed, strict=True):
        np.testing.assert_array_equal(one.positions, other.trace.positions)
        np.testing.assert_allclose(other.ends, np.cumsum(one.seconds), rtol=1e-5)
        assert (other.starts[1:] == other.ends[:-1]).all()


def test_many_machines_finish_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    plainly(monkeypatch)
    method = RegularizedEvolution(**SMALL)
    seeds = [trial_seed(0, "evolution", 0)]
    ends = [
        method.run_concurrently(VIEW, seeds, 40, ReplayProtocol(), workers)[0].ends.max()
        for workers in (1, 4, 100)
    ]
    assert ends[1] < 0.4 * ends[0]
    assert ends[2] < ends[1]
