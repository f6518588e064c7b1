"""Your own predictor as a search method: anything with ``fit`` and ``predict``.

Kernel ridge regression in a few lines of NumPy, against the neural predictor, on the same cells,
accuracies and budgets::

    python examples/own_predictor.py --trials 20

scikit-learn's regressors need no class of their own::

    from sklearn.ensemble import RandomForestRegressor
    RegressorSearch("forest", lambda seed: RandomForestRegressor(random_state=seed))

On the command line, from this folder: ``python -m nprep.replay --methods own_predictor:METHOD,np``.
"""

# %%
from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from nprep import replay
from nprep.search.regressor import RegressorSearch


class KernelRidge:
    """Ridge regression with a Gaussian kernel; labels are centred."""

    def __init__(self, width: float = 4.0, penalty: float = 0.3) -> None:
        """Remembers the kernel's width and the penalty on the weights."""
        self.width, self.penalty = width, penalty

    def fit(self, features: NDArray[np.floating], labels: NDArray[np.floating]) -> None:
        """Solves for the weights of the training cells."""
        self.cells, self.mean = features.astype(np.float64), float(labels.mean())
        kernel = self._kernel(self.cells)
        kernel[np.diag_indices_from(kernel)] += self.penalty
        self.weights = np.linalg.solve(kernel, labels - self.mean)

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Predicts accuracies, some thousand cells at a time."""
        parts = [
            self._kernel(features[start : start + 4096].astype(np.float64)) @ self.weights
            for start in range(0, len(features), 4096)
        ]
        return self.mean + np.concatenate(parts)

    def _kernel(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        squares = (
            (features**2).sum(axis=1)[:, None]
            + (self.cells**2).sum(axis=1)[None]
            - 2.0 * features @ self.cells.T
        )
        return np.exp(-squares / (2.0 * self.width**2))


# It takes no random draw, so it has no use for the seed.
METHOD = RegressorSearch("kernel-ridge", lambda seed: KernelRidge(), train_samples=172)


# %%
def main() -> None:
    """Replays it beside the neural predictor and random search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", help="a table file; the built-in one if left out")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--top-k", type=int, default=300)
    options = parser.parse_args()
    result = replay(
        trials=options.trials,
        methods=["random", "np", METHOD],
        table=options.table,
        samples=172 + options.top_k,
        top_k=options.top_k,
    )
    print(result)


if __name__ == "__main__":
    main()
