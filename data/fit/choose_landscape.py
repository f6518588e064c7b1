"""Chooses which of the draws that the surrogate's law allows is the one that ships.

Used by ``data/fit/fit_surrogate.py``. A few dozen cells decide where every search ends, so
landscapes of one law differ in that by more than search methods do. Random search and evolution are
replayed on some of them and on several draws of the completed table, and the one nearest to the
mean over these is kept; no predictor has a part in it.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.model.completion import Completion, cell_seeds
from nprep.model.known_runs import IMAGES, Known
from nprep.model.surrogate import Prediction, Surrogate
from nprep.results.curves import KEY_SAMPLES
from nprep.search.baselines import RandomSearch, RegularizedEvolution
from nprep.search.rules import ReplayProtocol
from nprep.spaces.nb101.cells import CellBatch
from nprep.spaces.nb101.features import FEATURE_NAMES
from nprep.table.redraw import redraw
from nprep.table.sources import measured
from nprep.table.sources.surrogate import draw_landscape, draw_table
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Accuracies whose numbers of cells the drawn landscape is to share with the measured one, and the
# number of seeds of which those with the nearest numbers are tried in a replay.
COUNTED = (0.91, 0.92, 0.93, 0.935, 0.938, 0.939, 0.94, 0.941, 0.942)
SEEDS = 12
CANDIDATES = 5
TRIALS = 100

# Draws of the completed table whose mean curves are the aim; trials on each.
REAL_DRAWS = 6
REAL_TRIALS = 100

# Draws of the repeats' noise that are tried on the chosen landscape.
NOISES = 6
ORACLE_DRAWS = 1000

CARRY_EDGES = (0.933, 0.936, 0.938, 0.94)


@dataclass(frozen=True)
class Data:
    """The measurements as the fit needs them."""

    cells: CellBatch
    keys: NDArray[np.uint64]
    features: NDArray[np.float32]
    total: Integers
    digest: str


def counts_above(total: NDArray[np.integer]) -> list[int]:
    """How many cells are above each accuracy of ``COUNTED``."""
    return [int((total > bound * 3 * IMAGES).sum()) for bound in COUNTED]


def changed(model: Surrogate, **fields: Any) -> Surrogate:
    """The model with other values of some fields."""
    return replace(model, **fields)


def shortlist(model: Surrogate, data: Data, prediction: Prediction) -> list[int]:
    """The seeds whose landscapes have numbers of good cells nearest to the measured ones."""
    wanted = np.sqrt(counts_above(data.total))
    # Square roots of counts have errors of 1/2, but the large ones are compared relatively.
    scale = 0.5 + 0.01 * wanted
    distance = []
    for seed in range(SEEDS):
        landscape = changed(model, seed=seed).draw(data.features, data.keys, prediction, threads=2)
        counts = np.sqrt(counts_above(landscape.total))
        distance.append((np.abs(counts - wanted) / scale).sum())
    return [int(seed) for seed in np.argsort(distance)[:CANDIDATES]]


def fit_carry(
    model: Surrogate, data: Data, prediction: Prediction, completion: Completion
) -> float:
    """How much of drawn structure validation has.

    The real residual holds structure that the completion model recognises, so that it expects more
    of the best cells; drawn structure is news to it. The factor brings the expected difference of
    validation and test of good cells to that of the measured ones, over a few seeds.
    """
    basic = np.ascontiguousarray(data.features[:, : len(FEATURE_NAMES)])

    def offsets(total: NDArray[np.integer], carried: Floats) -> tuple[Floats, Floats]:
        expected = completion.expect(basic, total, threads=2)
        place = np.searchsorted(CARRY_EDGES, expected.level)
        gaps = expected.validation - expected.level
        bins = [place == k for k in range(1, len(CARRY_EDGES) + 1)]
        return (
            np.array([gaps[inside].mean() for inside in bins]),
            np.array([carried[inside].mean() for inside in bins]),
        )

    wanted, _ = offsets(data.total, np.zeros(len(data.total)))
    missing, added = [], []
    for seed in range(2):
        drawn = changed(model, seed=seed, carry=1.0).draw(
            data.features, data.keys, prediction, threads=2
        )
        actual, per_unit = offsets(drawn.total, drawn.carried)
        missing.append(wanted - actual)
        added.append(per_unit)
    gap, unit = np.concatenate(missing), np.concatenate(added)
    return float(np.clip((gap @ unit) / (unit @ unit), 0.0, 1.0))


def choose_seed(
    model: Surrogate,
    data: Data,
    prediction: Prediction,
    completion: Completion,
    real: View,
    wanted: Floats,
) -> tuple[int, dict[str, Any]]:
    """The seed on whose landscape random search and evolution do most nearly as on the real one.

    A few dozen cells decide where every search ends, so that landscapes of one law differ in it by
    more than methods do; the replay of predictors has no part in the choice.

    Args:
        model: The law.
        data: The measurements.
        prediction: Of the model.
        completion: Draws the repeats.
        real: A completed view, for all that the surrogate does not change.
        wanted: Of ``wanted_curves``.
    """
    gaps = {}
    for seed in shortlist(model, data, prediction):
        total, drawn = draw_table(
            changed(model, seed=seed), completion, data.features, data.keys, prediction, 0, 2
        )
        view = replace(
            real,
            validation=(drawn.validation / IMAGES).astype(np.float32),
            test=(total / (3 * IMAGES)).astype(np.float32),
        )
        gaps[seed] = search_curves(view, TRIALS) - wanted
        print(f"seed {seed}: {np.abs(gaps[seed]).max(axis=1).round(3)}", flush=True)
    worst = {seed: float(np.sqrt((gap**2).mean())) for seed, gap in gaps.items()}
    final = np.array([gap[:, -1] for gap in gaps.values()])
    return min(worst, key=lambda seed: worst[seed]), {
        "candidates_rms_points": {str(k): round(v, 4) for k, v in worst.items()},
        "candidates_final_gap_mean": final.mean(axis=0).round(3).tolist(),
        "candidates_final_gap_sd": final.std(axis=0, ddof=1).round(3).tolist(),
    }


def oracle_test(view: View) -> float:
    """Mean test accuracy, in percent, of the cell with the best single validation of all."""
    # No other cell can win: a draw of one repeat for each finds better ones.
    rows = np.flatnonzero(view.validation.max(axis=1) >= 0.9485)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(ORACLE_DRAWS):
        seen = view.validation[rows, rng.integers(3, size=len(rows))]
        found.append(view.test[rows[seen.argmax()]])
    return 100 * float(np.mean(found, dtype=np.float64))


def search_curves(view: View, trials: int) -> Floats:
    """Mean test accuracy, in percent, of (method, key number of samples); the oracle comes last."""
    methods = (
        RandomSearch(),
        RegularizedEvolution(),
        RegularizedEvolution("evolution-ying", 100, replacement=True, mutation="one"),
    )
    curves = []
    for method in methods:
        seeds = np.random.SeedSequence(0).spawn(trials)
        traces = method.run_block(view, seeds, KEY_SAMPLES[-1], ReplayProtocol())
        chosen = [
            [trace.positions[trace.validation[:samples].argmax()] for samples in KEY_SAMPLES]
            for trace in traces
        ]
        curves.append(100 * view.test[np.array(chosen)].mean(axis=0, dtype=np.float64))
    curves.append(np.full(len(KEY_SAMPLES), oracle_test(view)))
    return np.array(curves)


def wanted_curves(table: Table) -> tuple[Floats, dict[str, Any]]:
    """Mean curves over draws of the completed table, and how far apart the draws lie at the end."""
    curves = []
    for view in redraw(table, range(REAL_DRAWS), threads=2):
        curves.append(search_curves(view, REAL_TRIALS))
        print(f"draw {len(curves)} of {REAL_DRAWS}: {curves[-1][:, -1].round(3)}", flush=True)
    stacked = np.array(curves)
    return stacked.mean(axis=0), {
        "draws": REAL_DRAWS,
        "trials": REAL_TRIALS,
        "final_mean": stacked[:, :, -1].mean(axis=0).round(3).tolist(),
        "final_sd": stacked[:, :, -1].std(axis=0, ddof=1).round(3).tolist(),
    }


def choose_noise(
    model: Surrogate,
    data: Data,
    prediction: Prediction,
    completion: Completion,
    real: View,
    wanted: Floats,
) -> tuple[int, dict[str, Any]]:
    """The draw of the repeats, on the chosen landscape, with which searches do as on the real one.

    The arguments are those of ``choose_seed``.
    """
    total, expected = draw_landscape(
        model, completion, data.features, data.keys, prediction, 0, threads=2
    )
    test = (total / (3 * IMAGES)).astype(np.float32)
    unknown = Known.nothing(len(total))
    gaps = {}
    for seed in range(NOISES):
        seeds = cell_seeds(data.keys, seed)
        drawn, _ = completion.draw(expected, total, unknown, seeds, threads=2)
        validation = (drawn / IMAGES).astype(np.float32)
        view = replace(real, validation=validation, test=test)
        gaps[seed] = search_curves(view, TRIALS) - wanted
        print(f"noise seed {seed}: {np.abs(gaps[seed]).max(axis=1).round(3)}", flush=True)
    worst = {seed: float(np.sqrt((gap**2).mean())) for seed, gap in gaps.items()}
    return min(worst, key=lambda seed: worst[seed]), {
        "candidates_rms_points": {str(k): round(v, 4) for k, v in worst.items()}
    }


@contextlib.contextmanager
def completed_table(path: Path) -> Iterator[Table]:
    """The measured table, built for as long as it is needed."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "completed.h5"
        arguments = argparse.Namespace(input=path, build_seed=0, condition="none")
        write_table(file, measured.build(arguments, print))
        yield Table.open(file)
