"""Writes folders as NATS-Bench publishes them, with made-up values.

The structure is that of the sample files in the authors' repository (``fake_torch_dir``): a bz2
pickle of protocol 4 for each architecture, an OrderedDict from "12" and "200" to the state of an
``ArchResults``, which holds the state of a ``ResultsCount`` for each dataset and seed.
"""

from __future__ import annotations

import bz2
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nprep.spaces.nb201 import network, strings

# Seeds by number of epochs and dataset, as for most architectures of the published folder.
SEEDS = {
    12: {"cifar10-valid": [111, 777], "cifar10": [111], "cifar100": [111], "ImageNet16-120": [111]},
    200: {
        "cifar10-valid": [777, 888, 999],
        "cifar10": [777, 888, 999],
        "cifar100": [777, 888, 999],
        "ImageNet16-120": [777, 888, 999],
    },
}
EVALUATIONS = {
    "cifar10-valid": ["x-valid", "ori-test"],
    "cifar10": ["ori-test"],
    "cifar100": ["x-valid", "x-test", "ori-test"],
    "ImageNet16-120": ["x-valid", "x-test", "ori-test"],
}


def _result(
    text: str, number: int, dataset: str, seed: int, epochs: int, rng: np.random.Generator
) -> dict[str, Any]:
    """The state of a ResultsCount."""
    own = network.dataset_named(dataset.removesuffix("-valid"))
    batch = strings.from_numbers(np.array([number]))
    names = EVALUATIONS[dataset]
    train_time = float(rng.uniform(5, 30))
    times = {name: float(rng.uniform(0.3, 3)) for name in names}
    # Of 200 epochs, the files have every epoch of the validation and the last of the test.
    entries = [
        f"{name}@{epoch}"
        for name in names
        for epoch in range(epochs)
        if epochs == 12 or name == "x-valid" or epoch == epochs - 1 or dataset == "cifar10"
    ]
    accuracies = {entry: float(rng.uniform(10, 100)) for entry in entries}
    losses = {entry: float(rng.uniform(0, 3)) for entry in entries}
    if "x-test" in names:
        # These networks' test images are their validation images and these images together.
        times["ori-test"] = times["x-valid"] + times["x-test"]
        for entry in (f"@{epoch}" for epoch in range(epochs) if f"x-test@{epoch}" in accuracies):
            for values in (accuracies, losses):
                values["ori-test" + entry] = (
                    values["x-valid" + entry] + values["x-test" + entry]
                ) / 2
    return {
        "name": dataset,
        "net_state_dict": None,
        "train_acc1es": {e: float(rng.uniform(10, 100)) for e in range(epochs)},
        "train_acc5es": None if epochs == 200 else {e: 100.0 for e in range(epochs)},
        "train_losses": {e: float(rng.uniform(0, 3)) for e in range(epochs)},
        "train_times": OrderedDict((e, train_time) for e in range(epochs)),
        "arch_config": {
            "channel": 16, "num_cells": 5, "arch_str": text, "class_num": own.classes,
        },
        "params": np.float64(network.trainable_parameters(batch, own.name)[0] / 1e6),
        "flop": float(network.multiplications(batch, own.name)[0] / 1e6),
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [np.float64(rng.uniform(0.01, 0.02))],
        "eval_names": names,
        "eval_acc1es": accuracies,
        "eval_times": {f"{name}@{e}": times[name] for name in names for e in range(epochs)},
        "eval_losses": losses,
    }  # fmt: skip


def record(number: int, rng: np.random.Generator) -> OrderedDict[str, Any]:
    """What the file of one architecture holds."""
    text = strings.format_strings(strings.from_numbers(np.array([number])))[0]
    content: OrderedDict[str, Any] = OrderedDict()
    for epochs, seeds in SEEDS.items():
        results = {
            (dataset, seed): _result(text, number, dataset, seed, epochs, rng)
            for dataset, own in seeds.items()
            for seed in own
        }
        content[str(epochs)] = {
            "arch_index": number,
            "arch_str": text,
            "all_results": results,
            "dataset_seed": {dataset: list(own) for dataset, own in seeds.items()},
            "clear_net_done": True,
        }
    return content


def dump(content: object, path: Path) -> None:
    """Writes one compressed pickle."""
    with bz2.open(path, "wb") as file:
        pickle.dump(content, file, protocol=4)


def write_folder(folder: Path, numbers: Sequence[int], seed: int = 0) -> dict[int, Any]:
    """Writes the folder of some architectures; returns what each file holds."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    texts = strings.format_strings(strings.enumerate_space())
    meta = {
        "meta_archs": texts,
        "total_archs": len(texts),
        "arch2infos": None,
        "evaluated_indexes": set(),
    }
    dump(meta, folder / "meta.pickle.pbz2")
    contents = {number: record(number, rng) for number in numbers}
    for number, content in contents.items():
        dump(content, folder / f"{number:06d}.pickle.pbz2")
    return contents
