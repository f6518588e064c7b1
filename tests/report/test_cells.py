"""What trials end with, and the predictors of stored trials."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.report.cells import best_found, deployed
from nprep.report.figures import accuracy_map, density
from nprep.report.refit import can_refit, refit
from nprep.results.curves import curves_of
from nprep.runs.folder import Results
from nprep.search.baselines import RandomSearch
from nprep.search.neural_predictor import preset
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.spaces.nb101.cells import cells_from_specs, format_hashes, module_hashes
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
    assert [cell.test for cell in found] == [100.0 * float(VIEW.test[cell]) for cell in best]
    for cell, position in zip(found, best, strict=True):
        assert sum(cell.trials.values()) == everything[position]
        for name, number in cell.trials.items():
            assert number == (ends[name] == position).sum()
        assert cell.place == 1 + (VIEW.test > VIEW.test[position]).sum()
        assert cell.module_hash == format_hashes(module_hashes(cells_from_specs([cell.spec])))[0]
    assert best_found({}, VIEW, 5) == []


@pytest.mark.parametrize("name", ["np", "np-one-stage", "mlp"])
def test_refit_is_the_trials_own_predictor(name: str) -> None:
    """The proof is in the queries: it asks for the stored candidates, in order."""
    method = preset(name, 40)
    quick = dataclasses.replace(method.predictor, epochs=15)
    method = dataclasses.replace(method, predictor=quick)
    results = results_of(method, 2, 100, name)
    settings = method.settings()
    # As settings.json has it.
    settings["predictor"] = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in settings["predictor"].items()  # type: ignore[attr-defined]
    }
    assert can_refit(settings)
    for trial in range(2):
        found = refit(settings, 7, trial, results, VIEW)
        assert found.same
        assert found.unit
        assert len(found.known) == 40
        assert (found.accepted is not None) == (name == "np")
    other = refit(settings, 8, 0, results, VIEW)
    assert not other.same


def test_other_methods_are_not_refit() -> None:
    settings: dict[str, object] = {"name": "random"}
    assert not can_refit(settings)
    with pytest.raises(SettingsError, match="'random' cannot be trained again"):
        refit(settings, 0, 0, results_of(RandomSearch(), 1, 5), VIEW)


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
    def curves(n: int, horizon: int) -> object:
        results = results_of(preset("mlp", n), 3, horizon, f"mlp-{n}")
        return curves_of("mlp", n, horizon, results, VIEW)

    all_curves = [curves(60, 100), curves(20, 50)]
    data = accuracy_map(all_curves)  # type: ignore[arg-type]
    assert data.train_samples == (20, 60)
    assert data.top_k == (1, 3, 10, 30)
    assert data.values[1, 2] == all_curves[0].test[:, 69].mean()  # type: ignore[attr-defined]
    assert data.values[0, 3] == all_curves[1].test[:, 49].mean()  # type: ignore[attr-defined]
    short = accuracy_map([curves(60, 100), curves(20, 25)])  # type: ignore[list-item]
    assert np.isnan(short.values[0]).tolist() == [False, False, True, True]
