"""``summary.json``, and what of it a person wants to read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nprep.replay.curves import KEY_SAMPLES, Curves, curve_row
from nprep.replay.settings import ReplaySettings
from nprep.replay.statistics import (
    Speedup,
    bootstrap_means,
    interval,
    speedup_at_samples,
    speedups_at_targets,
)

# In percent. The best mean test accuracy of the space is 94.32, the best mean validation 95.06.
TARGETS = {
    "test": np.round(np.arange(93.5, 94.2001, 0.05), 2),
    "validation": np.round(np.arange(94.3, 95.1001, 0.05), 2),
}

# The paper's headline: the accuracy that evolution has after so many samples.
HEADLINE_SAMPLES = 5000


def finite(value: float) -> float | None:
    """The value, or None (JSON's null) for infinities and NaN."""
    return value if math.isfinite(value) else None


def _speedup_json(speedup: Speedup) -> dict[str, Any]:
    """A speed-up with null for what was not reached."""
    content: dict[str, Any] = {
        "target_percent": speedup.target,
        "predictor_samples": finite(speedup.predictor_samples),
        "baseline_samples": finite(speedup.baseline_samples),
        "ratio": finite(speedup.ratio),
        "ratio_interval_95": [finite(speedup.low), finite(speedup.high)],
    }
    if not math.isfinite(speedup.predictor_samples):
        content["note"] = "the predictor does not reach it"
    elif not math.isfinite(speedup.baseline_samples):
        content["note"] = "the baseline does not reach it within its budget"
    elif speedup.high == math.inf:
        content["note"] = (
            "the interval is open above: some resamples of the baseline never reach it"
        )
    return content


def compare(predictor: Curves, baseline: Curves, settings: ReplaySettings) -> dict[str, Any]:
    """How many samples a predictor and a sequential method need, with intervals."""
    comparison: dict[str, Any] = {"predictor": predictor.method, "baseline": baseline.method}
    for metric, targets in TARGETS.items():
        resamples = (
            bootstrap_means(predictor, metric, settings.bootstrap, settings.seed),
            bootstrap_means(baseline, metric, settings.bootstrap, settings.seed),
        )
        speedups = speedups_at_targets(predictor, baseline, metric, targets, resamples)
        comparison[metric] = [_speedup_json(speedup) for speedup in speedups]
        samples = min(HEADLINE_SAMPLES, baseline.horizon)
        headline = speedup_at_samples(predictor, baseline, metric, samples, resamples)
        comparison[f"{metric}_at_baseline_samples"] = {
            "samples": samples,
            **_speedup_json(headline),
        }
    return comparison


def is_sequential(curves: Curves) -> bool:
    """Whether the method is one that a predictor may be compared with."""
    return curves.train_samples == 0 and curves.method != "oracle"


def summarize(
    all_curves: Sequence[Curves], settings: ReplaySettings, header: dict[str, Any]
) -> dict[str, Any]:
    """The content of ``summary.json``.

    Args:
        all_curves: One for each method.
        settings: Of the replay.
        header: What ``settings.json`` says; repeated, so that the summary stands alone.
    """
    methods = {}
    for curves in all_curves:
        rows = []
        for samples in KEY_SAMPLES:
            if samples > curves.horizon:
                continue
            row = curve_row(curves, samples)
            del row["method"], row["trials"]
            rows.append(row)
        final = curves.column(curves.horizon)
        methods[curves.method] = {
            "train_samples": curves.train_samples,
            "horizon": curves.horizon,
            "final": curve_row(curves, curves.horizon),
            "final_test_mean_interval_95": [
                *interval(
                    bootstrap_means(
                        dataclasses.replace(
                            curves,
                            validation=curves.validation[:, [final]],
                            test=curves.test[:, [final]],
                        ),
                        "test",
                        settings.bootstrap,
                        settings.seed,
                    )[:, 0]
                )
            ],
            "curve": rows,
        }
    comparisons = [
        compare(predictor, baseline, settings)
        for predictor in all_curves
        if predictor.train_samples
        for baseline in all_curves
        if is_sequential(baseline)
    ]
    return {
        "format": 1,
        "units": "accuracies in percent, times in seconds; intervals: 95 %, bootstrap over trials",
        **header,
        "methods": methods,
        "speedups": comparisons,
    }


def _count(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.0f}"


def to_text(summary: dict[str, Any]) -> str:
    """A table of the main results for a terminal."""
    methods: dict[str, Any] = summary["methods"]
    reached = {row["samples"] for method in methods.values() for row in method["curve"]}
    columns = [s for s in KEY_SAMPLES if s in reached and s not in (150, 300)]
    width = max(len("test accuracy (%) at"), *(len(name) for name in methods))
    lines = ["test accuracy (%) at".ljust(width) + "".join(f"{s:>8,}" for s in columns)]
    for name, method in methods.items():
        values = {row["samples"]: row["test_mean"] for row in method["curve"]}
        cells = (f"{values[s]:>8.2f}" if s in values else f"{'':>8}" for s in columns)
        lines.append((name.ljust(width) + "".join(cells)).rstrip())
    for comparison in summary["speedups"]:
        at = comparison["test_at_baseline_samples"]
        line = (
            f"{comparison['predictor']} reaches {at['target_percent']:.2f} % test, where "
            f"{comparison['baseline']} is after {at['samples']:,} samples, "
        )
        if at["ratio"] is None:
            lines.append(line + "at no point of its curve")
            continue
        low, high = at["ratio_interval_95"]
        between = f"{_bound(low)} to {_bound(high)}"
        lines.append(
            line + f"at {_count(at['predictor_samples'])}: {at['ratio']:.1f} times sooner "
            f"(95 % interval {between})"
        )
    return "\n".join(lines)


def _bound(value: float | None) -> str:
    return "open" if value is None else f"{value:.1f}"
