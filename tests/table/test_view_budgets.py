"""What a view knows of short trainings and of single test runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.runs.settings import is_timed, view_digest
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.schema import Metric, Provenance
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table
from tests.table.small import small_content


def view_with(
    path: Path, absent: dict[int, list[int]], test: np.ndarray | None = None, name: str = "measured"
) -> View:
    """A view of 300 cells, of which some lack all runs of some length."""
    content = small_content(300)
    old = content.metrics["final", "validation_accuracy"]
    values, codes = old.values.copy(), old.provenance.copy()
    for budget, cells in absent.items():
        values[cells, BUDGETS.index(budget)] = np.nan
        codes[cells, BUDGETS.index(budget)] = Provenance.MISSING
    seconds = np.broadcast_to(
        np.array(BUDGETS, np.float32)[:, None] + np.arange(3, dtype=np.float32), (300, 4, 3)
    ).copy()
    metrics = {
        **content.metrics,
        ("final", "validation_accuracy"): Metric(values, codes),
        ("final", "training_seconds"): Metric.measured(seconds),
    }
    if test is not None:
        metrics["final", "test_accuracy"] = Metric.measured(test)
    write_table(path, dataclasses.replace(content, metrics=metrics))
    return Table.open(path).view(name)


def test_a_cell_without_a_short_training_has_the_next_longer_one(tmp_path: Path) -> None:
    view = view_with(tmp_path / "t.h5", {12: [5], 4: [5]})
    assert view.budgets == (4, 12, 36, 108)
    full, long, short = view.at(108), view.at(36), view.at(12)
    assert (full.epochs == 108).all()
    np.testing.assert_array_equal(full.validation, view.validation)
    assert short.epochs[5] == 36
    assert short.epochs[4] == 12
    np.testing.assert_array_equal(short.validation[5], long.validation[5])
    np.testing.assert_array_equal(short.training_seconds[5], long.training_seconds[5])
    assert view.at(4).epochs[5] == 36
    np.testing.assert_array_equal(view.at(4).validation[5], long.validation[5])
    assert (short.training_seconds[4] == [12, 13, 14]).all()
    table = Table.open(tmp_path / "t.h5")
    stored = table.metrics["final", "validation_accuracy"].values[view.rows, 1]
    others = np.arange(len(view)) != 5
    np.testing.assert_array_equal(short.validation[others], stored[others])


def test_a_budget_that_many_cells_lack_is_refused(tmp_path: Path) -> None:
    # 100 cells are in the view; 2 are more than one in a hundred.
    view = view_with(tmp_path / "t.h5", {12: [5, 6]})
    assert len(view) == 100
    assert view.budgets == (4, 36, 108)
    with pytest.raises(SettingsError, match=r"after 12 epochs, only after 4, 36, 108: use another"):
        view.at(12)


def test_test_runs_are_there_where_every_validation_run_has_one(tmp_path: Path) -> None:
    test = np.random.default_rng(0).uniform(0.8, 0.9, (300, 4, 3)).astype(np.float32)
    assert view_with(tmp_path / "none.h5", {}).test_runs is None
    view = view_with(tmp_path / "all.h5", {}, test, "completed")
    assert view.test_runs is not None
    np.testing.assert_array_equal(view.test_runs, test[:, 3])
    assert view.provenance["test_accuracy_of_runs"] == {"measured": 900}
    test[7, 3, 1] = np.nan
    assert view_with(tmp_path / "gap.h5", {}, test, "completed").test_runs is None


def test_a_digest_sees_short_trainings_and_test_runs(tmp_path: Path) -> None:
    test = np.full((300, 4, 3), 0.9, np.float32)
    view = view_with(tmp_path / "a.h5", {}, test)
    assert view.test_runs is not None
    other = np.array(view.test_runs)
    other[0, 0] = 0.8
    lower = dict(view.lower)
    values = lower[12].validation.copy()
    values[3, 1] += np.float32(0.01)
    lower[12] = dataclasses.replace(lower[12], validation=values)
    digests = {
        view_digest(each)
        for each in (
            view,
            dataclasses.replace(view, test_runs=other),
            dataclasses.replace(view, lower=lower),
            dataclasses.replace(view, lower={}),
        )
    }
    assert len(digests) == 4
    assert is_timed(view)
    slow = dataclasses.replace(lower[12], training_seconds=np.full_like(values, np.nan))
    assert not is_timed(dataclasses.replace(view, lower={12: slow}))
