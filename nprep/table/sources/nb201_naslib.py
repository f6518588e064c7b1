"""NASLib's pickles of NAS-Bench-201, ``nb201_cifar10_full_training.pickle`` and its siblings.

A dict from the architecture string to a dict from the dataset ("cifar10-valid", "cifar100",
"ImageNet16-120") to lists over 200 epochs, ``train_acc1es``, ``train_losses``, ``eval_acc1es``,
``eval_losses``, and ``cost_info`` with ``flops``, ``params``, ``latency`` and ``train_time`` (of an
epoch). They are of one training, and the file does not say of which seed. NASLib takes
``eval_acc1es`` as validation and as test accuracy; here it is the validation accuracy, and test
accuracies, which a replay needs, can be joined from the public CSV file (``--test-csv``).

Source: https://github.com/automl/NASLib, ``search_spaces/nasbench201/graph.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nprep.errors import TableError
from nprep.spaces.nb201.network import DATASETS
from nprep.table.schema import Content
from nprep.table.sources._nb201 import (
    FULL_EPOCHS,
    Trainings,
    check_values,
    number_of,
    to_content,
)
from nprep.table.sources._unpickle import NUMPY_NAMES, Inert, load_inert, to_array
from nprep.table.sources.nb201_csv import read_csv

_ADMITTED = NUMPY_NAMES | {"collections.OrderedDict"}
_LISTS = {
    "train_accuracy": ("train_acc1es", 0.01),
    "validation_accuracy": ("eval_acc1es", 0.01),
    "train_loss": ("train_losses", 1.0),
    "validation_loss": ("eval_losses", 1.0),
}
METRICS = (*_LISTS, "training_seconds")


def _plain(value: Any) -> float:
    """A number, plain or of NumPy."""
    if isinstance(value, Inert):
        return float(to_array(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _last(values: Any, name: str) -> float:
    """The last of 200 numbers, in a list or in an array."""
    if isinstance(values, Inert):
        values = to_array(values).tolist()
    if not isinstance(values, list) or not FULL_EPOCHS - 1 <= len(values) <= FULL_EPOCHS + 1:
        raise ValueError(f"{name} is no list of {FULL_EPOCHS} epochs")
    return _plain(values[-1])


def _values_of(entry: Mapping[str, Any]) -> list[float]:
    """The metrics of one architecture on one dataset."""
    found = [scale * _last(entry[name], name) for name, scale in _LISTS.values()]
    return [*found, FULL_EPOCHS * _plain(entry["cost_info"]["train_time"])]


def read_pickle(path: Path, dataset: str) -> Trainings:
    """Reads the file.

    Args:
        path: The pickle.
        dataset: "cifar10", "cifar100" or "ImageNet16-120".

    Raises:
        TableError: If the file cannot be read, is something else, or is of another dataset.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror or error}).") from error
    content = load_inert(io.BytesIO(raw), path, _ADMITTED)
    name = "cifar10-valid" if dataset == "cifar10" else dataset
    found: dict[int, list[float]] = {}
    if not isinstance(content, dict) or not content:
        raise TableError(f"{path} is no pickle of NASLib's: it holds no dict of architectures.")
    for text, entry in content.items():
        if not isinstance(text, str):
            raise TableError(f"{path} is no pickle of NASLib's: it holds no architecture strings.")
        number = number_of(text, str(path))
        try:
            if name not in entry:
                known = ", ".join(map(str, entry))
                raise TableError(
                    f"{path} has no {name} of architecture {number}, only {known}: name another "
                    "dataset or file."
                )
            found[number] = _values_of(entry[name])
        except TableError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TableError(
                f"{path}: architecture {number} is not as NASLib writes it ({error})."
            ) from error
    numbers = np.array(sorted(found), np.int32)
    table = np.array([found[number] for number in numbers.tolist()], np.float32)
    values = {name: table[:, k, None, None] for k, name in enumerate(METRICS)}
    check_values(path, values, "(one of them)")
    return Trainings(
        dataset,
        numbers,
        (FULL_EPOCHS,),
        ("one run, of an unknown seed",),
        values,
        {"file": path.name, "sha256": hashlib.sha256(raw).hexdigest()},
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument("input", type=Path, help="nb201_cifar10_full_training.pickle")
    parser.add_argument(
        "--dataset", choices=list(DATASETS), required=True, help="what the networks were trained on"
    )
    parser.add_argument(
        "--test-csv", type=Path, help="nasbench201_*.csv, whose mean test accuracies are joined"
    )


def join_test(trainings: Trainings, path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Mean test accuracies (M, 1) of the same architectures from the public CSV file.

    Raises:
        TableError: If the file is something else or lacks an architecture.
    """
    means = read_csv(path, trainings.dataset)
    lacking = np.setdiff1d(trainings.numbers, means.numbers)
    if len(lacking):
        raise TableError(f"{path} lacks architecture {lacking[0]}: take a whole file.")
    rows = np.searchsorted(means.numbers, trainings.numbers)
    return {"test_accuracy": means.values["test_accuracy"][rows]}


_RUN = "validation accuracy and training time of one run measured"


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Reads the file, and test accuracies from another if one is named.

    Raises:
        TableError: If a file is not what it should be.
    """
    progress(f"reading {arguments.input}")
    trainings = read_pickle(arguments.input, arguments.dataset)
    if arguments.test_csv is None:
        progress("note: no test accuracies, so nothing to replay: name a file with --test-csv")
        return to_content("nb201-naslib", trainings, {})
    progress(f"reading {arguments.test_csv}")
    joined = {**trainings.values, **join_test(trainings, arguments.test_csv)}
    views = {"run": f"{_RUN}; mean test accuracy over the seeds measured"}
    return to_content("nb201-naslib", replace(trainings, values=joined), views)
