"""The class of the package nats_bench for its topology space."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nprep.errors import SettingsError
from nprep.nats_bench.results import SETS, ArchResults, DatasetAnswers, names_of, network_sizes
from nprep.spaces.nb201.canonical import canonical_texts
from nprep.spaces.nb201.space import NB201
from nprep.spaces.nb201.strings import EDGES, OPERATION_NAMES, from_numbers
from nprep.table.table import Table

FULL_TRAIN_EPOCHS = 200
_SIMULATED = ("cifar10", "cifar100", "ImageNet16-120")


class NATStopology:
    """The API (see the package)."""

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
        self.datasets: dict[str, DatasetAnswers] = {}
        for given in tables:
            table = given if isinstance(given, Table) else Table.open(Path(given))
            if table.space.name != NB201.name:
                raise SettingsError(f"{table.path} is a table of {table.space.title}: use another.")
            for name in names_of(table):
                if name in self.datasets:
                    raise ValueError(f"two tables are of {name}: give one.")
                self.datasets[name] = DatasetAnswers(name, table)
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
        return ArchResults(self.datasets, arch_index, self.meta_archs[arch_index], str(hp))

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
        for setname in SETS[dataset]:
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
        kind = own.get(metric_on_set) or SETS[dataset][metric_on_set]
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
            for setname in SETS[dataset]:
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
