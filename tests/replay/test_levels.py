"""The accuracies that tables are given at, on a space whose accuracies are not NASBench-101's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nprep.replays.engine import run_replay
from nprep.results.levels import NASBENCH101, levels_of
from nprep.results.text import to_text
from nprep.runs.settings import ReplaySettings
from nprep.search.rules import ReplayProtocol
from nprep.spaces.nb201 import strings
from nprep.table.table import Table
from nprep.table.view import View
from tests.synthetic import synthetic_view
from tests.table import test_nb201_csv

# Enough of the space that a mutation finds another one.
COUNT = 6000


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A view of NAS-Bench-201 whose accuracies, 25 to 46 %, are none of NASBench-101."""
    from nprep.table.build import build_from_file

    rng = np.random.default_rng(3)
    texts = strings.format_strings(strings.from_numbers(np.arange(COUNT)))
    validation = 25 + 3 * np.array([text.count("conv") for text in texts]) + rng.normal(0, 1, COUNT)
    test = validation + 0.4 + rng.normal(0, 0.2, COUNT)
    lines = [
        f"{n},{text},infer.tiny,16,5,50,{validation[n]},{test[n]}" for n, text in enumerate(texts)
    ]
    folder = tmp_path_factory.mktemp("levels")
    file = test_nb201_csv.write(folder / "some.csv", lines)
    table = build_from_file("nb201-csv", file, folder / "some.h5", dataset="ImageNet16-120")
    found = Table.open(table).view("mean")
    # The file has no times; with some, a run can be simulated on many machines.
    return dataclasses.replace(found, training_seconds=np.full((COUNT, 1), 50, np.float32))


@dataclass(frozen=True)
class Held:
    """Hands out a view."""

    view: View

    def load(self) -> View:
        return self.view

    def describe(self) -> dict[str, object]:
        return {"kind": "synthetic"}


def test_nasbench101_keeps_its_levels() -> None:
    levels = levels_of(synthetic_view(50))
    assert levels is NASBENCH101
    assert levels.targets["test"].tolist() == pytest.approx(np.linspace(93.5, 94.2, 15))
    assert levels.targets["validation"].tolist() == pytest.approx(np.linspace(94.3, 95.1, 17))
    assert levels.thresholds.tolist() == pytest.approx(np.linspace(93.0, 94.3, 27))


def test_elsewhere_levels_run_up_to_what_a_perfect_search_finds(view: View) -> None:
    levels = levels_of(view)
    ranked = sorted(range(COUNT), key=lambda k: -float(view.validation[k, 0]))
    for metric, values in (("validation", view.validation[:, 0]), ("test", view.test)):
        best = 100 * float(values[ranked[0]])
        good = sum(100 * float(values[k]) for k in ranked[:60]) / 60
        targets = levels.targets[metric]
        assert best - 0.01 <= targets[-1] <= best + 1e-6
        assert good - 0.01 <= targets[0] <= good + 1e-6
        assert len(targets) == 15
        assert (np.diff(targets) > 0).all()
    targets = levels.targets["test"]
    assert levels.thresholds[0] < targets[0] < targets[-1] < levels.thresholds[-1]
    assert levels.failed is None


def test_a_view_of_equals_has_one_level(view: View) -> None:
    same = dataclasses.replace(
        view, validation=np.full_like(view.validation, 0.5), test=np.full_like(view.test, 0.25)
    )
    levels = levels_of(same)
    assert {m: t.tolist() for m, t in levels.targets.items()} == {
        "validation": [50.0],
        "test": [25.0],
    }


def test_tables_of_a_run_are_not_empty(view: View, tmp_path: Path) -> None:
    methods = ("random", "evolution", "tests.replay.run_synthetic:Predictor")
    settings = ReplaySettings(
        methods=methods,
        trials=6,
        samples=150,
        train_samples=20,
        top_k=100,
        workers=(1, 10),
        bootstrap=20,
        protocol=ReplayProtocol(repeats="mean"),
    )
    summary = run_replay(settings, Held(view), tmp_path / "out").summary
    comparison = summary["speedups"][0]
    predictor = comparison["predictor"]
    for metric in ("validation", "test"):
        reached = [entry["predictor_samples"] for entry in comparison[metric]]
        assert sum(samples is not None for samples in reached) > 2
        clock = summary["clock"]["methods"][predictor][0][metric]
        assert sum(entry["seconds"] is not None for entry in clock) > 2
    shares = summary["profiles"]["methods"][predictor]["100"]
    assert shares[0] == 1
    assert shares[-1] < 1
    # Below 80 % is no failed training here.
    assert summary["methods"]["random"]["trials_with_failed_best"] == 0
    text = to_text(summary)
    targets = [entry["target_percent"] for entry in comparison["test"]]
    shown = [line for line in text.splitlines() if line.startswith("time to ")]
    assert [line.split("%")[0] for line in shown] == [
        f"time to {targets[6]:.2f} ",
        f"time to {targets[10]:.2f} ",
    ]
