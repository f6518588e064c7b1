"""What tables of NAS-Bench-201 know of one architecture, in the words of the package nats_bench."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nprep.errors import SettingsError
from nprep.spaces.nb201 import network
from nprep.spaces.nb201.strings import from_numbers, numbers
from nprep.table.table import Table

# The authors' names of the sets of images, for each of their datasets.
SETS = {
    "cifar10-valid": {"train": "train", "x-valid": "validation", "ori-test": "test"},
    "cifar10": {"train": "train", "ori-test": "test"},
    "cifar100": {"train": "train", "x-valid": "validation", "x-test": "test"},
    "ImageNet16-120": {"train": "train", "x-valid": "validation", "x-test": "test"},
}


class DatasetAnswers:
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

    def __init__(
        self, datasets: Mapping[str, DatasetAnswers], number: int, text: str, hp: str
    ) -> None:
        """Takes the place; values are looked up when they are asked for.

        Args:
            datasets: By the authors' names.
            number: The official number of the architecture.
            text: Its string.
            hp: Number of epochs.
        """
        self._datasets = datasets
        self.arch_index = number
        self.arch_str = text
        self._epochs = int(hp)

    def get_dataset_names(self) -> list[str]:
        """The datasets that it was trained on, so far as the tables know."""
        return [
            name
            for name, dataset in self._datasets.items()
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
        if setname not in SETS[dataset]:
            known = ", ".join(SETS[dataset])
            raise ValueError(f"{dataset} has no set {setname!r} here, only {known}.")
        if iepoch is not None and iepoch != self._epochs - 1:
            raise ValueError(
                f"invalid iepoch={iepoch}: a table knows the last epoch ({self._epochs - 1}) only."
            )
        seed = self._seed(own, is_random)
        kind = SETS[dataset][setname]

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
        for name in SETS[dataset]:
            found = self.get_metrics(dataset, name)
            info[f"T-{name}@epoch"] = found["cur_time"]
            info[f"T-{name}@total"] = found["all_time"]
        return info

    def _of(self, dataset: str) -> DatasetAnswers:
        """The answers of a dataset; raises ValueError if no table has it."""
        if dataset not in self.get_dataset_names():
            known = ", ".join(self.get_dataset_names()) or "none"
            raise ValueError(
                f"invalid dataset-name : {dataset} (the tables know, after {self._epochs} epochs "
                f"of architecture {self.arch_index}: {known})."
            )
        return self._datasets[dataset]

    def _seed(self, dataset: DatasetAnswers, is_random: Any) -> int | None:
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


def network_sizes(number: int, dataset: str) -> tuple[float, float]:
    """Millions of FLOPs and of parameters of one architecture on one of the authors' datasets."""
    batch, plain = from_numbers(np.array([number])), dataset.removesuffix("-valid")
    return (
        float(network.multiplications(batch, plain)[0] / 1e6),
        float(network.trainable_parameters(batch, plain)[0] / 1e6),
    )


def names_of(table: Table) -> list[str]:
    """The authors' names of what a table holds."""
    dataset = str(table.attributes.get("dataset", ""))
    if dataset not in network.DATASETS:
        raise SettingsError(f"{table.path} does not say which dataset it is of: build it again.")
    if dataset != "cifar10":
        return [dataset]
    full = table.attributes.get("test_of") == "all-images"
    return ["cifar10"] if full else ["cifar10-valid"]
