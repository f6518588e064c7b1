"""Your own search method: one class with ``ask`` and ``tell``, one object of it for each trial.

Simulated annealing in a few lines, against random search and regularized evolution, on the same
cells, training runs and budgets::

    python examples/own_method.py --trials 100

On the command line, from this folder: ``nprep run --methods own_method:Annealing`` replays it on a
table, and ``nprep search --methods own_method:Annealing --data DATA`` trains what it asks for.
What is asked for in one call could be trained side by side, which the simulated clocks of
``--workers`` count on. A method that handles all trials at once, or trains for fewer epochs, has
``run_block`` instead: see ``nprep.search.method.Method``.
"""

# %%
from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from nprep import replay
from nprep.search.pool import Pool


class Annealing:
    """Simulated annealing: steps to a neighbour, always if it is better, else more and more rarely.

    Kirkpatrick, Gelatt, Vecchi: "Optimization by Simulated Annealing", Science 1983.
    """

    name = "annealing"

    def __init__(
        self,
        pool: Pool,
        rng: np.random.Generator,
        temperature: float = 0.003,
        cooling: float = 0.99,
    ) -> None:
        """Begins a trial; everything random comes from ``rng``, so a seed decides the trial."""
        self.pool, self.rng = pool, rng
        self.temperature, self.cooling = temperature, cooling
        self.here: NDArray[np.int32] | None = None
        self.height = 0.0

    def ask(self) -> NDArray[np.int32]:
        """The architecture to train next: a random one, then random neighbours."""
        if self.here is None:
            return self.pool.sample(1, self.rng)
        return self.pool.mutate(self.here, self.rng)

    def tell(self, positions: NDArray[np.int32], values: NDArray[np.float32]) -> None:
        """Learns its accuracy, and steps there or stays."""
        if not len(values):
            return
        change = float(values[0]) - self.height
        if change >= 0 or self.rng.random() < np.exp(change / self.temperature):
            self.here, self.height = positions, float(values[0])
        self.temperature *= self.cooling


# %%
def main() -> None:
    """Replays it beside two baselines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", help="a table file; the built-in one if left out")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--samples", type=int, default=500)
    options = parser.parse_args()
    result = replay(
        trials=options.trials,
        methods=["random", "evolution", Annealing],
        table=options.table,
        samples=options.samples,
    )
    print(result)


if __name__ == "__main__":
    main()
