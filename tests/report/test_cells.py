"""What trials end with, and the numbers of the page's figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from nprep.report.pictures.predictions import density
from nprep.report.pictures.sample_map import accuracy_map
from nprep.report.sections.cells import joined
from nprep.results.curves import curves_of
from nprep.results.found import best_found, deployed
from nprep.results.reading import Run
from nprep.results.summary import summarize
from nprep.runs.blocks import Results
from nprep.runs.settings import ReplaySettings
from nprep.search.baselines import RandomSearch
from nprep.search.neural_predictor import preset
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.spaces.nb101.cells import cells_from_specs, format_hashes, module_hashes
from nprep.spaces.nb101.spec import Spec
from tests.synthetic import synthetic_view

VIEW = synthetic_view()


def results_of(method: object, trials: int, samples: int, name: str = "m") -> Results:
    seeds = [trial_seed(7, name, trial) for trial in range(trials)]
    return Results.of_traces(
        method.run_block(VIEW, seeds, samples, ReplayProtocol())  # type: ignore[attr-defined]
    )


def test_deployed_cells_are_those_of_the_curves() -> None:
    results = results_of(RandomSearch(), 30, 50)
    curves = curves_of("random", 0, 50, results, VIEW)
    ends = deployed(results, VIEW)
    np.testing.assert_array_equal(100.0 * VIEW.test[ends].astype(float), curves.test[:, -1])


def test_best_found_are_counted_and_sorted() -> None:
    ends = {name: deployed(results_of(RandomSearch(), 40, 20, name), VIEW) for name in "ab"}
    found = best_found(ends, VIEW, 5)
    everything = Counter(np.concatenate(list(ends.values())).tolist())
    best = sorted(everything, key=lambda cell: (-VIEW.test[cell], cell))[:5]
    assert [cell["position"] for cell in found] == best
    for cell, position in zip(found, best, strict=True):
        assert cell["test_percent"] == 100.0 * float(VIEW.test[position])
        assert sum(cell["trials"].values()) == everything[position]
        for name, number in cell["trials"].items():
            assert number == (ends[name] == position).sum()
        assert cell["place"] == 1 + (VIEW.test > VIEW.test[position]).sum()
        spec = Spec(cell["architecture"]["matrix"], cell["architecture"]["operations"])
        digest = format_hashes(module_hashes(cells_from_specs([spec])))[0]
        assert cell["architecture"]["module_hash"] == digest
    assert best_found({}, VIEW, 5) == []


def test_best_of_several_runs_is_complete() -> None:
    """What each run names suffices for the best of all."""
    ends = {name: deployed(results_of(RandomSearch(), 40, 20, name), VIEW) for name in "abc"}
    runs = []
    for place, names in enumerate((("a",), ("b", "c")), 1):
        summary = {"best_found": {"found": best_found({n: ends[n] for n in names}, VIEW)}}
        content = {"run": {"trials": 40}}
        runs.append(Run(Path(f"run-{place}"), content, summary, ()))
    together = best_found(ends, VIEW)
    found = joined(runs)
    assert [each["position"] for each in found] == [each["position"] for each in together]
    for one, other in zip(found, together, strict=True):
        counted = {words.split(" ")[0]: int(words.split(" ")[3]) for words in one["by"]}
        assert counted == other["trials"]


def test_density_counts_every_cell_once() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.uniform(80, 95, (2, 500))
    counted = density(predicted, true, 85, 95, bins=10)
    inside = (predicted >= 85) & (true >= 85)
    assert counted.counts.sum() == inside.sum()
    assert counted.outside == 500 - inside.sum()
    column = (predicted >= 90) & (predicted < 91) & (true >= 93) & (true < 94)
    assert counted.counts[5, 8] == column.sum()


def test_map_is_the_mean_at_n_plus_k() -> None:
    def entry(n: int, horizon: int) -> tuple[object, dict]:
        results = results_of(preset("mlp", n), 3, horizon, f"mlp-{n}")
        curves = curves_of("mlp", n, horizon, results, VIEW)
        summary = summarize([curves], ReplaySettings(bootstrap=10), {})
        return curves, summary["methods"]["mlp"]

    (sixty, one), (twenty, other) = entry(60, 100), entry(20, 50)
    data = accuracy_map([one, other])
    assert data.train_samples == (20, 60)
    assert data.top_k == (1, 3, 10, 30)
    assert data.values[1, 2] == sixty.test[:, 69].mean()  # type: ignore[attr-defined]
    assert data.values[0, 3] == twenty.test[:, 49].mean()  # type: ignore[attr-defined]
    short = accuracy_map([one, entry(20, 25)[1]])
    assert np.isnan(short.values[0]).tolist() == [False, False, True, True]
