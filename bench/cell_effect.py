"""Has validation a cell-level effect beyond structure? python bench/cell_effect.py measured.npz.

Of a cell with three measured repeats, left out of the fit, mean validation less what is expected of
it has two parts: the noise of three runs, given their test accuracies, and what the cell itself has
beyond its structure. The first is known from the repeats within cells; what remains of the variance
is room for the second. Of random cells, of which the best of three repeats is measured, the room is
what they scatter by beyond the law of the runs that the first kind gives: the completion model's
cell effect. Prints both by mean test accuracy, with the slope of measured differences on predicted
ones, which is 1 if structure's part is neither shrunk nor stretched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.data.fit.left_out import Given, LeftOut, leave_out, prepare
from nprep.data.fit.measurements import read
from nprep.model.completion import Completion

Floats = NDArray[np.float64]

SPANS = ((0.91, 0.92), (0.92, 0.93), (0.93, 0.935), (0.935, 1.0), (0.90, 1.0))
FOLDS = 5
RESAMPLES = 400


def parts(left: Floats, validation: Floats, test: Floats) -> tuple[float, float, float]:
    """Noise of a mean of three given its tests, residual, and the variance beyond; in points."""
    validation = validation - validation.mean(axis=1, keepdims=True)
    test = test - test.mean(axis=1, keepdims=True)
    slope = (validation * test).sum() / (test**2).sum()
    noise = ((validation - slope * test) ** 2).sum() / (2 * len(left) - 1) / 3
    return 100 * noise**0.5, 100 * float(left.std()), 1e4 * float(left.var() - noise)


def print_triples(given: Given, out: LeftOut) -> None:
    """The cells with three measured repeats."""
    rng = np.random.default_rng(0)
    level, validation = given.triples.level, given.validation
    for low, high in SPANS:
        rows = np.flatnonzero((level >= low) & (level < high))
        gap = validation[rows].mean(axis=1) - level[rows]
        predicted = out.triples[0][rows]
        left = gap - predicted
        slope = np.polyfit(predicted, gap, 1)[0]
        error = left.std() / predicted.std() / len(rows) ** 0.5
        noise, residual, beyond = parts(left, validation[rows], given.test[rows])
        resampled = []
        for _ in range(RESAMPLES):
            drawn = rng.integers(len(rows), size=len(rows))
            some = rows[drawn]
            resampled.append(parts(left[drawn], validation[some], given.test[some])[2])
        ends = np.quantile(resampled, [0.025, 0.975])
        print(
            f"test accuracy {100 * low:.1f} to {100 * high:.1f}: {len(rows):,} cells; residual "
            f"{residual:.3f} points, noise of three runs {noise:.3f}; variance beyond it "
            f"{beyond:.4f} ({ends[0]:.4f} to {ends[1]:.4f}); slope {slope:.2f} +- {error:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Looks for a cell-level effect on validation.")
    parser.add_argument("measured", type=Path, help="measured.npz")
    data = read(parser.parse_args().measured)
    model = Completion.load()
    given = prepare(data, model.guess.predict(data.features))
    print("cells with three measured repeats, left out of the fit:")
    print_triples(given, leave_out(given, FOLDS))
    print("random cells with the best of three measured, left out of the fit of what ships:")
    found = model.calibration
    for level, (slope, error), (variance, uncertain) in zip(
        found.levels, found.slope, found.effect, strict=True
    ):
        if error:
            print(
                f"test accuracy about {100 * level:.2f}: slope {slope:.2f} +- {error:.2f}; "
                f"variance of the cell effect {1e4 * variance:.4f} +- {1e4 * uncertain:.4f}"
            )


if __name__ == "__main__":
    main()
