"""Replays from Python: ``from nprep import replay``."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nprep import load, replay
from nprep.api import Result
from nprep.errors import MissingDependencyError, RunFolderError, SettingsError, TableError
from nprep.results.series import read_series
from nprep.search.baselines import RandomSearch
from nprep.search.method import SearcherMethod
from nprep.search.regressor import RegressorSearch
from nprep.search.rules import ReplayProtocol
from nprep.search.trace import Trace
from nprep.table.view import View
from nprep.table.writer import write_table
from tests.synthetic import synthetic_view
from tests.table.small import small_content

ROOT = Path(__file__).parents[2]
VIEW = synthetic_view()


class OneByOne:
    """Takes the cells in order."""

    name = "one-by-one"

    def __init__(self, view: View, rng: np.random.Generator) -> None:
        self.next = 0

    def ask(self) -> NDArray[np.int32]:
        self.next += 1
        return np.array([self.next - 1], np.int32)

    def tell(self, positions: NDArray[np.int32], values: NDArray[np.float32]) -> None:
        pass


class Mean:
    """A regressor that looks at one feature alone."""

    def fit(self, features: NDArray[np.floating], labels: NDArray[np.floating]) -> Mean:
        return self

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        # The one-hot columns of 3x3 convolutions are what made-up accuracies follow.
        return features[:, :35].reshape(-1, 7, 5)[:, :, 2].sum(axis=1)


class WrongShape(Mean):
    def predict(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        return features


REGRESSOR = RegressorSearch("one-feature", lambda seed: Mean(), train_samples=20)


@pytest.fixture(scope="module")
def result() -> Result:
    return replay(
        6,
        ["random", REGRESSOR, "oracle"],
        VIEW,
        samples=80,
        top_k=30,
        bootstrap=20,
        quiet=True,
    )


def test_frame_is_what_curves_csv_holds(result: Result) -> None:
    frame = result.frame()
    assert list(frame.columns) == [
        "method", "samples", "seconds", "trials", "metric", "mean", "std", "q25", "median", "q75",
    ]  # fmt: skip
    for series in read_series(result.folder / "curves.csv"):
        for metric in ("test", "validation"):
            chosen = frame[(frame["method"] == series.method) & (frame["metric"] == metric)]
            assert chosen["samples"].tolist() == series.samples.tolist()
            assert chosen["q25"].tolist() == series.columns[f"{metric}_q25"].tolist()
            assert set(chosen["trials"]) == {6}


def test_trials_average_to_the_frame(result: Result) -> None:
    trials, frame = result.trials(), result.frame()
    assert set(trials["trial"]) == set(range(6))
    means = trials.groupby(["method", "samples"])[["test", "validation", "seconds"]].mean()
    means = means.rename(columns={"seconds": "seconds_of_trials"})
    for metric in ("test", "validation"):
        chosen = frame[frame["metric"] == metric].set_index(["method", "samples"])
        both = chosen.join(means).dropna()
        assert len(both) > 30
        np.testing.assert_allclose(both["mean"], both[metric], atol=1e-5)
        np.testing.assert_allclose(both["seconds"], both["seconds_of_trials"], atol=1e-3)


def test_speedups_are_those_of_the_summary(result: Result) -> None:
    frame = result.speedups()
    assert set(frame["predictor"]) == {"one-feature"}
    assert set(frame["metric"]) == {"test", "validation"}
    entries = result.summary["speedups"][0]["test"]
    chosen = frame[frame["metric"] == "test"]
    assert chosen["target_percent"].tolist() == [entry["target_percent"] for entry in entries]


def test_own_predictor_is_better_than_chance(result: Result) -> None:
    ends = result.frame().query("metric == 'test'").groupby("method")["mean"].last()
    assert ends["one-feature"] > ends["random"]
    stored = result.run.run["method_settings"]["one-feature"]
    assert stored["regressor"].endswith("test_notebook:<lambda>")


def test_figures_are_matplotlibs(result: Result) -> None:
    figure = result.figure("validation", band="quartiles", methods=["random"], title="Mine")
    assert isinstance(figure, Figure)
    axes = figure.axes[0]
    assert [line.get_label() for line in axes.get_lines()] == ["random"]
    assert axes.get_title("left") == "Mine"
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    mine = Figure().add_subplot()
    result.draw(mine, x="seconds")
    assert mine.get_xlabel() == "total training time (seconds)"
    with pytest.raises(SettingsError, match="'np' was not run: use some of random"):
        result.figure(methods=["np"])


def test_results_show_themselves(result: Result) -> None:
    assert "one-feature" in str(result)
    assert "<table>" in result._repr_html_()


def test_folder_of_a_result_goes_with_it(tmp_path: Path) -> None:
    made = replay(2, "random", VIEW, samples=20, bootstrap=10, quiet=True)
    folder = made.folder
    assert folder.is_dir()
    kept = made.save(tmp_path / "kept")
    with pytest.raises(RunFolderError, match="choose another folder"):
        made.save(tmp_path / "kept")
    del made
    gc.collect()
    assert not folder.exists()
    again = load(kept)
    assert again.methods == ("random",)
    # It was on a view in memory, which is gone.
    with pytest.raises(TableError, match="names no table file"):
        again.trials()


def test_named_folder_is_resumed_and_loaded(tmp_path: Path) -> None:
    table = tmp_path / "small.h5"
    write_table(table, small_content())
    options = {"samples": 20, "bootstrap": 10, "quiet": True, "out": tmp_path / "run"}
    first = replay(2, "random,oracle", table, **options)
    with pytest.raises(RunFolderError, match="not empty"):
        replay(2, "random,oracle", table, **options)
    again = replay(2, "random,oracle", str(table), resume=True, **options)
    assert again.frame().equals(first.frame())
    loaded = load(tmp_path / "run")
    assert loaded.trials().equals(first.trials())


def test_objects_and_names_are_methods() -> None:
    made = replay(
        2,
        [OneByOne, RandomSearch("mine"), RandomSearch, SearcherMethod("again", OneByOne)],
        VIEW,
        samples=20,
        bootstrap=10,
        quiet=True,
    )
    assert made.methods == ("one-by-one", "mine", "random", "again")
    # Names decide seeds, so these two differ in what they see and not in what they ask for.
    one, again = (made.run.results(name, VIEW).positions for name in ("one-by-one", "again"))
    assert (one == np.arange(20)).all()
    assert (again == one).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"methods": ["annealing"]}, "'annealing' is unknown"),
        ({"methods": [3]}, "is no search method"),
        ({"methods": ["random", RandomSearch]}, "named twice"),
        ({"tirals": 3}, "option 'tirals' is unknown"),
        ({"protocol": "ours"}, "protocol 'ours' is unknown"),
        ({"duplicates": "maybe"}, "duplicates is 'maybe'"),
        ({"methods": [RegressorSearch("w", lambda seed: WrongShape(), 5)], "top_k": 5},
         "must give one finite number a cell"),
    ],
)  # fmt: skip
def test_mistakes_are_named(wrong: dict[str, object], message: str) -> None:
    arguments = {"trials": 1, "methods": "random", "table": VIEW, "samples": 20, "quiet": True}
    with pytest.raises(SettingsError, match=message):
        replay(**{**arguments, **wrong})


def test_without_pandas_it_says_what_to_install(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for frame in (result.frame, result.trials, result.speedups):
        with pytest.raises(MissingDependencyError, match="pip install pandas"):
            frame()


def test_regressor_search_keeps_to_the_rules() -> None:
    """One seed, one trace; the sample first, then the best new cells, none twice."""
    seeds = [np.random.SeedSequence(5), np.random.SeedSequence(6)]

    def traces(which: Sequence[np.random.SeedSequence]) -> list[Trace]:
        return REGRESSOR.run_block(VIEW, which, 50, ReplayProtocol())

    both = traces(seeds)
    alone = [*traces(seeds[:1]), *traces(seeds[1:])]
    scores = Mean().predict(VIEW.space.encode_flat(VIEW.cells))
    for trace, same in zip(both, alone, strict=True):
        assert (trace.positions == same.positions).all()
        assert len(set(trace.positions.tolist())) == 50
        chosen = scores[trace.positions[20:]]
        assert (np.diff(chosen) <= 0).all()
        others = np.setdiff1d(np.arange(len(VIEW)), trace.positions)
        assert chosen.min() >= scores[others].max()
