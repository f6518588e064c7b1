"""Choosing settings on one side and judging them on the other."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nprep._console import run
from nprep.errors import SettingsError
from nprep.quality import choose
from nprep.quality.choices import FAMILIES, Factor, made
from nprep.quality.choose import Case, ChooseSettings, Side, Trials
from nprep.quality.cli import main
from nprep.search.baselines import RandomSearch
from nprep.search.trace import Trace
from tests.table import test_nb201_csv


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A small table of NAS-Bench-201 with made-up means."""
    from nprep.table.build import build_from_file

    folder = tmp_path_factory.mktemp("tables")
    file = test_nb201_csv.write(folder / "some.csv", test_nb201_csv.lines_of(300))
    return build_from_file("nb201-csv", file, folder / "some.h5", dataset="cifar10")


class _Fixed:
    """A method that finds a given position first, then others."""

    def __init__(self, name, first):
        self.name, self.first = name, first

    def run_block(self, pool, seeds, samples, protocol):
        from nprep.search.trace import trace_of

        positions = np.array([self.first, *range(samples - 1)], np.int32)
        return [trace_of(pool, positions, np.zeros(samples, np.uint8)) for _ in seeds]


def case_of(table, budgets=(2, 5)):
    return Case(str(table), "mean", "bananas", budgets)


def test_regret_is_the_distance_to_the_best(table, tmp_path):
    case = case_of(table)
    view, rules = Trials(tmp_path / "t.jsonl").view(case)
    order = np.argsort(view.validation[:, 0])
    best, third = int(order[-1]), int(order[-3])
    trace = Trace(
        np.array([third, int(order[0]), best], np.int32),
        np.zeros(3, np.uint8),
        view.validation[[third, order[0], best], 0],
        np.zeros(3, np.float32),
    )
    found = choose.regrets_of(trace, view, rules, (1, 2, 3, 50))
    distance = 100 * float(view.validation[best, 0] - view.validation[third, 0])
    assert found == pytest.approx([distance, distance, 0, 0], abs=1e-5)


def test_trials_are_kept_and_a_cut_off_line_is_dropped(table, tmp_path):
    path = tmp_path / "out" / "trials.jsonl"
    case = case_of(table)
    first = Trials(path).regrets(case, RandomSearch(), "random", 3, 4)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    path.write_text("".join(lines[:2]) + lines[2][:20])

    class Refuses:
        def run_block(self, *arguments):
            raise AssertionError

    kept = Trials(path)
    np.testing.assert_array_equal(kept.regrets(case, Refuses(), "random", 3, 2), first[:2])
    with pytest.raises(AssertionError):
        kept.regrets(case, Refuses(), "random", 3, 3)
    np.testing.assert_array_equal(Trials(path).regrets(case, RandomSearch(), "random", 3, 4), first)


def test_seeds_of_choosing_and_judging_differ(table, tmp_path):
    case, trials = case_of(table), Trials(tmp_path / "t.jsonl")
    chosen = trials.regrets(case, RandomSearch(), "random", 0, 20)
    judged = trials.regrets(case, RandomSearch(), "random", 1, 20)
    assert not np.array_equal(chosen, judged)


def test_the_level_that_helps_is_chosen(table, tmp_path, monkeypatch):
    case = case_of(table)
    trials = Trials(tmp_path / "t.jsonl")
    view, _ = trials.view(case)
    order = np.argsort(view.validation[:, 0])

    def own(family, changes):
        rank = -50 + 10 * changes.get("good", 0) - 10 * changes.get("bad", 0)
        return _Fixed("own", int(order[rank]))

    monkeypatch.setattr(choose, "made", own)
    factors = (Factor(({"good": 1}, {"good": 3}, {"bad": 1})), Factor(({"bad": 2},)))
    monkeypatch.setitem(FAMILIES, "np", factors)
    side = Side("a", (case,))
    settings = ChooseSettings(("np",), (side, Side("b", (case,))), trials=3, judged=3)
    chosen, rows = choose.choose(trials, side, "np", settings)
    assert dict(chosen) == {"good": 3}
    assert [row["gain"] > 0 for row in rows] == [True, True, False, False]
    found = list(choose.judge(trials, case, "np", {"shipped": {}, "other": chosen}, settings))
    assert found[0]["difference"] == 0
    assert found[1]["difference"] < 0
    low, high = found[1]["difference_interval"]
    assert low <= found[1]["difference"] <= high + 1e-12


def test_every_level_makes_a_method():
    for family, factors in FAMILIES.items():
        for factor in factors:
            for changes in factor.levels:
                method = made(family, changes)
                for name, value in changes.items():
                    owner = method if hasattr(method, name) else method.predictor
                    assert getattr(owner, name) == value
    with pytest.raises(SettingsError, match="no setting 'colour'"):
        made("np", {"colour": 1})


@pytest.mark.slow
def test_the_command(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(FAMILIES, "np", (Factor(({"epochs": 2},)),))
    case = f"{table}@mean@bananas@90+95"
    arguments = [
        "choose", "--side", f"a={case}", "--side", f"b={case}", "--also", case, "--family", "np",
        "--trials", "2", "--judged", "2", "--out", str(tmp_path),
    ]  # fmt: skip
    assert run(main, arguments) == 0
    out = capsys.readouterr().out
    assert out.count("np judged on some@mean@bananas") == 3
    content = json.loads((tmp_path / "choose.json").read_text())
    assert set(content["families"]["np"]["judged"]) == {"a", "b", "neither side"}
    # Everything is known, so a second run only reads.
    before = (tmp_path / "trials.jsonl").read_bytes()
    assert run(main, arguments) == 0
    assert (tmp_path / "trials.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--side", "a=x@y@bananas"], "1 sides are named"),
        (["--side", "a=x@y@bananas", "--side", "b"], "side 'b' can't be read"),
        (["--side", "a=x@y", "--side", "b=x@y@z"], "case 'x@y' can't be read"),
        (["--side", "a=x@y@z@1+x", "--side", "b=x@y@z"], "can't be read"),
        (["--side", "a=x@y@z", "--side", "a=x@y@z"], "both sides are called 'a'"),
        (["--side", "a=x@y@z", "--side", "b=x@y@z", "--family", "x"], "family 'x' is unknown"),
        (["--side", "a=x@y@z", "--side", "b=x@y@z", "--trials", "1"], "at least 2"),
    ],
)
def test_refuses_what_makes_no_sense(arguments, message, capsys):
    assert run(main, ["choose", *arguments]) == 2
    assert message in capsys.readouterr().err
