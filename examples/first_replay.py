"""A first replay: three searches on one table, their curves as frame, figure and page.

Run it as a script, or cell by cell in an editor that knows ``# %%``::

    python examples/first_replay.py --trials 20

Without ``--table`` it takes the built-in table, a fitted model of NASBench-101, which is built on
first use; its figures say so.
"""

# %% What to run: a few trials give an impression, 500 give the paper's figure.
from __future__ import annotations

import argparse
from pathlib import Path

from nprep import replay

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--table", help="a table file; see python -m nprep.table")
parser.add_argument("--trials", type=int, default=10)
parser.add_argument("--samples", type=int, default=2000)
parser.add_argument("--train-samples", type=int, default=172)
parser.add_argument("--top-k", type=int, default=300)
parser.add_argument("--out", type=Path, default=Path("first-replay"))
options = parser.parse_args()

# %% Regularized evolution against the neural predictor, with random search as the floor.
result = replay(
    trials=options.trials,
    methods=["random", "evolution", "np", "oracle"],
    table=options.table,
    samples=options.samples,
    train_samples=options.train_samples,
    top_k=options.top_k,
    seed=0,
)
print(result)

# %% A tidy frame: one row for each method, number of samples and metric.
frame = result.frame()
ends = frame[frame["metric"] == "test"].groupby("method", sort=False).last()
print(ends[["samples", "trials", "mean", "std"]].round(2))

# %% The same trials one by one, for statistics of your own: the share of trials above 93.5 %.
trials = result.trials()
final = trials[trials["samples"] == trials.groupby("method")["samples"].transform("max")]
print((final["test"] > 93.5).groupby(final["method"]).mean().rename("share above 93.5 %"))

# %% The figure is matplotlib's; change what you like, or draw into axes of your own.
options.out.mkdir(parents=True, exist_ok=True)
figure = result.figure(metric="test", band="quartiles", title="A first replay")
figure.savefig(options.out / "first_replay.png", dpi=160)

# %% Everything on one page, with the best cells drawn.
page = result.report(options.out / "report.html")
print(f"wrote {options.out / 'first_replay.png'} and {page}")
