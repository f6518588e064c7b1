"""The search for the most sample-efficient configuration of the neural predictor.

    python -m bench.best_configuration TABLE.h5 [--view completed] [--protocol wen2020|bananas]
        [--trials 12] [--seed 0] [--variants a;name=value,...] [--raw FILE.npz]

Runs ``np-best`` with the settings that ship, then with one or some of them changed, and prints for
each the test accuracy (percent) of the cell that is best by validation after 150, 219, 300 and 500
samples: mean and standard error over trials. Trial t of every variant starts from the same random
cells and sees the same runs, so "paired" gives the mean difference to what ships, over the four
budgets, with the standard error of that difference. "redrawn" averages over 200 other draws of the
runs that the trained cells might have shown (not what the search would then have done), which is
less noisy. ``np`` and other names of methods stand for those methods.

Choose on one seed and report on another.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.predictor_choices import one_repeat, parse
from nprep.runs.protocols import PROTOCOLS, with_rules
from nprep.search.method import Method
from nprep.search.np_best import BestPredictor
from nprep.search.registry import make_method, method_names
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from nprep.table.table import Table
from nprep.table.view import View

BUDGETS = (150, 219, 300, 500)
NOISE_DRAWS = 200
VARIANTS = (
    "initial=60,batch=30",
    "initial=80,batch=40",
    "top_share=0.5",
    "elite=100",
    "elite=320",
    "members=1",
    "members=6",
    "floor=0",
    "floor=0.7",
    "pool_share=0.2",
    "warm_epochs=60",
    "width=96",
    "weight_decay=0.01",
    "labels=sigmoid",
    "loss=ranking",
)


def incumbents(trace: Trace, view: View) -> list[float]:
    """Test accuracy after each budget, as the trial went."""
    best = [trace.validation[:budget].argmax() for budget in BUDGETS]
    return [100 * float(view.test[trace.positions[place]]) for place in best]


def redrawn(trace: Trace, view: View, trial: int) -> list[float]:
    """The same, averaged over other draws of the runs."""
    rng = np.random.default_rng([trial, 14])
    shown = one_repeat(view, np.tile(trace.positions, NOISE_DRAWS), rng).reshape(NOISE_DRAWS, -1)
    test = 100 * view.test[trace.positions].astype(np.float64)
    return [float(test[shown[:, :budget].argmax(axis=1)].mean()) for budget in BUDGETS]


def variant(name: str) -> Method:
    """``np-best`` with ``name=value,...`` changed, or the method of that name."""
    if name in method_names():
        return make_method(name, 172)
    base = BestPredictor()
    own = [c for c in name.split(",") if c.partition("=")[0] in base.__dataclass_fields__]
    others = [c for c in name.split(",") if c not in own]
    changed = parse(base, ",".join(own))
    return replace(changed, predictor=parse(base.predictor, ",".join(others)))


def run(
    method: Method, view: View, protocol: ReplayProtocol, seed: int, trials: int
) -> tuple[NDArray[np.float64], float]:
    """(T, 8) incumbents as it went and redrawn, and the processor time of a trial in seconds."""
    start = time.process_time()
    rows = []
    for trial in range(trials):
        # One name for all, so that all start alike.
        seeds = [trial_seed(seed, "np-best", trial)]
        (trace,) = method.run_block(view, seeds, BUDGETS[-1], protocol)
        rows.append([*incumbents(trace, view), *redrawn(trace, view, trial)])
    return np.array(rows), (time.process_time() - start) / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table")
    parser.add_argument("--view", default="completed")
    parser.add_argument("--protocol", default="wen2020", choices=("wen2020", "bananas"))
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", default=";".join(VARIANTS), help="separated by ';'")
    parser.add_argument("--raw", type=Path, help="write the results of every trial here (.npz)")
    options = parser.parse_args()
    protocol = PROTOCOLS[options.protocol].rules
    view = with_rules(Table.open(options.table).view(options.view), protocol)
    print(f"{options.view}, {options.protocol}, seed {options.seed}, {options.trials} trials")
    print(BestPredictor())
    print("| variant | " + " | ".join(map(str, BUDGETS)) + " | redrawn | paired | s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    reference: NDArray[np.float64] | None = None
    raw: dict[str, NDArray[np.float64]] = {}
    for name in ["as shipped", *filter(None, options.variants.split(";"))]:
        method = BestPredictor() if name == "as shipped" else variant(name)
        results, seconds = run(method, view, protocol, options.seed, options.trials)
        raw[name] = results
        reference = results if reference is None else reference
        scale = np.sqrt(options.trials)
        count = len(BUDGETS)
        means, errors = results.mean(axis=0), results.std(axis=0, ddof=1) / scale
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(means[:count], errors, strict=False)]
        cells.append(" ".join(f"{mean:.3f}" for mean in means[count:]))
        pairs = (results - reference)[:, count:].mean(axis=1)
        cells.append(f"{pairs.mean():+.3f} ± {pairs.std(ddof=1) / scale:.3f}")
        print(f"| {name} | {' | '.join(cells)} | {seconds:.2f} |", flush=True)
        if options.raw:
            np.savez(options.raw, **raw)


if __name__ == "__main__":
    main()
