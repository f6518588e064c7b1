"""The joined public measurements, ``measured.npz``.

They hold the mean test accuracy of every cell, three repeats of 23,142 cells at every budget, and
one repeat of 20,001 cells with its training time. Wherever both are known, that one repeat is the
one with the best validation accuracy of the three at 108 epochs, and so the model takes it: it
stays in the table as a measured value of one repeat, and the other two are drawn below it.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.model.draws import IMAGES
from nprep.spaces.nb101.cells import enumerate_space, trainable_parameters
from nprep.spaces.nb101.facts import BUDGETS, CITATION, REPEATS, SPACE_SIZE
from nprep.spaces.nb101.space import NB101
from nprep.table.schema import Content, Metric, Provenance
from nprep.table.sources._complete import (
    FINAL,
    draw_all,
    measured_test_means,
    modelled_metrics,
)

_SHAPES: dict[str, tuple[int | None, ...]] = {
    "module_hash": (SPACE_SIZE, 16),
    "trainable_parameters": (SPACE_SIZE,),
    "test_correct_108_sum3": (SPACE_SIZE,),
    "single_rows": (None,),
    "single_validation_accuracy": (None, len(BUDGETS)),
    "single_training_seconds_108": (None,),
    "repeat_rows": (None,),
    "repeat_validation_accuracy": (None, len(BUDGETS), 3),
    "repeat_test_accuracy": (None, len(BUDGETS), 3),
}

_MEASURED_VIEW = (
    "NASBench-101, {cells:,} cells with three measured repeats: validation and test measured, "
    "training time modelled"
)
_COMPLETED_VIEW = (
    "NASBench-101, all {cells:,} cells: mean test accuracy measured; validation measured for three "
    "repeats of {triples:,} cells and one of {singles:,}, else modelled; training time modelled"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument("input", type=Path, help="measured.npz")
    parser.add_argument(
        "--build-seed", type=int, default=0, help="seed of the modelled values (default: 0)"
    )


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """The arrays of the file and its SHA-256.

    Raises:
        TableError: If it can't be read or is something else.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        # Opened here, for numpy leaves a damaged file open.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is no .npz archive")
            missing = sorted(set(_SHAPES) - set(archive.files))
            if missing:
                raise ValueError(f"it lacks the array {missing[0]}")
            arrays = {name: archive[name] for name in _SHAPES}
    except OSError as error:
        raise TableError(f"{path} can't be read ({error.strerror or error}).") from error
    except (ValueError, EOFError, TypeError, zlib.error, zipfile.BadZipFile, KeyError) as error:
        raise TableError(
            f"{path} is not the measured table, or it is damaged ({error}): get measured.npz again."
        ) from error
    for name, shape in _SHAPES.items():
        rows = {"single": len(arrays["single_rows"]), "repeat": len(arrays["repeat_rows"])}
        wanted = tuple(rows[name.split("_")[0]] if n is None else n for n in shape)
        if arrays[name].shape != wanted:
            raise TableError(f"{path}: its array {name} is {arrays[name].shape}, not {wanted}.")
    _check_values(path, arrays)
    return arrays, digest


def _check_values(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    for name in ("single_rows", "repeat_rows"):
        rows = arrays[name]
        if rows.size and not (rows[0] >= 0 and rows[-1] < SPACE_SIZE and (np.diff(rows) > 0).all()):
            raise TableError(f"{path}: its array {name} does not hold ascending rows of the space.")
    total = arrays["test_correct_108_sum3"]
    if (total < 0).any() or (total > 3 * IMAGES).any():
        row = int(np.flatnonzero((total < 0) | (total > 3 * IMAGES))[0])
        raise TableError(f"{path}: the test accuracy of row {row} is outside 0 to 1.")
    for name in (
        "single_validation_accuracy",
        "repeat_validation_accuracy",
        "repeat_test_accuracy",
    ):
        wrong = (arrays[name] < 0) | (arrays[name] > 1)
        if wrong.any():
            row = int(np.argwhere(wrong)[0, 0])
            raise TableError(f"{path}: {name}[{row}] is outside 0 to 1.")


def _place_singles(
    validation: Metric, seconds: Metric, arrays: dict[str, NDArray[Any]], triple: NDArray[np.bool_]
) -> None:
    """Puts the single measured repeats among those of their cells.

    Args:
        validation: With the triples in place, and the best repeat equal to the measured one
            elsewhere.
        seconds: All modelled.
        arrays: The measurements.
        triple: (N,) whether all three repeats are measured.
    """
    rows = arrays["single_rows"]
    final = arrays["single_validation_accuracy"][:, FINAL]
    # Equal repeats differ in nothing: any of them may be called the measured one.
    repeat = np.abs(validation.values[rows, FINAL] - final[:, None]).argmin(axis=1)
    new = ~triple[rows]
    for k in range(len(BUDGETS)):
        at = (rows[new], k, repeat[new])
        values = arrays["single_validation_accuracy"][new, k]
        validation.values[at] = values
        validation.provenance[at] = np.where(
            np.isnan(values), Provenance.MISSING, Provenance.MEASURED
        )
    seconds.values[rows, FINAL, repeat] = arrays["single_training_seconds_108"]
    seconds.provenance[rows, FINAL, repeat] = Provenance.MEASURED


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Reads the measurements and models what they lack.

    Raises:
        TableError: If the file is not what it should be.
    """
    path: Path = arguments.input
    if arguments.build_seed < 0:
        raise TableError(f"--build-seed is {arguments.build_seed}: give a number from 0 on.")
    progress(f"reading {path}")
    arrays, digest = _read(path)
    progress("enumerating the space")
    cells, hashes = enumerate_space()
    parameters = trainable_parameters(cells)
    for name, computed in (("module_hash", hashes), ("trainable_parameters", parameters)):
        wrong = arrays[name] != computed
        if wrong.any():
            row = int(np.argwhere(wrong)[0, 0])
            raise TableError(f"{path}: the {name} of row {row} is not that of the space's cell.")
    triple_rows, single_rows = arrays["repeat_rows"], arrays["single_rows"]
    triple = np.zeros(SPACE_SIZE, np.bool_)
    triple[triple_rows] = True
    best = np.full(SPACE_SIZE, -1, np.int64)
    final = arrays["single_validation_accuracy"][:, FINAL]
    best[single_rows] = np.rint(final.astype(np.float64) * IMAGES)
    progress("modelling what was not measured")
    total = arrays["test_correct_108_sum3"]
    drawn = draw_all(cells, parameters, total, best, arguments.build_seed)
    metrics = modelled_metrics(drawn)
    for name in ("validation", "test"):
        metric = metrics[f"{name}_accuracy"]
        measured = Metric.measured(arrays[f"repeat_{name}_accuracy"])
        metric.values[triple_rows] = measured.values
        metric.provenance[triple_rows] = measured.provenance
    _place_singles(metrics["validation_accuracy"], metrics["training_seconds"], arrays, triple)
    singles = int((~triple[single_rows]).sum())
    return Content(
        source="measured",
        space=NB101,
        budgets=BUDGETS,
        repeats=REPEATS,
        cells=cells,
        facts={"module_hash": hashes, "trainable_parameters": parameters},
        metrics={("final", name): metric for name, metric in metrics.items()},
        means={("final", "test_accuracy"): measured_test_means(total)},
        views={
            "measured": _MEASURED_VIEW.format(cells=len(triple_rows)),
            "completed": _COMPLETED_VIEW.format(
                cells=SPACE_SIZE, triples=len(triple_rows), singles=singles
            ),
        },
        sources={
            "measured": {
                "file": path.name,
                "sha256": digest,
                "citation": CITATION,
                "measured": "mean test accuracy of all cells at 108 epochs; three repeats of "
                f"{len(triple_rows)} cells; the best of three repeats of {singles} more",
            },
            "completion": {
                "file": "nprep/data/completion.npz",
                "citation": "fitted by data/fit/fit_completion.py",
                "build_seed": arguments.build_seed,
            },
        },
        attributes={"build_seed": arguments.build_seed},
    )
