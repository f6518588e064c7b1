"""The official API of NATS-Bench's topology space, on tables of nprep.

    from nprep.nats_bench import create

    api = create("nb201-cifar10.h5", "tss")  # one table, or one for each dataset
    api.get_more_info(1234, "cifar10-valid", hp="200")

Names, keys and exceptions are those of https://github.com/D-X-Y/NATS-Bench, version 1.8. What
differs:

- A table is of one dataset; several can be given. A table of CIFAR-10 answers as "cifar10-valid",
  and as "cifar10" (networks trained on all training images) only what it was built with.
- Only the last epoch of a training is known, so ``iepoch`` must be None or that epoch.
- Where a table has means alone, the mean is the answer whatever ``is_random`` says, and ``None``
  stands for losses and times that it lacks.
- "valtest" is the mean of validation and test, which have as many images each.
- FLOPs and parameters are computed, not read; there are no weights.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nprep.errors import SettingsError
from nprep.spaces.nb201 import network
from nprep.spaces.nb201.canonical import canonical_texts
from nprep.spaces.nb201.space import NB201
from nprep.spaces.nb201.strings import EDGES, OPERATION_NAMES, from_numbers, numbers
from nprep.table.table import Table

FULL_TRAIN_EPOCHS = 200
_SIMULATED = ("cifar10", "cifar100", "ImageNet16-120")
# The authors' names of the sets of images, for each of their datasets.
_SETS = {
    "cifar10-valid": {"train": "train", "x-valid": "validation", "ori-test": "test"},
    "cifar10": {"train": "train", "ori-test": "test"},
    "cifar100": {"train": "train", "x-valid": "validation", "x-test": "test"},
    "ImageNet16-120": {"train": "train", "x-valid": "validation", "x-test": "test"},
}


def create(
    file_path_or_dict: Any,
    search_space: str,
    fast_mode: bool = False,
    verbose: bool = True,
) -> NATStopology:
    """The API on one table or several.

    Args:
        file_path_or_dict: A table file or an open table, or several of them in a list. (The
            original takes None for a file that it looks for; name the file here.)
        search_space: "tss" or "topology".
        fast_mode: Has no effect: tables are mapped, so nothing is loaded ahead.
        verbose: Whether to print what was opened.

    Raises:
        ValueError: If it is another space, or nothing is given.
        TableError: If a file is no table of NAS-Bench-201.
    """
    if search_space not in ("tss", "topology"):
        raise ValueError(f"the search space {search_space!r} is not here: use 'tss'.")
    if file_path_or_dict is None:
        raise ValueError(
            "name a table of NAS-Bench-201, such as one built by python -m nprep.table build "
            "--source nats FOLDER TABLE.h5."
        )
    given = file_path_or_dict
    if isinstance(given, Mapping):
        given = list(given.values())
    if not isinstance(given, Sequence) or isinstance(given, str):
        given = [given]
    return NATStopology(given, fast_mode, verbose)


class _Dataset:
    """The answers of one of the authors' datasets."""

    def __init__(self, name: str, table: Table) -> None:
        """Finds the rows of the official numbers."""
        self.name = name
        self.table = table
        self.rows = {int(n): row for row, n in enumerate(numbers(table.cells))}
        names = str(table.attributes.get("repeat_names", ""))
        # "seed 777, seed 888": a repeat's seed, or none where only means are known.
        self.seeds = [int(seed) for seed in re.findall(r"\bseed (\d+)", names)]

    def value(self, metric: str, number: int, budget: int, seed: int | None) -> float | None:
        """A value of one seed, or the mean; None where the table lacks it."""
        row, k = self.rows[number], self.table.budgets.index(budget)
        single = self.table.metrics.get(("final", metric))
        if single is not None:
            runs = single.values[row, k].astype(np.float64)
            if seed is not None:
                runs = runs[[self.seeds.index(seed)]]
            known = runs[~np.isnan(runs)]
            if len(known):
                return float(known.mean())
        means = self.table.means.get(("final", metric))
        if means is None or np.isnan(means.values[row, k]):
            return None
        return float(means.values[row, k])

    def seeds_of(self, number: int, budget: int) -> list[int]:
        """The seeds with which an architecture was trained; none where only means are known."""
        metric = "test_accuracy" if self.name == "cifar10" else "validation_accuracy"
        single = self.table.metrics.get(("final", metric))
        if single is None or not self.seeds:
            return []
        runs = single.values[self.rows[number], self.table.budgets.index(budget)]
        return [seed for seed, run in zip(self.seeds, runs, strict=True) if not np.isnan(run)]


class ArchResults:
    """What is known of one architecture after trainings of one length."""

    def __init__(self, api: NATStopology, number: int, hp: str) -> None:
        """Takes the place; values are looked up when they are asked for."""
        self._api = api
        self.arch_index = number
        self.arch_str = api.meta_archs[number]
        self._epochs = int(hp)

    def get_dataset_names(self) -> list[str]:
        """The datasets that it was trained on, so far as the tables know."""
        return [
            name
            for name, dataset in self._api.datasets.items()
            if self.arch_index in dataset.rows and self._epochs in dataset.table.budgets
        ]

    def get_dataset_seeds(self, dataset: str) -> list[int]:
        """The seeds of its trainings; none where only means are known."""
        return self._of(dataset).seeds_of(self.arch_index, self._epochs)

    def get_total_epoch(self, dataset: str | None = None) -> int:
        """The number of epochs."""
        return self._epochs

    def get_metrics(
        self, dataset: str, setname: str, iepoch: int | None = None, is_random: Any = False
    ) -> dict[str, Any]:
        """Loss, accuracy (percent) and times on one set of images.

        Args:
            dataset: "cifar10-valid", "cifar10", "cifar100" or "ImageNet16-120".
            setname: "train", "x-valid", "x-test" or "ori-test".
            iepoch: None, or the last epoch.
            is_random: False: the mean; True: a random seed's; a number: that seed's.

        Raises:
            ValueError: If something is unknown.
        """
        own = self._of(dataset)
        if setname not in _SETS[dataset]:
            known = ", ".join(_SETS[dataset])
            raise ValueError(f"{dataset} has no set {setname!r} here, only {known}.")
        if iepoch is not None and iepoch != self._epochs - 1:
            raise ValueError(
                f"invalid iepoch={iepoch}: a table knows the last epoch ({self._epochs - 1}) only."
            )
        seed = self._seed(own, is_random)
        kind = _SETS[dataset][setname]

        def value(metric: str) -> float | None:
            return own.value(metric, self.arch_index, self._epochs, seed)

        accuracy = value(f"{kind}_accuracy")
        # Training seconds are of the whole training, the others of one evaluation.
        seconds = value("training_seconds" if kind == "train" else f"{kind}_seconds")
        whole = kind == "train"
        return {
            "iepoch": self._epochs - 1,
            "loss": value(f"{kind}_loss"),
            "accuracy": None if accuracy is None else 100 * accuracy,
            "cur_time": seconds / self._epochs if whole and seconds is not None else seconds,
            "all_time": seconds if whole or seconds is None else seconds * self._epochs,
        }

    def get_compute_costs(self, dataset: str) -> dict[str, Any]:
        """FLOPs and parameters in millions, latency and times in seconds."""
        own = self._of(dataset)
        sizes = from_numbers(np.array([self.arch_index]))
        plain = dataset.removesuffix("-valid")
        info: dict[str, Any] = {
            "flops": float(network.multiplications(sizes, plain)[0] / 1e6),
            "params": float(network.trainable_parameters(sizes, plain)[0] / 1e6),
            "latency": own.value("latency_seconds", self.arch_index, self._epochs, None),
        }
        for name in _SETS[dataset]:
            found = self.get_metrics(dataset, name)
            info[f"T-{name}@epoch"] = found["cur_time"]
            info[f"T-{name}@total"] = found["all_time"]
        return info

    def _of(self, dataset: str) -> _Dataset:
        """The answers of a dataset; raises ValueError if no table has it."""
        if dataset not in self.get_dataset_names():
            known = ", ".join(self.get_dataset_names()) or "none"
            raise ValueError(
                f"invalid dataset-name : {dataset} (the tables know, after {self._epochs} epochs "
                f"of architecture {self.arch_index}: {known})."
            )
        return self._api.datasets[dataset]

    def _seed(self, dataset: _Dataset, is_random: Any) -> int | None:
        """The seed that is asked for; None is the mean."""
        seeds = dataset.seeds_of(self.arch_index, self._epochs)
        if isinstance(is_random, bool):
            return random.choice(seeds) if is_random and seeds else None
        if not isinstance(is_random, int):
            raise ValueError(f"invalid value for is_random: {is_random}")
        if is_random not in seeds:
            raise ValueError(f"can not find random seed ({is_random}) from {seeds}")
        return is_random

    def __repr__(self) -> str:
        """Number and string, as in the original."""
        return f"ArchResults(arch-index={self.arch_index}, arch={self.arch_str})"


class NATStopology:
    """The API (see the module)."""

    search_space_name = "topology"
    is_topology = True
    is_size = False
    full_epochs_in_paper = full_train_epochs = FULL_TRAIN_EPOCHS

    def __init__(
        self,
        tables: Sequence[Table | str | os.PathLike[str]],
        fast_mode: bool = False,
        verbose: bool = True,
    ) -> None:
        """Opens the tables.

        Args:
            tables: At least one.
            fast_mode: Has no effect.
            verbose: Whether to print what was opened.

        Raises:
            ValueError: If there is none, or two are of the same dataset.
            TableError: If a file is no table.
        """
        self.verbose = verbose
        self.fast_mode = fast_mode
        self.meta_archs = NB201.format(NB201.enumerate())
        self._numbers = {text: number for number, text in enumerate(self.meta_archs)}
        self.datasets: dict[str, _Dataset] = {}
        for given in tables:
            table = given if isinstance(given, Table) else Table.open(Path(given))
            if table.space.name != NB201.name:
                raise SettingsError(f"{table.path} is a table of {table.space.title}: use another.")
            for name in _names_of(table):
                if name in self.datasets:
                    raise ValueError(f"two tables are of {name}: give one.")
                self.datasets[name] = _Dataset(name, table)
        if not self.datasets:
            raise ValueError("no table is given: name at least one.")
        self.reset_time()
        if verbose:
            print(f"{self!r} created")

    def __getitem__(self, index: int) -> str:
        """The string of an official number; ends iterations as a list does."""
        return self.meta_archs[index]

    def __len__(self) -> int:
        """The number of architectures, 15,625."""
        return len(self.meta_archs)

    def __iter__(self) -> Iterator[str]:
        """The strings, by number."""
        return iter(self.meta_archs)

    def __repr__(self) -> str:
        """What is there."""
        known = len(self.evaluated_indexes)
        return (
            f"NATStopology({known}/{len(self)} architectures, fast_mode={self.fast_mode}, "
            f"datasets={', '.join(self.datasets)})"
        )

    @property
    def evaluated_indexes(self) -> set[int]:
        """The official numbers that a table knows anything of."""
        return set().union(*(dataset.rows for dataset in self.datasets.values()))

    @property
    def avaliable_hps(self) -> list[str]:
        """Numbers of epochs, as texts; the name is the original's."""
        known = {budget for each in self.datasets.values() for budget in each.table.budgets}
        return [str(budget) for budget in sorted(known)]

    @property
    def used_time(self) -> float:
        """Seconds charged by ``simulate_train_eval``."""
        return self._used_time

    def reset_time(self) -> None:
        """Sets the seconds charged to 0."""
        self._used_time = 0.0

    def arch(self, index: int) -> str:
        """The string of an official number.

        Raises:
            ValueError: If there is none.
        """
        if not 0 <= index < len(self):
            raise ValueError(f"invalid index : {index} vs. {len(self)}.")
        return self.meta_archs[index]

    def random(self) -> int:
        """A random official number, by the global generator of ``random`` as in the original."""
        return random.randint(0, len(self) - 1)

    def query_index_by_arch(self, arch: Any) -> int:
        """The official number of a string, of an object with ``tostr``, or of a number.

        Returns:
            -1 if the string is no architecture of the space.

        Raises:
            ValueError: If the number is outside the space.
        """
        if isinstance(arch, int | np.integer):
            if 0 <= arch < len(self):
                return int(arch)
            raise ValueError(f"Invalid architecture index {arch} vs [0, {len(self)}].")
        text = arch.tostr() if hasattr(arch, "tostr") else arch
        return self._numbers.get(text, -1) if isinstance(text, str) else -1

    def query_meta_info_by_index(self, arch_index: int, hp: str | int = "12") -> ArchResults:
        """What is known of an architecture after ``hp`` epochs.

        Raises:
            ValueError: If no table knows it.
        """
        if arch_index not in self.evaluated_indexes:
            raise ValueError(f"arch_index [{arch_index}] does not in arch2infos")
        if str(hp) not in self.avaliable_hps:
            raise ValueError(
                f"The {arch_index}-th architecture only has hyper-parameters of "
                f"{self.avaliable_hps} instead of {hp}."
            )
        return ArchResults(self, arch_index, str(hp))

    def get_more_info(
        self,
        index: Any,
        dataset: str,
        iepoch: int | None = None,
        hp: str | int = "12",
        is_random: Any = True,
    ) -> dict[str, Any]:
        """Losses, accuracies in percent and times of one architecture on one dataset.

        Args:
            index: A number or a string.
            dataset: "cifar10-valid", "cifar10", "cifar100" or "ImageNet16-120".
            iepoch: None, or the last epoch.
            hp: Number of epochs, "12" or "200".
            is_random: True: a random seed's; False: the mean; a number: that seed's.

        Raises:
            ValueError: If something is unknown.
        """
        info = self.query_meta_info_by_index(self.query_index_by_arch(index), hp)
        if isinstance(is_random, bool) and is_random:
            # One seed for all sets of images.
            seeds = info.get_dataset_seeds(dataset)
            is_random = random.choice(seeds) if seeds else False
        kinds = {"train": "train", "x-valid": "valid", "x-test": "test", "ori-test": "test"}
        found: dict[str, Any] = {}
        info._of(dataset)
        for setname in _SETS[dataset]:
            metrics = info.get_metrics(dataset, setname, iepoch, is_random)
            kind, total = kinds[setname], metrics["iepoch"] + 1
            whole = metrics["all_time"]
            found[f"{kind}-loss"] = metrics["loss"]
            found[f"{kind}-accuracy"] = metrics["accuracy"]
            found[f"{kind}-per-time"] = None if whole is None else whole / total
            found[f"{kind}-all-time"] = whole
        if dataset in ("cifar100", "ImageNet16-120"):
            for name, of_both in (
                ("loss", 0.5),
                ("accuracy", 0.5),
                ("per-time", 1),
                ("all-time", 1),
            ):
                pair = found[f"valid-{name}"], found[f"test-{name}"]
                found[f"valtest-{name}"] = None if None in pair else of_both * sum(pair)
        return found

    def simulate_train_eval(
        self,
        arch: Any,
        dataset: str,
        iepoch: int | None = None,
        hp: str | int = "12",
        account_time: bool = True,
    ) -> tuple[float, float | None, float, float]:
        """Trains and validates an architecture in simulation, for the price of its time.

        Returns:
            Validation accuracy in percent, latency in seconds, seconds of this call, seconds of
            all calls.

        Raises:
            ValueError: If something is unknown, or the table has no times.
        """
        if dataset not in _SIMULATED:
            raise ValueError(f"Invalid dataset name : {dataset} vs {_SIMULATED}")
        networks = "cifar10-valid" if dataset == "cifar10" else dataset
        index = self.query_index_by_arch(arch)
        info = self.get_more_info(index, networks, iepoch=iepoch, hp=hp, is_random=True)
        if info["train-all-time"] is None or info["valid-per-time"] is None:
            raise ValueError(
                f"the table of {networks} has no training times, which a simulation needs: build "
                "one with python -m nprep.table build --source nats."
            )
        cost = info["train-all-time"] + info["valid-per-time"]
        if account_time:
            self._used_time += cost
        return info["valid-accuracy"], self.get_latency(index, networks, hp), cost, self._used_time

    def get_cost_info(self, index: Any, dataset: str, hp: str | int = "12") -> dict[str, Any]:
        """FLOPs and parameters in millions, latency and times in seconds."""
        number = self.query_index_by_arch(index)
        return self.query_meta_info_by_index(number, hp).get_compute_costs(dataset)

    def get_latency(self, index: Any, dataset: str, hp: str | int = "12") -> float | None:
        """Latency in seconds; None where the table has none."""
        latency: float | None = self.get_cost_info(index, dataset, hp)["latency"]
        return latency

    def find_best(
        self,
        dataset: str,
        metric_on_set: str,
        flop_max: float | None = None,
        param_max: float | None = None,
        hp: str | int = "12",
        enforce_all: bool | None = None,
    ) -> tuple[int, float | None]:
        """The architecture with the highest mean accuracy within limits, and that accuracy.

        Args:
            dataset: As in ``get_more_info``; "cifar10" with "valid" is "cifar10-valid".
            metric_on_set: "train", "valid" or "test", or the authors' name of a set.
            flop_max: Most millions of FLOPs.
            param_max: Most millions of parameters.
            hp: Number of epochs.
            enforce_all: Has no effect: all are looked at.
        """
        if dataset == "cifar10" and metric_on_set == "valid":
            dataset = "cifar10-valid"
        own = {"train": "train", "valid": "validation", "test": "test"}
        kind = own.get(metric_on_set) or _SETS[dataset][metric_on_set]
        best, highest = -1, None
        for number in sorted(self.datasets[dataset].rows):
            costs = network_sizes(number, dataset)
            if (flop_max is not None and costs[0] > flop_max) or (
                param_max is not None and costs[1] > param_max
            ):
                continue
            value = self.datasets[dataset].value(f"{kind}_accuracy", number, int(hp), None)
            if value is not None and (highest is None or 100 * value > highest):
                best, highest = number, 100 * value
        return best, highest

    def get_unique_str(self, arch: Any) -> str:
        """A text that isomorphic architectures share, by the authors' rule."""
        batch = from_numbers(np.array([self.query_index_by_arch(arch)]))
        return canonical_texts(batch, "authors")[0]

    def query_info_str_by_arch(self, arch: Any, hp: str | int = "12") -> str:
        """A few lines about an architecture."""
        info = self.query_meta_info_by_index(self.query_index_by_arch(arch), hp)
        lines = [info.arch_str]
        for dataset in info.get_dataset_names():
            costs = info.get_compute_costs(dataset)
            shown = [f"FLOP={costs['flops']:6.2f} M", f"Params={costs['params']:.3f} MB"]
            for setname in _SETS[dataset]:
                accuracy = info.get_metrics(dataset, setname)["accuracy"]
                if accuracy is not None:
                    shown.append(f"{setname} top1 = {accuracy:.2f}%")
            lines.append(f"{dataset:14s} {', '.join(shown)}")
        return "\n".join(lines)

    @staticmethod
    def str2lists(arch_str: str) -> list[tuple[tuple[str, int], ...]]:
        """The edges into nodes 1, 2 and 3 as pairs of operation and tail."""
        codes = NB201.parse(arch_str).values[0].tolist()
        return [
            tuple(
                (OPERATION_NAMES[code], tail)
                for (tail, head), code in zip(EDGES, codes, strict=True)
                if head == node
            )
            for node in (1, 2, 3)
        ]

    @staticmethod
    def str2matrix(arch_str: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(4, 4) operation codes, at [head, tail]."""
        matrix = np.zeros((4, 4))
        codes = NB201.parse(arch_str).values[0].tolist()
        for (tail, head), code in zip(EDGES, codes, strict=True):
            matrix[head, tail] = code
        return matrix


def network_sizes(number: int, dataset: str) -> tuple[float, float]:
    """Millions of FLOPs and of parameters of one architecture on one of the authors' datasets."""
    batch, plain = from_numbers(np.array([number])), dataset.removesuffix("-valid")
    return (
        float(network.multiplications(batch, plain)[0] / 1e6),
        float(network.trainable_parameters(batch, plain)[0] / 1e6),
    )


def _names_of(table: Table) -> list[str]:
    """The authors' names of what a table holds."""
    dataset = str(table.attributes.get("dataset", ""))
    if dataset not in network.DATASETS:
        raise SettingsError(f"{table.path} does not say which dataset it is of: build it again.")
    if dataset != "cifar10":
        return [dataset]
    full = table.attributes.get("test_of") == "all-images"
    return ["cifar10"] if full else ["cifar10-valid"]
