"""A space is one folder: everything else runs on it as it is."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from nprep.api import run
from nprep.errors import InvalidSpecError, MissingValueError, SettingsError
from nprep.report.cli import main as report
from nprep.search.method import check_pool
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.table.check import mismatches
from nprep.table.export import Condition, to_npz, to_numpy, to_parquet
from nprep.table.schema import Content
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table
from nprep.testing.sources import SourceSuite
from nprep.testing.spaces import SpaceSuite
from tests.toy_space.space import TOY
from tests.toy_space.table import toy_content


class TestToy(SpaceSuite):
    space = TOY


class TestToyTable(SourceSuite):
    def content(self) -> Content:
        return toy_content()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.h5"
    write_table(path, toy_content())
    return path


@pytest.fixture(scope="module")
def view(path: Path) -> View:
    return Table.open(path).view("measured")


def test_a_table_says_which_space_budgets_and_repeats_it_holds(path: Path) -> None:
    table = Table.open(path)
    assert (table.space, table.budgets, table.repeats) == (TOY, (3, 9, 27), 2)
    assert not list(mismatches(table))
    row = table.row_of("skip-small-large-skip-wide")
    assert TOY.format(table.cells.take(np.array([row]))) == ["skip-small-large-skip-wide"]
    answer = table.query(row, budget=9, repeat=1)
    assert (answer.budget, answer.repeat, answer.trainable_parameters) == (9, 1, None)
    with pytest.raises(SettingsError, match="108 epochs is unknown: use 3, 9, 27"):
        table.query(row, budget=108, repeat=0)
    with pytest.raises(SettingsError, match="repeat 2 is unknown: use 0, 1, 'mean'"):
        table.query(row, repeat=2)
    with pytest.raises(InvalidSpecError, match="is no toy"):
        table.row_of("skip")
    with pytest.raises(MissingValueError, match="table of the toy space, which has no module_hash"):
        _ = table.module_hash


def test_damaged_codes_are_found(path: Path) -> None:
    table = Table.open(path)
    table.arrays["cells/key"][5] ^= np.uint64(1)
    assert "row 5: its key is" in next(mismatches(table))


@pytest.mark.parametrize("name", ["evolution-naszilla", "local-search", "np", "bananas"])
def test_what_learns_beats_random_search(name: str, view: View) -> None:
    def best(method: str) -> float:
        seeds = [trial_seed(1, method, trial) for trial in range(8)]
        traces = make_method(method, 24).run_block(view, seeds, 48, ReplayProtocol())
        return float(np.mean([view.test[trace.positions].max() for trace in traces]))

    assert best(name) > best("random")


def test_a_replay_and_its_report(path: Path, tmp_path: Path) -> None:
    methods = ["random", "evolution", "np", "hyperband", "oracle"]
    result = run(
        trials=4, methods=methods, table=path, samples=40, train_samples=16, top_k=8,
        out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert result.curves["random"].full_epochs == 27
    page = tmp_path / "page.html"
    assert report([str(tmp_path / "run"), "--table", str(path), "--out", str(page)]) == 0
    assert "made-up values of the toy space" in page.read_text()


def test_exports(path: Path, tmp_path: Path) -> None:
    table = Table.open(path)
    columns = to_numpy(table, [Condition.parse("test_accuracy > 0.8")])
    rows = columns["row"]
    assert 0 < len(rows) < 432
    texts = [text.decode() for text in columns["architecture"]]
    assert texts == TOY.format(table.cells.take(rows))
    assert columns["validation_accuracy_9_1"].shape == rows.shape
    assert to_npz(table, tmp_path / "toy.npz") == 432
    if importlib.util.find_spec("pyarrow"):
        from pyarrow import parquet

        assert to_parquet(table, tmp_path / "toy.parquet") == 432
        read = parquet.read_table(tmp_path / "toy.parquet")
        assert read["architecture"][0].as_py() == TOY.format(table.cells)[0]


def test_a_view_without_short_trainings_is_refused_by_name(view: View) -> None:
    method = make_method("hyperband", 16)
    with pytest.raises(SettingsError, match="'hyperband' trains for 4, 12, 36, 108 epochs"):
        check_pool(method, dataclasses.replace(view, lower={}))
