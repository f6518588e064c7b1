"""From queries to curves: what each trial would deploy after every number of samples."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.runs.blocks import Results
from nprep.search.registry import kind_of
from nprep.search.rules import ReplayProtocol
from nprep.table.view import View

KEY_SAMPLES = (50, 100, 150, 172, 219, 300, 403, 500, 1000, 2000, 5000, 10_000)

METRICS = ("validation", "test")

_POINTS_PER_DECADE = 50

CSV_COLUMNS = (
    "method",
    "samples",
    "trials",
    "seconds_mean",
    "epochs_mean",
    "queries_mean",
    *(
        f"{metric}_{statistic}"
        for metric in ("validation", "test")
        for statistic in ("mean", "std", "q25", "median", "q75")
    ),
)


@dataclass(frozen=True)
class Curves:
    """The curves of a method's trials; index s - 1 is the state after s samples.

    Attributes:
        method: Name of the method.
        train_samples: The number N of a predictor's training cells; 0 for sequential methods.
        horizon: The number of samples to which the curves reach. Beyond the arrays' length L a
            trial stays as it ended.
        validation: (T, L) float64, percent; the best validation accuracy seen so far.
        test: (T, L) float64, percent; test accuracy of the cell that had it, as the protocol
            reports it. Not monotone.
        seconds: (T, L) float64; total training time.
        queries: (T, L) int32; the number of trainings charged, or None where it is the number of
            samples. A training shorter than in full is less than a sample.
        epochs: (T, L) int32; their epochs, or None where it is ``full_epochs`` times the samples.
        axis: (L,) float64, ascending; the times in seconds that the columns stand for, or None
            where they stand for numbers of samples.
        kind: As the method declares it; empty: as its name and N say.
        full_epochs: Epochs of a sample, which is a training in full; 0 where nobody asks.
    """

    method: str
    train_samples: int
    horizon: int
    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    seconds: NDArray[np.float64]
    queries: NDArray[np.int32] | None = None
    epochs: NDArray[np.int32] | None = None
    axis: NDArray[np.float64] | None = None
    full_epochs: int = 0
    kind: str = ""

    @property
    def is_bound(self) -> bool:
        """Whether this is what no method can beat, rather than a search."""
        return (self.kind or kind_of(self.method, self.train_samples)) == "bound"

    @property
    def is_search(self) -> bool:
        """Whether this is a method that spends the budget it is given."""
        return self.train_samples == 0 and not self.is_bound

    def column(self, cost: float) -> int:
        """The index of the state after so many samples, or seconds; the last of those beyond."""
        if self.axis is not None:
            return max(0, int(np.searchsorted(self.axis, cost, side="right")) - 1)
        return min(int(cost), self.validation.shape[1]) - 1

    @property
    def end(self) -> float:
        """The largest number of samples, or seconds."""
        return float(self.horizon if self.axis is None else self.axis[-1])

    def metric(self, name: str) -> NDArray[np.float64]:
        """The curves of "validation" or "test"."""
        return {"validation": self.validation, "test": self.test}[name]


def curves_of(
    method: str,
    train_samples: int,
    horizon: int,
    results: Results,
    view: View,
    protocol: ReplayProtocol | None = None,
    kind: str = "",
) -> Curves:
    """The curves of trials.

    The incumbent after s samples is the first of the trainings until then with the highest
    validation accuracy, of whatever length they were (as in automl/nas_benchmarks). What is
    reported of it is its test accuracy after a training in full.

    Args:
        method: Name of the method.
        train_samples: N of a predictor, else 0.
        horizon: The number of samples to which the curves reach; where the protocol limits seconds,
            they reach as far as the longest trial, but for a bound.
        results: The trials' queries.
        view: The cells.
        protocol: The rules; None for the default.
        kind: Of the method; empty: as its name and N say.
    """
    protocol = protocol or ReplayProtocol()
    positions, repeats = results.positions, results.repeats
    values, times = queries_seen(results, view)
    best = np.maximum.accumulate(values, axis=1)
    improves = np.empty(values.shape, bool)
    improves[:, 0] = True
    improves[:, 1:] = values[:, 1:] > best[:, :-1]
    steps = np.arange(values.shape[1], dtype=np.int32)
    incumbent = np.maximum.accumulate(np.where(improves, steps, np.int32(0)), axis=1)
    deployed = np.take_along_axis(positions, incumbent, axis=1)
    seen = np.take_along_axis(repeats, incumbent, axis=1)
    test = tested(view, protocol, deployed, seen)
    charged = steps[None, :] < results.lengths[:, None]
    seconds = np.cumsum(np.where(charged, times, np.float32(0)), axis=1, dtype=np.float64)
    bound = (kind or kind_of(method, train_samples)) == "bound"
    if protocol.seconds is not None and not bound:
        horizon = min(horizon, values.shape[1])
    queries = epochs = None
    if results.epochs is not None:
        spent = np.cumsum(np.where(charged, results.epochs, 0), axis=1, dtype=np.int32)
        after = _after_samples(spent, results.lengths, view.full_epochs)
        best, test, seconds, epochs = (
            np.take_along_axis(array, after, axis=1) for array in (best, test, seconds, spent)
        )
        queries = after + np.int32(1)
    elif results.lengths.min() < values.shape[1]:
        queries = np.minimum(steps[None, :] + np.int32(1), results.lengths[:, None])
        epochs = np.int32(view.full_epochs) * queries
    return Curves(
        method,
        train_samples,
        horizon,
        100.0 * best.astype(np.float64),
        100.0 * test.astype(np.float64),
        seconds,
        queries,
        epochs,
        full_epochs=view.full_epochs,
        kind=kind,
    )


def queries_seen(results: Results, view: View) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The validation accuracy and the training time of each query, both (T, S)."""
    positions, repeats = results.positions, results.repeats
    values = view.validation[positions, repeats]
    times = view.training_seconds[positions, repeats]
    if results.epochs is not None:
        for budget, fidelity in view.lower.items():
            short = results.epochs == budget
            at = positions[short], repeats[short]
            values[short] = fidelity.validation[at]
            times[short] = fidelity.training_seconds[at]
    return values, times


def tested(
    view: View,
    protocol: ReplayProtocol,
    positions: NDArray[np.int32],
    repeats: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """The test accuracy that a protocol reports of trainings, in [0, 1].

    Args:
        view: The cells.
        protocol: The rules.
        positions: Cells, of any shape.
        repeats: The runs that the search saw, of the same shape.
    """
    if protocol.report == "run" and view.test_runs is not None:
        return view.test_runs[positions, repeats]
    return view.test[positions]


def _after_samples(
    spent: NDArray[np.int32], lengths: NDArray[np.int32], full_epochs: int
) -> NDArray[np.int32]:
    """The number of the last training that ends within each number of samples.

    Args:
        spent: (T, S) epochs after each training.
        lengths: (T,) number of trainings.
        full_epochs: Length of a training in full, which is a sample.

    Returns:
        (T, L) int32, from 0; L is the number of samples, rounded up, of the longest trial.
    """
    samples = -(-int(spent[:, -1].max()) // full_epochs)
    limits = full_epochs * np.arange(1, samples + 1)
    after = np.empty((len(spent), samples), np.int32)
    for row, epochs, length in zip(after, spent, lengths, strict=True):
        row[:] = np.searchsorted(epochs[:length], limits, side="right") - 1
    return after


def sample_grid(horizon: int, extra: Sequence[int] = ()) -> list[int]:
    """The numbers of samples that curves are written at.

    Args:
        horizon: The largest.
        extra: More that must be among them where they are within reach.

    Returns:
        Ascending; evenly spaced on a log scale, with ``KEY_SAMPLES`` and the horizon.
    """
    decades = np.log10(max(horizon, 1))
    even = 10 ** np.linspace(0, decades, 1 + int(np.ceil(_POINTS_PER_DECADE * decades)))
    wanted = {*np.rint(even).astype(int).tolist(), *KEY_SAMPLES, *extra, horizon}
    return sorted(samples for samples in wanted if 1 <= samples <= horizon)


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean, sample standard deviation (0 of a single value) and quartiles of (T,) values."""
    q25, median, q75 = np.quantile(values, (0.25, 0.5, 0.75))
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "q25": float(q25),
        "median": float(median),
        "q75": float(q75),
    }


def curve_row(curves: Curves, samples: int) -> dict[str, float | int | str]:
    """What ``CSV_COLUMNS`` name, at one number of samples."""
    column = curves.column(samples)
    row: dict[str, float | int | str] = {
        "method": curves.method,
        "samples": samples,
        "trials": len(curves.test),
        "seconds_mean": float(curves.seconds[:, column].mean()),
        "epochs_mean": float(curves.full_epochs * (column + 1)),
        "queries_mean": float(column + 1),
    }
    if curves.epochs is not None and curves.queries is not None:
        row["epochs_mean"] = float(curves.epochs[:, column].mean())
        row["queries_mean"] = float(curves.queries[:, column].mean())
    for metric in ("validation", "test"):
        for statistic, value in spread(curves.metric(metric)[:, column]).items():
            row[f"{metric}_{statistic}"] = value
    return row


def curve_rows(curves: Curves) -> list[dict[str, float | int | str]]:
    """The rows of ``curves.csv`` of one method."""
    extra = (curves.train_samples, curves.train_samples + 47) if curves.train_samples else ()
    return [curve_row(curves, samples) for samples in sample_grid(curves.horizon, extra)]


def to_csv(rows: Sequence[dict[str, float | int | str]]) -> bytes:
    """``curves.csv``: accuracies in percent, times in seconds, six decimals."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        cells = (row[column] for column in CSV_COLUMNS)
        writer.writerow(f"{cell:.6f}" if isinstance(cell, float) else cell for cell in cells)
    return text.getvalue().encode()
