"""Compares measured cells with the completion model's draws of them, left out of the fit."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.data.fit.measurements import FitData
from nprep.model.completion import Completion, cell_seeds
from nprep.model.expectation import Expectation
from nprep.model.known_runs import IMAGES, Known

Floats = NDArray[np.float64]

BOUNDS = (0.0, 0.86, 0.90, 0.91, 0.92, 0.93, 0.935, 1.0)
ABOVE = (0.90, 0.92, 0.93)
VISITED = ((0.0, 0.90), (0.90, 0.92), (0.92, 0.93), (0.93, 0.935), (0.935, 1.0))
_DRAWS = 20


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts + 1) / 2.0)[inverse]
    return ranks


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _describe(validation: Floats, test: Floats) -> dict[str, float]:
    """What decides a search: one repeat's validation against the mean test accuracy."""
    gap = validation - test[:, None]
    top = np.quantile(gap, [0.001, 0.01, 0.99, 0.999])
    return {
        "spearman": float(np.mean([spearman(column, test) for column in validation.T])),
        "mean": float(gap.mean()),
        "sd": float(gap.std()),
        "within_sd": float(np.sqrt(validation.var(axis=1, ddof=1).mean())),
        "mean_of_repeats_sd": float(gap.mean(axis=1).std()),
        **{f"q{name}": float(v) for name, v in zip(("001", "01", "99", "999"), top, strict=True)},
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _sd(values: Iterable[float]) -> float:
    return float(np.std(list(values)))


def _explained(target: Floats, predicted: Floats) -> dict[str, float]:
    left = target - predicted
    return {
        "r2": float(1 - (left**2).mean() / target.var()),
        "bias": float(left.mean()),
        "sd": float(left.std()),
    }


def _selected(validation: Floats, test: Floats, shares: tuple[int, ...], rng: Any) -> list[float]:
    """Mean test accuracy of the cells with the best single runs, over random repeats."""
    sums = np.zeros(len(shares))
    for _ in range(50):
        seen = validation[np.arange(len(test)), rng.integers(3, size=len(test))]
        order = np.argsort(-seen)
        sums += [test[order[:share]].mean() for share in shares]
    means: list[float] = (sums / 50).tolist()
    return means


def _ten_highest(validation: Floats) -> float:
    return float(np.sort(validation, axis=None)[-10:].mean())


def judge_visited(model: Completion, data: FitData) -> list[dict[str, Any]]:
    """Measured and modelled means of the cells that a search visited and no fit saw, by region."""
    rows = data.visited_rows
    features, total = data.features[rows], data.total[rows]
    seeds = [model.parameters(seed) for seed in range(_DRAWS)]
    found = model.expect_many(features, total, [model.parameters(None), *seeds])
    unknown = Known.nothing(len(rows))
    drawn = []
    for seed, (own, one) in enumerate(zip(seeds, found[1:], strict=True)):
        runs, _ = model.draw(one, total, unknown, cell_seeds(data.keys[rows], seed), own)
        drawn.append(runs.mean(axis=1) / IMAGES)
    whole = found[0].failures == 0
    level = found[0].level
    gap, predicted = data.visited_mean - level, found[0].validation - level
    out = []
    for low, high in VISITED:
        inside = whole & (level >= low) & (level < high)
        modelled = np.array([one[inside] - level[inside] for one in drawn])
        out.append(
            {
                "from": low,
                "to": high,
                "cells": int(inside.sum()),
                "fit": _explained(gap[inside], predicted[inside]),
                "measured": {"mean": float(gap[inside].mean()), "sd": float(gap[inside].std())},
                "modelled": {
                    "mean": float(modelled.mean()),
                    "mean_sd_over_draws": float(modelled.mean(axis=1).std()),
                    "sd": float(modelled.std(axis=1).mean()),
                    "left_sd": float((modelled - predicted[inside]).std(axis=1).mean()),
                },
            }
        )
    return out


def _judge_triples(
    low: float,
    high: float,
    triples: Expectation,
    validation: Floats,
    test: Floats,
    drawn: list[Floats],
    drawn_test: list[Floats],
) -> dict[str, Any]:
    """Statistics of the cells of a region with three measured runs (see ``judge``)."""
    level = triples.level
    a = (level >= low) & (level < high)
    modelled = [_describe(v[a], level[a]) for v in drawn]
    deviation = validation[a] - validation[a].mean(axis=1, keepdims=True)
    test_deviation = test[a] - test[a].mean(axis=1, keepdims=True)
    modelled_runs = np.concatenate([(v - v.mean(axis=1, keepdims=True))[a] for v in drawn])
    modelled_tests = np.concatenate([(v - v.mean(axis=1, keepdims=True))[a] for v in drawn_test])
    return {
        "from": low,
        "to": high,
        "cells": int(a.sum()),
        "fit": _explained(validation[a].mean(axis=1) - level[a], (triples.validation - level)[a]),
        "measured": _describe(validation[a], level[a])
        | {"same_run": float(np.corrcoef(deviation.ravel(), test_deviation.ravel())[0, 1])},
        "modelled": {name: float(np.mean([m[name] for m in modelled])) for name in modelled[0]}
        | {"same_run": float(np.corrcoef(modelled_runs.ravel(), modelled_tests.ravel())[0, 1])},
    }


def _judge_bests(
    low: float, high: float, level: Floats, best: Floats, drawn: list[Floats], expected: Floats
) -> dict[str, Any]:
    """Statistics of the cells of a region whose best run is measured (see ``judge``)."""
    b = (level >= low) & (level < high)
    gap = best[b] - level[b]
    modelled_gap = np.concatenate([(v - level)[b] for v in drawn])
    quantiles = [0.01, 0.5, 0.99]
    return {
        "from": low,
        "to": high,
        "cells": int(b.sum()),
        "fit": _explained(gap, (expected - level)[b]),
        "measured": {
            "spearman": spearman(best[b], level[b]),
            "mean": float(gap.mean()),
            "sd": float(gap.std()),
            "quantiles": np.quantile(gap, quantiles).tolist(),
        },
        "modelled": {
            "spearman": float(np.mean([spearman(v[b], level[b]) for v in drawn])),
            "mean": float(modelled_gap.mean()),
            "sd": float(modelled_gap.std()),
            "quantiles": np.quantile(modelled_gap, quantiles).tolist(),
        },
    }


def _judge_selection(
    level: Floats,
    validation: Floats,
    drawn: list[Floats],
    best_level: Floats,
    best: Floats,
    drawn_best: list[Floats],
) -> dict[str, Any]:
    """What those cells are worth that are chosen for a high validation (see ``judge``)."""
    shares = (1, 10, 50, 200)
    rng = np.random.default_rng(0)
    picks = [_selected(v, level, shares, rng) for v in drawn]
    best_picks = [
        [float(best_level[np.argsort(-v)[:share]].mean()) for share in shares] for v in drawn_best
    ]
    return {
        "cells": list(shares),
        "triples_measured": _selected(validation, level, shares, rng),
        "triples_modelled": np.mean(picks, axis=0).tolist(),
        "triples_modelled_sd": np.std(picks, axis=0).tolist(),
        "bests_measured": [float(best_level[np.argsort(-best)[:share]].mean()) for share in shares],
        "bests_modelled": np.mean(best_picks, axis=0).tolist(),
        "bests_modelled_sd": np.std(best_picks, axis=0).tolist(),
        "highest_mean_measured": float(validation.mean(axis=1).max()),
        "highest_mean_modelled": [
            float(f(v.mean(axis=1).max() for v in drawn)) for f in (_mean, _sd)
        ],
        "ten_highest_runs_measured": _ten_highest(validation),
        "ten_highest_runs_modelled": [
            float(f(_ten_highest(v) for v in drawn)) for f in (_mean, _sd)
        ],
        "highest_measured": [float(validation.max()), float(best.max())],
        "highest_modelled": [
            float(np.mean([v.max() for v in drawn])),
            float(np.mean([v.max() for v in drawn_best])),
        ],
    }


def judge(
    model: Completion,
    triple_keys: NDArray[np.uint64],
    triples: Expectation,
    validation: Floats,
    test: Floats,
    best_keys: NDArray[np.uint64],
    bests: Expectation,
    best: Floats,
    data: FitData,
) -> dict[str, Any]:
    """Statistics by region, measured and modelled.

    Args:
        model: Whose noise is drawn.
        triple_keys: (N,) keys of cells with three measured runs.
        triples: What a fit without them expects of them.
        validation: (N, 3) measured.
        test: (N, 3) measured.
        best_keys: (M,) keys of cells whose best run is measured.
        bests: What a fit without them expects of them.
        best: (M,) measured.
        data: For the cells that no part of the fit saw.
    """
    total = np.rint(test.sum(axis=1) * IMAGES).astype(np.int64)
    best_total = np.rint(bests.level * 3 * IMAGES).astype(np.int64)
    unknown, best_unknown = Known.nothing(len(total)), Known.nothing(len(best))
    drawn, drawn_test, drawn_best = [], [], []
    for seed in range(_DRAWS):
        own = model.parameters(seed)
        seeds = cell_seeds(triple_keys, seed)
        images, test_images = model.draw(triples, total, unknown, seeds, own)
        drawn.append(images / IMAGES)
        drawn_test.append(test_images / IMAGES)
        seeds = cell_seeds(best_keys, seed)
        best_images, _ = model.draw(bests, best_total, best_unknown, seeds, own)
        drawn_best.append(best_images.max(axis=1) / IMAGES)
    expected_best = np.mean(drawn_best, axis=0)
    spans = [*pairwise(BOUNDS), *((bound, 1.0) for bound in ABOVE)]
    return {
        "triples": [
            _judge_triples(*span, triples, validation, test, drawn, drawn_test) for span in spans
        ],
        "bests": [
            _judge_bests(*span, bests.level, best, drawn_best, expected_best) for span in spans
        ],
        "draws": _DRAWS,
        "selection": _judge_selection(
            triples.level, validation, drawn, bests.level, best, drawn_best
        ),
        "visited": judge_visited(model, data),
    }
