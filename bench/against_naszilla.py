"""Runs the searches of a checkout of naszilla beside this project's, on the same table.

    git clone https://github.com/naszilla/naszilla
    python -m bench.against_naszilla naszilla TABLE.h5 [--trials 160] [--seed 0] [--own-trials 1000]

Nothing of naszilla is copied here: its ``random_search``, ``evolution_search`` and ``local_search``
run as they stand, on ``nprep.nasbench`` in the place of the official ``nasbench`` package. What
these three do not need and is not installed (TensorFlow, the other benchmarks) is replaced by
modules without content.

Printed for each: the mean test accuracy (percent) of the cell that is best by mean validation
after 150 queries, with the standard error of the mean over trials, and this project's method of
the same definition under ``--protocol bananas``; of random search with ``--duplicates free``. The
table needs all cells: the view ``completed`` or a full one. Its validation accuracies are modelled
for nine cells in ten, which both sides see alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import random
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nprep.errors import SettingsError
from nprep.nasbench import api
from nprep.runs.protocols import PROTOCOLS, with_rules
from nprep.search.registry import make_method
from nprep.search.rules import trial_seed
from nprep.table.table import Table

QUERIES = 150
# Their function, its options, the method here that is meant to be the same, and what becomes of
# duplicates: their random search draws until it has 150 different cells, their evolution does not.
PAIRS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "random": ("random_search", {}, "random", "free"),
    "evolution": ("evolution_search", {}, "evolution-naszilla", "charged"),
    "local search, stop_at_minimum": ("local_search", {}, "local-search-naszilla", "charged"),
    "local search, continuing": (
        "local_search",
        {"stop_at_minimum": False},
        "local-search-continuing",
        "charged",
    ),
}


class _Nothing(types.ModuleType):
    """A module that has whatever is asked of it, and none of it works."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _Replacements(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds nothing where nothing is installed, for the modules that naszilla imports."""

    names = (
        "tensorflow", "nas_201_api", "nasbench301", "torch", "sklearn", "GPyOpt", "pybnn", "george",
        "pystan", "naszilla.bo", "naszilla.gcn", "naszilla.meta_neural_net",
    )  # fmt: skip

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        """A specification of an empty module, for the names above and what lies below them."""
        if any(name == known or name.startswith(f"{known}.") for known in self.names):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """The empty module."""
        return _Nothing(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Does nothing."""


def load_naszilla(checkout: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """Its modules of algorithms and of benchmarks, with this project's ``nasbench``.

    Raises:
        SettingsError: If there is no checkout.
    """
    if not (checkout / "naszilla" / "nas_algorithms.py").is_file():
        raise SettingsError(
            f"{checkout} is no checkout of naszilla, it holds no naszilla/nas_algorithms.py: clone "
            "https://github.com/naszilla/naszilla and name its folder."
        )
    package = types.ModuleType("nasbench")
    package.api = api  # type: ignore[attr-defined] # as the official package has it
    sys.modules["nasbench"], sys.modules["nasbench.api"] = package, api
    # Installed or not: what is replaced is not used by the searches that run here.
    sys.meta_path.insert(0, _Replacements())
    sys.path.insert(0, str(checkout))
    return (
        importlib.import_module("naszilla.nas_algorithms"),
        importlib.import_module("naszilla.nas_benchmarks"),
    )


def their_trial(search: Callable[..., list[dict[str, Any]]], space: Any, seed: int) -> float:
    """The test accuracy (percent) that one of its searches ends with."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - it draws from the global generators
    data = search(space, total_queries=QUERIES, verbose=0)[:QUERIES]
    best = sorted(data, key=lambda entry: entry["val_loss"])[0]
    return 100.0 - float(best["test_loss"])


def our_trials(table: Table, name: str, duplicates: str, trials: int, seed: int) -> list[float]:
    """The test accuracies (percent) that trials of a method end with."""
    rules = dataclasses.replace(PROTOCOLS["bananas"].rules, duplicates=duplicates)
    view = with_rules(table.view("completed"), rules)
    method = make_method(name, 0)
    seeds = [trial_seed(seed, name, trial) for trial in range(trials)]
    ends = []
    for trace in method.run_block(view, seeds, QUERIES, rules):
        best = int(np.argmax(trace.validation))
        ends.append(100.0 * float(view.test[trace.positions[best]]))
    return ends


def in_words(values: Sequence[float]) -> str:
    """Mean and standard error of the mean."""
    array = np.array(values)
    error = array.std(ddof=1) / np.sqrt(len(array)) if len(array) > 1 else float("nan")
    return f"{array.mean():.3f} ± {error:.3f} ({len(array)} trials)"


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--trials", type=int, default=160, help="of each of theirs")
    parser.add_argument("--own-trials", type=int, default=1000, help="of each of this project's")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    algorithms, benchmarks = load_naszilla(options.checkout)
    # Its constructor would look for a file of the official name.
    space = benchmarks.Nasbench101.__new__(benchmarks.Nasbench101)
    space.mf, space.dataset, space.index_hash = False, "cifar10", None
    space.nasbench = api.NASBench(options.table, seed=options.seed)
    table = Table.open(options.table)
    for name, (function, more, own, duplicates) in PAIRS.items():
        ours = our_trials(table, own, duplicates, options.own_trials, options.seed)
        print(f"{name}\n  {own}, duplicates {duplicates}: {in_words(ours)}", flush=True)

        def search(*given: Any, _function: str = function, _more: Any = more, **rest: Any) -> Any:
            return getattr(algorithms, _function)(*given, **_more, **rest)

        start = time.perf_counter()
        theirs = [their_trial(search, space, options.seed + t) for t in range(options.trials)]
        seconds = (time.perf_counter() - start) / options.trials
        print(f"  naszilla: {in_words(theirs)}, {seconds:.1f} s a trial", flush=True)


if __name__ == "__main__":
    main()
