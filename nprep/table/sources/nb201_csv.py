"""Mean accuracies of NAS-Bench-201 from a CSV file, such as those of NASGraph.

Columns: ``file id`` (the official number), ``arch str``, ``C``, ``N``, ``train accuracy``,
``validation accuracy`` and ``test accuracy`` in percent after 200 epochs, each the mean over the
seeds that were trained. The authors' program made them with ``get_more_info(number, dataset,
hp="200", is_random=False)``, for CIFAR-10 with ``cifar10-valid``.

Source: https://github.com/Zhenhan-Huang/NASGraph-Public, ``data/nasbench201_*.csv`` (Apache-2.0).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nprep.errors import TableError
from nprep.spaces.nb201.network import CELLS_PER_STAGE, CHANNELS, DATASETS
from nprep.table.schema import Content
from nprep.table.sources._nb201 import (
    FULL_EPOCHS,
    Trainings,
    check_values,
    number_of,
    to_content,
)

KNOWN_SHA256 = {
    "cifar10": "c82e70b5ffb0dba0f09d88ecc8df5a6d3ce8da8a99ad223285104f4537314033",
    "cifar100": "87a42005d7005fdb5e4a938ed83dd306d907523f23e70af907dfd276dd5fe35d",
    "ImageNet16-120": "f5225573584977b283f473b0ded7fe51ae599a67063b3bd02b18de36b29fcd6b",
}
CSV_CITATION = (
    "Z. Huang et al., Graph is all you need? Lightweight data-agnostic neural architecture search "
    "without training (NASGraph), data/nasbench201_*.csv"
)

_ACCURACIES = {
    "train_accuracy": "train accuracy",
    "validation_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
}
_COLUMNS = ("file id", "arch str", "C", "N", *_ACCURACIES.values())


def _line_values(path: Path, line: int, row: dict[str, str]) -> tuple[int, list[float]]:
    """The official number and the accuracies (0 to 1) of one line."""
    where = f"{path}, line {line}"
    if any(row.get(column) is None for column in _COLUMNS):
        raise TableError(f"{where}: it has too few fields.")
    number = number_of(row["arch str"], where)
    try:
        given = int(row["file id"])
        size = int(row["C"]), int(row["N"])
        accuracies = [float(row[column]) / 100 for column in _ACCURACIES.values()]
    except ValueError as error:
        raise TableError(f"{where}: {error}.") from error
    if given != number:
        raise TableError(
            f"{where}: its file id is {given}, and its architecture is number {number}."
        )
    if size != (CHANNELS, CELLS_PER_STAGE):
        raise TableError(
            f"{where}: it is of networks with C = {size[0]} and N = {size[1]}; NAS-Bench-201 has "
            f"C = {CHANNELS} and N = {CELLS_PER_STAGE}."
        )
    return number, accuracies


def read_csv(path: Path, dataset: str) -> Trainings:
    """Reads the file.

    Args:
        path: The CSV file.
        dataset: A key of ``nprep.spaces.nb201.network.DATASETS``; the file itself does not say.

    Raises:
        TableError: If the file cannot be read or is something else.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror or error}).") from error
    digest = hashlib.sha256(raw).hexdigest()
    other = next((name for name, known in KNOWN_SHA256.items() if known == digest), dataset)
    if other != dataset:
        raise TableError(f"{path} is the file of {other}, not of {dataset}: use --dataset {other}.")
    try:
        reader = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
        columns = reader.fieldnames or []
        missing = [column for column in _COLUMNS if column not in columns]
        if missing:
            raise TableError(
                f"{path} is no table of NAS-Bench-201: it lacks the column {missing[0]!r}."
            )
        lines = [_line_values(path, reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is no CSV file ({error}).") from error
    if not lines:
        raise TableError(f"{path} has no line but its header.")
    found = np.array([number for number, _ in lines], np.int32)
    order = np.argsort(found, kind="stable")
    twice = np.flatnonzero(np.diff(found[order]) == 0)
    if len(twice):
        raise TableError(f"{path}: architecture {found[order][twice[0]]} is there twice.")
    accuracies = np.array([values for _, values in lines], np.float32)[order]
    values = {name: accuracies[:, [k]] for k, name in enumerate(_ACCURACIES)}
    for name, array in values.items():
        if np.isnan(array).any():
            row = int(np.flatnonzero(np.isnan(array))[0])
            raise TableError(f"{path}: architecture {found[order][row]} has no {name}.")
        wrong = np.flatnonzero((array < 0) | (array > 1))
        if len(wrong):
            check_values(path, {name: array}, found[order][wrong[0]])
    return Trainings(
        dataset,
        found[order],
        (FULL_EPOCHS,),
        (),
        values,
        {
            "file": path.name,
            "sha256": digest,
            "known_file": str(KNOWN_SHA256.get(dataset) == digest),
            "file_citation": CSV_CITATION,
        },
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument("input", type=Path, help="nasbench201_cifar10.csv, or one of its form")
    parser.add_argument(
        "--dataset", choices=list(DATASETS), required=True, help="what the networks were trained on"
    )


VIEWS = {
    "mean": "mean validation and test accuracy over the seeds measured; no training times",
}


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Reads the file.

    Raises:
        TableError: If the file is not what it should be.
    """
    progress(f"reading {arguments.input}")
    return to_content("nb201-csv", read_csv(arguments.input, arguments.dataset), VIEWS)
