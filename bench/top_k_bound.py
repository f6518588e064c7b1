"""How many cells a proven bound rules out of the top K before they are scored exactly.

    python -m bench.top_k_bound TABLE.h5 [--view completed]

A regressor of the paper's size ranks the space. Were the operands of the last layer's products
rounded (to u, relatively), an output would be off by at most the sum of |state| |weight|
(2 u + u^2) through the sums, the mean and the absolute weights of the dense layers; ReLU never
makes a difference larger. A cell whose rounded score plus its bound stays below the K-th rounded
score minus its bound is not among the top K. Printed: the share of random cells that are left to
score.
"""

from __future__ import annotations

import argparse

import numpy as np

from nprep.predictor.gcn import train
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.spaces.nb101.cells import encode_one_hot, normalised_adjacency
from nprep.table.table import Table

_TYPES = [3, 1, 0, 2, 4]  # Operation codes in the order of encode_one_hot.
_SAMPLE = 4000


def main() -> None:
    """Prints the shares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table")
    parser.add_argument("--view", default="completed")
    options = parser.parse_args()
    view = Table.open(options.table).view(options.view)
    cells, accuracy = view.cells, view.test.astype(np.float32)
    rng = np.random.default_rng(0)
    sample = rng.permutation(len(cells))[:172]
    sample = sample[accuracy[sample] > 0.91]
    settings = GcnSettings(width=144)
    weights = train(cells.take(sample), accuracy[sample], settings, np.random.SeedSequence(1))
    outputs = SharingPlan.build(cells).outputs(weights)

    some = rng.choice(len(cells), min(_SAMPLE, len(cells)), replace=False)
    chosen, width = cells.take(some), weights.width
    along, against = (side.astype(np.float64) for side in normalised_adjacency(chosen))
    states = np.zeros((len(some), 7, 5))
    states[:, :, _TYPES] = encode_one_hot(chosen)
    used = np.arange(7) < chosen.num_vertices[:, None]

    def sums(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return along @ values[..., :width], against @ values[..., width:]

    def mean(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = (values * used[..., None]).sum(1) / used.sum(1)[:, None]
        return means

    matrices = [weights.layer(number)[0].astype(np.float64) for number in range(3)]
    head = [(matrix.astype(np.float64), bias) for matrix, bias in weights.head()]
    for number, matrix in enumerate(matrices):
        left, right = sums(states @ matrix)
        if number == 2:
            sizes = np.abs(states) @ np.abs(matrix)
        states = (np.maximum(left, 0) + np.maximum(right, 0)) / 2 * used[..., None]
    hidden = np.maximum(mean(states) @ head[0][0] + head[0][1], 0)
    scores = (hidden @ head[1][0] + head[1][1])[:, 0]
    np.testing.assert_allclose(scores, outputs[some], atol=1e-5 * np.abs(outputs).max())

    left, right = sums(sizes)
    reach = (mean((left + right) / 2) @ np.abs(head[0][0]) @ np.abs(head[1][0]))[:, 0]
    print(f"scores: standard deviation {outputs.std():.3f}, range {np.ptp(outputs):.3f}")
    for name, unit in (("bfloat16", 2.0**-9), ("float16", 2.0**-11)):
        bound = (2 * unit + unit * unit) * reach
        for count in (228, 1000):
            limit = np.partition(outputs, len(outputs) - count)[len(outputs) - count]
            # The K-th cell's own bound: of the cells seen, the largest.
            left_over = (scores + bound >= limit - 2 * bound.max()).mean()
            print(
                f"{name}: bound {np.median(bound):.3f} (largest {bound.max():.3f}); of the top "
                f"{count:,} all but {100 * left_over:.2f} % of the cells are ruled out"
            )


if __name__ == "__main__":
    main()
