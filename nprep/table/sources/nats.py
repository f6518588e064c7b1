"""NATS-Bench's folder ``NATS-tss-v1_0-3ffb9-simple``: all trainings of NAS-Bench-201.

``meta.pickle.pbz2`` lists the architectures; ``000000.pickle.pbz2`` and so on hold one each: by
number of epochs ("12", "200"), by dataset and seed, accuracies and losses of every epoch and times
estimated by the authors from one machine. Files are read one by one, several at a time, by
``nprep.table.sources._unpickle``, which runs nothing that a pickle names.

Source: https://github.com/D-X-Y/NATS-Bench, ``ArchResults`` and ``ResultsCount``.
"""

from __future__ import annotations

import argparse
import bz2
import hashlib
import io
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep._console import cores
from nprep.errors import TableError
from nprep.spaces.nb201.network import DATASETS
from nprep.spaces.nb201.strings import SIZE
from nprep.table.schema import Content
from nprep.table.sources._nb201 import Trainings, check_values, number_of, to_content
from nprep.table.sources._unpickle import NUMPY_NAMES, Inert, load_inert, to_array

SUFFIX = ".pickle.pbz2"
BUDGETS = (12, 200)
# Every seed that the authors used; "111" and "777" for 12 epochs, "777" to "999" for 200.
SEEDS = (111, 777, 888, 999)

_ADMITTED = NUMPY_NAMES | {"collections.OrderedDict"}
# A record unpacks to about 330 kB, the list of architectures to 2 MB.
_MAX_BYTES = 64 << 20
_FILES_AT_ONCE = 64

# For each dataset of a table: the name of its networks, of its validation and of its test images.
_SETS = {
    "cifar10": ("cifar10-valid", "x-valid", "ori-test"),
    "cifar100": ("cifar100", "x-valid", "x-test"),
    "ImageNet16-120": ("ImageNet16-120", "x-valid", "x-test"),
}
# Networks trained on all of CIFAR-10's training images have no validation images, but a test.
_ALL_IMAGES = ("cifar10", None, "ori-test")

METRICS = (
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "train_loss",
    "validation_loss",
    "test_loss",
    "training_seconds",
    "validation_seconds",
    "test_seconds",
    "latency_seconds",
)


@dataclass(frozen=True)
class ArchitectureRecord:
    """One architecture's trainings.

    Attributes:
        number: Its official number.
        values: (10, 2, 4) float32 [metric, budget, seed]; NaN where missing.
        sha256: Of the file, as bytes.
    """

    number: int
    values: NDArray[np.float32]
    sha256: bytes


def _load(path: Path) -> tuple[Any, bytes]:
    """The pickle in a file and the file's SHA-256."""
    try:
        raw = path.read_bytes()
        decompressor = bz2.BZ2Decompressor()
        data = decompressor.decompress(raw, _MAX_BYTES)
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror or error}).") from error
    except EOFError as error:
        raise TableError(f"{path}: the file is cut off or damaged ({error}).") from error
    if not decompressor.eof:
        what = "larger than any such file" if len(data) == _MAX_BYTES else "cut off"
        raise TableError(f"{path}: the file is {what}: get it again.")
    return load_inert(io.BytesIO(data), path, _ADMITTED), hashlib.sha256(raw).digest()


def _number(value: Any) -> float:
    """A number, plain or of NumPy; NaN for None."""
    if value is None:
        return float("nan")
    if isinstance(value, Inert):
        return float(to_array(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _entry(values: Any, key: object) -> float:
    """One entry of a dict of numbers; NaN where the dict or the entry is missing."""
    if values is None:
        return float("nan")
    if not isinstance(values, Mapping):
        raise ValueError(f"a {type(values).__name__} is where a dict should be")
    return _number(values.get(key))


def _total(values: Any, keys: list[Any]) -> float:
    """The sum of entries; NaN where one is missing."""
    return float(sum(_entry(values, key) for key in keys))


def _result_values(result: Mapping[str, Any], valid: str | None, test: str | None) -> list[float]:
    """The metrics of one training, in the order of ``METRICS``."""
    epochs = result["epochs"]
    if not isinstance(epochs, int) or not 1 <= epochs <= 1000:
        raise ValueError(f"a training has {epochs!r} epochs")
    last = epochs - 1

    def evaluated(kind: str, name: str | None) -> float:
        return float("nan") if name is None else _entry(result[kind], f"{name}@{last}")

    return [
        _entry(result["train_acc1es"], last) / 100,
        evaluated("eval_acc1es", valid) / 100,
        evaluated("eval_acc1es", test) / 100,
        _entry(result["train_losses"], last),
        evaluated("eval_losses", valid),
        evaluated("eval_losses", test),
        _total(result["train_times"], list(range(epochs))),
        evaluated("eval_times", valid),
        evaluated("eval_times", test),
        _latency(result),
    ]


def read_record(path: Path, dataset: str, test_of: str = "same") -> ArchitectureRecord:
    """Reads the file of one architecture.

    Args:
        path: The file.
        dataset: "cifar10", "cifar100" or "ImageNet16-120".
        test_of: "same": the test accuracy of the networks that were validated; "all-images": for
            CIFAR-10, of networks trained on all training images instead.

    Raises:
        TableError: If the file is something else.
    """
    content, digest = _load(path)
    networks, valid, test = _SETS[dataset]
    try:
        values = np.full((len(METRICS), len(BUDGETS), len(SEEDS)), np.nan, np.float32)
        number = -1
        for k, budget in enumerate(BUDGETS):
            results = content.get(str(budget))
            if results is None:
                continue
            number = number_of(results["arch_str"], str(path))
            trained = results["all_results"]
            for r, seed in enumerate(SEEDS):
                result = trained.get((networks, seed))
                if result is not None:
                    own = None if test_of == "all-images" else test
                    values[:, k, r] = _result_values(result, valid, own)
                full = trained.get((_ALL_IMAGES[0], seed))
                if test_of == "all-images" and full is not None:
                    of_full = _result_values(full, None, _ALL_IMAGES[2])
                    for metric in ("test_accuracy", "test_loss", "test_seconds"):
                        place = METRICS.index(metric)
                        values[place, k, r] = of_full[place]
    except TableError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TableError(
            f"{path} is no file of one architecture of NATS-Bench ({error!r}): name the folder "
            "NATS-tss-v1_0-3ffb9-simple."
        ) from error
    if number < 0:
        raise TableError(f"{path} has no training of {' or '.join(map(str, BUDGETS))} epochs.")
    check_values(path, dict(zip(METRICS, values, strict=True)), number)
    return ArchitectureRecord(number, values, digest)


def _latency(result: Mapping[str, Any]) -> float:
    """The mean of the latencies measured with one training; NaN where there are none."""
    measured = result.get("latency")
    if not isinstance(measured, list) or not measured:
        return float("nan")
    mean = float(np.mean([_number(value) for value in measured]))
    # The authors write -1 where nothing was measured.
    return mean if mean > 0 else float("nan")


def record_files(folder: Path) -> list[Path]:
    """The files of architectures in a folder, by number.

    Raises:
        TableError: If the folder cannot be read or has none.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise TableError(f"{folder} cannot be read ({error.strerror or error}).") from error
    found = {
        int(match[1]): folder / name
        for name in names
        if (match := re.fullmatch(r"(\d{1,6})" + re.escape(SUFFIX), name))
    }
    if not found:
        raise TableError(
            f"{folder} has no file such as 000000{SUFFIX}: name the folder "
            "NATS-tss-v1_0-3ffb9-simple."
        )
    if max(found) >= SIZE:
        raise TableError(
            f"{folder} has an architecture {max(found)}, so it is not of the topology space "
            f"(tss), which ends at {SIZE - 1}."
        )
    return [found[number] for number in sorted(found)]


def read_folder(
    folder: Path,
    dataset: str,
    test_of: str = "same",
    progress: Callable[[str], None] | None = None,
    processes: int = 1,
) -> Trainings:
    """Reads all architectures of a folder.

    Args:
        folder: ``NATS-tss-v1_0-*-simple``.
        dataset: "cifar10", "cifar100" or "ImageNet16-120".
        test_of: See ``read_record``.
        progress: Takes a line of text now and then.
        processes: How many files are read at a time.

    Raises:
        TableError: If a file is something else, or an architecture is there twice.
    """
    files = record_files(folder)
    read = partial(read_record, dataset=dataset, test_of=test_of)
    records: list[ArchitectureRecord] = []
    tell = progress or (lambda text: None)

    def collect(part: Any) -> None:
        for record in part:
            records.append(record)
            if len(records) % 2000 == 0 or len(records) == len(files):
                tell(f"{len(records):,} of {len(files):,} architectures")

    if processes > 1 and len(files) > _FILES_AT_ONCE:
        with ProcessPoolExecutor(processes) as pool:
            collect(pool.map(read, files, chunksize=_FILES_AT_ONCE))
    else:
        collect(map(read, files))
    whole = hashlib.sha256()
    for path, record in zip(files, records, strict=True):
        if int(path.name.removesuffix(SUFFIX)) != record.number:
            raise TableError(f"{path} holds architecture {record.number}: get the folder again.")
        whole.update(record.sha256)
    stacked = np.stack([record.values for record in records])
    return Trainings(
        dataset,
        np.array([record.number for record in records], np.int32),
        BUDGETS,
        tuple(f"seed {seed}" for seed in SEEDS),
        {name: np.ascontiguousarray(stacked[:, k]) for k, name in enumerate(METRICS)},
        {
            "file": folder.name,
            "files": len(files),
            "sha256": whole.hexdigest(),
            "sha256_of": "the SHA-256 digests of the files in order",
            "test_of": test_of,
        },
    )


VIEWS = {
    "runs": "every seed measured: validation and test accuracy and training time, 200 epochs",
    "search-12": (
        "the search sees trainings of 12 epochs and pays for them, test accuracy is after 200; "
        "every seed measured"
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument("input", type=Path, help="the folder NATS-tss-v1_0-3ffb9-simple")
    parser.add_argument(
        "--dataset", choices=list(DATASETS), required=True, help="what the networks were trained on"
    )
    parser.add_argument(
        "--test",
        choices=("same", "all-images"),
        default="same",
        help="whose test accuracy: of the networks that were validated, or for CIFAR-10 of "
        "networks trained on all training images, as the paper reports (default: same)",
    )


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Reads the folder.

    Raises:
        TableError: If the folder is not what it should be.
    """
    if arguments.test == "all-images" and arguments.dataset != "cifar10":
        raise TableError(
            f"--test all-images is for cifar10; {arguments.dataset} has one kind of networks."
        )
    progress(f"reading {arguments.input}")
    trainings = read_folder(
        arguments.input, arguments.dataset, arguments.test, progress, processes=cores()
    )
    return to_content("nats", trainings, VIEWS, {"search_budgets": '{"search-12": 12}'})
