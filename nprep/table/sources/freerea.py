"""Real test accuracies of every cell, from the public file of FreeREA.

``accuracies.pkl.gz`` is a pickled data frame: column ``accuracy``, the mean of the three final test
accuracies, one row for each cell in the order of the official file, which is the order of the
module hashes. It names no cells, so the join rests on that order, and is checked: the count, the
grid of the values (a mean of three runs is a multiple of 1/29952), and the published optimum.

Source: https://github.com/NiccoloCavagnero/FreeREA, ``cached_metrics/nasbench101/cifar10`` (MIT).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.spaces.nb101 import facts
from nprep.spaces.nb101.cells import enumerate_space, format_hashes, trainable_parameters
from nprep.spaces.nb101.facts import BUDGETS, REPEATS, SPACE_SIZE
from nprep.spaces.nb101.space import NB101
from nprep.table.schema import Content
from nprep.table.sources._complete import (
    add_draw_arguments,
    check_draw_arguments,
    condition_note,
    draw_all,
    draw_attributes,
    measured_test_means,
    modelled_metrics,
)
from nprep.table.sources._unpickle import NUMPY_NAMES, Inert, load_inert, to_array

KNOWN_SHA256 = "84bcca117040f6f499e81743baee1ffaa3865f014bc7489fb1833dc06905f55e"
CITATION = (
    "N. Cavagnero, L. Robbiano, B. Caputo, G. Averta, FreeREA: Training-Free Evolution-based "
    "Architecture Search, WACV 2023 (test accuracies of NAS-Bench-101)"
)

# A run's test accuracy is a number of images out of 9,984; a mean of three is out of 29,952.
MEAN_IMAGES = 3 * 9_984
OPTIMUM = 28_250  # Of them: 94.317575 %, the published best mean.
OPTIMUM_HASH = "02e5a0247bbdcf2860b7e96f74961594"

# The file unpacks to 7 MB.
_MAX_BYTES = 256 << 20

_VIEW = (
    "NASBench-101, all {cells:,} cells: mean test accuracy measured; validation and training time "
    "modelled"
)

_FRAME = "pandas.core.frame.DataFrame"
_MANAGER = "pandas.core.internals.managers.BlockManager"
_NEW_BLOCK = "pandas.core.internals.blocks.new_block"
_PARTIAL = "functools.partial"
_SLICE = "builtins.slice"
_UNPICKLE_BLOCK = "pandas._libs.internals._unpickle_block"
_NEW_INDEX = "pandas.core.indexes.base._new_Index"
_ADMITTED = NUMPY_NAMES | {
    _FRAME,
    _MANAGER,
    _NEW_BLOCK,
    _PARTIAL,
    _SLICE,
    _UNPICKLE_BLOCK,
    _NEW_INDEX,
    "pandas.core.indexes.base.Index",
    "pandas.core.indexes.range.RangeIndex",
}


@dataclass(frozen=True)
class TestMeans:
    """The test accuracies of all cells.

    Attributes:
        correct: (N,) int32; correct test images of three runs together, out of 29,952.
        sha256: Of the file.
        known: Whether that is the digest of the file that this module was written for.
    """

    correct: NDArray[np.int32]
    sha256: str
    known: bool


def _is(value: Any, name: str) -> bool:
    return isinstance(value, Inert) and value.name == name


def _block(value: Any) -> tuple[NDArray[Any], range]:
    """Values (columns, rows) and the places of the columns of one block of a data frame."""
    if not isinstance(value, Inert):
        raise ValueError("a block of the data frame is missing")
    if _is(value, _UNPICKLE_BLOCK):
        data, where = value.args[0], value.args[1]
    else:
        # The result of calling partial(new_block, ndim=2) with values and a slice.
        function, data, where = value.args
        if not (_is(function, _PARTIAL) and getattr(function.args[0], "name", "") == _NEW_BLOCK):
            raise ValueError("a block of the data frame was made in an unknown way")
    if not _is(where, _SLICE):
        raise ValueError("the columns of a block are not contiguous")
    values = to_array(data)
    start, stop, step = where.args
    places = range(int(start), int(stop), int(step))
    if values.ndim != 2 or len(values) != len(places):
        raise ValueError("a block of the data frame has the wrong shape")
    return values, places


def _column_names(value: Any) -> list[str]:
    """The names in a pickled pandas Index of texts."""
    if not _is(value, _NEW_INDEX):
        raise ValueError("the data frame has no column names")
    data = value.args[1]["data"]
    # An object array: its state ends with the list of its items.
    names = data.state[4] if isinstance(data, Inert) and data.state else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the column names are no texts")
    return names


def frame_columns(frame: Any) -> dict[str, NDArray[Any]]:
    """The numeric columns of a pickled pandas data frame, without pandas.

    Args:
        frame: From ``nprep.table.sources._unpickle.load_inert``.

    Returns:
        Name to (N,) array.

    Raises:
        ValueError: It is no data frame, or one of another version of pandas.
    """
    try:
        if not _is(frame, _FRAME):
            raise ValueError("it is no data frame")
        manager = frame.state["_mgr"]
        if not _is(manager, _MANAGER):
            raise ValueError("the data frame has no block manager")
        blocks, axes = manager.args
        names = _column_names(axes[0])
        columns = {}
        for block in blocks:
            values, places = _block(block)
            for row, place in zip(values, places, strict=True):
                columns[names[place]] = row
        return columns
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"the data frame is incomplete ({error!r})") from error


def _read_bytes(path: Path) -> tuple[bytes, str]:
    """The unpacked content of a file, gzip or not, and the SHA-256 of the file as it is."""
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror or error}).") from error
    digest = hashlib.sha256(packed).hexdigest()
    if not packed.startswith(b"\x1f\x8b"):
        return packed, digest
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            content = file.read(_MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"{path}: the gzip archive is cut off or damaged ({error}).") from error
    if len(content) > _MAX_BYTES:
        raise TableError(f"{path}: it unpacks to more than {_MAX_BYTES >> 20} MiB: refused.")
    return content, digest


def read_test_means(path: Path, module_hash: NDArray[np.uint8]) -> TestMeans:
    """Reads the file and checks that its order is that of the cells.

    Args:
        path: ``accuracies.pkl.gz``, packed or not.
        module_hash: (N, 16) uint8, ascending: the hashes of all cells of the space.

    Raises:
        TableError: It is another or a damaged file, or its values are not what they must be.
    """
    content, digest = _read_bytes(path)
    frame = load_inert(io.BytesIO(content), path, _ADMITTED)
    try:
        columns = frame_columns(frame)
    except ValueError as error:
        raise TableError(f"{path}: {error}, so this is not FreeREA's file.") from error
    if "accuracy" not in columns or columns["accuracy"].dtype.kind != "f":
        raise TableError(
            f"{path}: the data frame has the columns {', '.join(columns) or 'none'}; one of "
            "numbers, named accuracy, is due."
        )
    accuracy = columns["accuracy"].astype(np.float64)
    if len(accuracy) != SPACE_SIZE or len(module_hash) != SPACE_SIZE:
        raise TableError(f"{path}: it has {len(accuracy)} rows; the space has {SPACE_SIZE} cells.")
    if not (np.isfinite(accuracy).all() and accuracy.min() >= 0 and accuracy.max() <= 1):
        raise TableError(f"{path}: it holds accuracies outside 0 to 1.")
    correct = np.rint(accuracy * MEAN_IMAGES).astype(np.int32)
    off = np.abs(accuracy * MEAN_IMAGES - correct)
    # Means of single-precision accuracies are off the grid by up to 0.0009.
    if off.max() > 0.01:
        row = int(off.argmax())
        raise TableError(
            f"{path}: row {row} is {accuracy[row]}, which is no multiple of 1/{MEAN_IMAGES}: these "
            "are not means of three runs of NASBench-101."
        )
    best = int(correct.argmax())
    name = format_hashes(module_hash[best][None])[0]
    if name != OPTIMUM_HASH or correct[best] != OPTIMUM:
        raise TableError(
            f"{path}: the best row is {best} ({name}) with {correct[best]}/{MEAN_IMAGES}; it must "
            f"be {OPTIMUM_HASH} with {OPTIMUM}: the rows are not in the order of the hashes."
        )
    return TestMeans(correct, digest, digest == KNOWN_SHA256)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument("input", type=Path, help="accuracies.pkl.gz of FreeREA")
    add_draw_arguments(parser)


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Reads the test means and models what they lack.

    Raises:
        TableError: If the file is not what it should be.
    """
    check_draw_arguments(arguments)
    progress("enumerating the space")
    cells, hashes = enumerate_space()
    parameters = trainable_parameters(cells)
    progress(f"reading {arguments.input}")
    means = read_test_means(arguments.input, hashes)
    if not means.known:
        progress("note: the SHA-256 is not that of the published file; all other checks passed")
    progress("modelling what was not measured")
    drawn = draw_all(
        cells, parameters, means.correct, None, arguments.build_seed, arguments.condition
    )
    return Content(
        source="freerea",
        space=NB101,
        budgets=BUDGETS,
        repeats=REPEATS,
        cells=cells,
        facts={"module_hash": hashes, "trainable_parameters": parameters},
        metrics={("final", name): metric for name, metric in modelled_metrics(drawn).items()},
        means={("final", "test_accuracy"): measured_test_means(means.correct)},
        views={"completed": _VIEW.format(cells=len(cells)) + condition_note(arguments.condition)},
        sources={
            "freerea": {
                "file": arguments.input.name,
                "sha256": means.sha256,
                "citation": f"{CITATION}; {facts.CITATION}",
                "measured": "mean test accuracy of all cells at 108 epochs",
            },
            "completion": {
                "file": "nprep/data/completion.npz",
                "citation": "fitted by data/fit/fit_completion.py",
                **draw_attributes(arguments),
            },
        },
        attributes=draw_attributes(arguments),
    )
