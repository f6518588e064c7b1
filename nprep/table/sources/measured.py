"""The joined public measurements, ``measured.npz``.

They hold the mean test accuracy of every cell; three repeats of 23,142 cells at every budget; one
repeat of 20,001 cells with its training time; the mean of three validation runs of 1,507 cells; and
535 single runs. Wherever both are known, the repeat with a training time is the one with the best
validation accuracy of the three at 108 epochs, and so the model takes it. Every one of these values
is in the table as it was measured: means as means, runs as runs. The runs that are missing are
drawn so that they agree; one that follows from two runs and the mean is derived.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep._files import ARCHIVE_ERRORS
from nprep.errors import TableError
from nprep.model.known_runs import IMAGES, Known
from nprep.spaces.nb101.cells import enumerate_space, trainable_parameters
from nprep.spaces.nb101.facts import BUDGETS, CITATION, REPEATS, SPACE_SIZE
from nprep.spaces.nb101.space import NB101
from nprep.table.schema import Content, Metric, Provenance
from nprep.table.sources._complete import (
    FINAL,
    add_draw_arguments,
    check_draw_arguments,
    condition_note,
    draw_all,
    draw_attributes,
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
    "mean_rows": (None,),
    "mean_validation_correct_sum3": (None,),
    "run_rows": (None,),
    "run_validation_correct": (None,),
}

_MEASURED_VIEW = (
    "NASBench-101, {cells:,} cells with three measured repeats: validation and test measured, "
    "training time modelled"
)
_COMPLETED_VIEW = (
    "NASBench-101, all {cells:,} cells: mean test accuracy measured; validation measured for three "
    "repeats of {triples:,} cells, the best of three of {singles:,} more, the mean of three of "
    "{means:,} more and single repeats of {runs:,} more, else modelled; training time modelled"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument("input", type=Path, help="measured.npz")
    add_draw_arguments(parser)


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """The arrays of the file and its SHA-256.

    Raises:
        TableError: If it cannot be read or is something else.
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
        raise TableError(f"{path} cannot be read ({error.strerror or error}).") from error
    except ARCHIVE_ERRORS as error:
        raise TableError(
            f"{path} is not the measured table, or it is damaged ({error}): get measured.npz again."
        ) from error
    for name, shape in _SHAPES.items():
        rows = {kind: len(arrays[f"{kind}_rows"]) for kind in ("single", "repeat", "mean", "run")}
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
    for name in ("mean_rows", "run_rows"):
        rows = arrays[name]
        unique = name == "run_rows" or len(np.unique(rows)) == len(rows)
        if rows.size and not (rows.min() >= 0 and rows.max() < SPACE_SIZE and unique):
            raise TableError(f"{path}: its array {name} does not hold rows of the space.")
    for name, most in (
        ("mean_validation_correct_sum3", 3 * IMAGES),
        ("run_validation_correct", IMAGES),
    ):
        if ((arrays[name] < 0) | (arrays[name] > most)).any():
            raise TableError(f"{path}: its array {name} has values outside 0 to {most}.")
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


def known_validation(arrays: dict[str, NDArray[Any]]) -> Known:
    """What was measured of the validation of every cell after 108 epochs."""
    known = Known.nothing(SPACE_SIZE)
    final = arrays["single_validation_accuracy"][:, FINAL]
    known.best[arrays["single_rows"]] = np.rint(final.astype(np.float64) * IMAGES)
    known.total[arrays["mean_rows"]] = arrays["mean_validation_correct_sum3"]
    for row, images in zip(arrays["run_rows"], arrays["run_validation_correct"], strict=True):
        free = np.flatnonzero(known.runs[row] < 0)
        if len(free):
            known.runs[row, free[0]] = images
    return known


def _with_triples(known: Known, arrays: dict[str, NDArray[Any]]) -> Known:
    """The same, and the three repeats where all are measured."""
    runs = known.runs.copy()
    three = np.rint(arrays["repeat_validation_accuracy"][:, FINAL].astype(np.float64) * IMAGES)
    runs[arrays["repeat_rows"]] = -np.sort(-three, axis=1)
    return known._replace(runs=runs)


def _check_agreement(path: Path, arrays: dict[str, NDArray[Any]], known: Known) -> None:
    """What is known of one cell from two arrays must agree.

    Raises:
        TableError: If it does not.
    """
    rows = arrays["repeat_rows"]
    runs = np.rint(arrays["repeat_validation_accuracy"][:, FINAL].astype(np.float64) * IMAGES)
    total, best, some = known.total[rows], known.best[rows], known.runs[rows]
    wrong = ((total >= 0) & (total != runs.sum(axis=1))) | (
        (best >= 0) & (best != runs.max(axis=1))
    )
    wrong |= ((some >= 0) & (some[:, :, None] != runs[:, None, :]).all(axis=2)).any(axis=1)
    above = (known.best >= 0) & (known.runs.max(axis=1) > known.best)
    for where in (rows[wrong], np.flatnonzero(above)):
        if len(where):
            raise TableError(f"{path}: the validation accuracies of row {where[0]} contradict.")


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


def _mark_runs(validation: Metric, drawn: NDArray[np.int32], known: Known) -> int:
    """Says of the drawn runs which are measured ones, and which follow from what is measured.

    Args:
        validation: With triples and singles in place.
        drawn: (N, 3) correct images, which agree with what is known.
        known: What is measured.

    Returns:
        The number of cells of which nothing else is known.
    """
    codes = validation.provenance[:, FINAL]
    new = 0
    for row in np.flatnonzero((known.runs[:, 0] >= 0) | (known.total >= 0)):
        if (codes[row] == Provenance.MEASURED).all():
            continue
        new += known.total[row] < 0 and known.best[row] < 0
        for images in known.runs[row][known.runs[row] >= 0]:
            same = drawn[row] == images
            # A run may be the best one, which is marked already.
            if not (same & (codes[row] == Provenance.MEASURED)).any():
                codes[row, np.flatnonzero(same)[0]] = Provenance.MEASURED
        open_ = codes[row] != Provenance.MEASURED
        if known.total[row] >= 0 and open_.sum() == 1:
            codes[row, open_] = Provenance.DERIVED
    return int(new)


def _measured_means(known: Known) -> Metric:
    """The means over three repeats that are known as such."""
    means = np.full((SPACE_SIZE, len(BUDGETS)), np.nan, np.float32)
    there = known.total >= 0
    means[there, FINAL] = known.total[there] / (3 * IMAGES)
    return Metric.measured(means)


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Reads the measurements and models what they lack.

    Raises:
        TableError: If the file is not what it should be.
    """
    path: Path = arguments.input
    check_draw_arguments(arguments)
    progress(f"reading {path}")
    arrays, digest = _read(path)
    known = known_validation(arrays)
    _check_agreement(path, arrays, known)
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
    progress("modelling what was not measured")
    total = arrays["test_correct_108_sum3"]
    facts = _with_triples(known, arrays)
    drawn = draw_all(cells, parameters, total, facts, arguments.build_seed, arguments.condition)
    metrics = modelled_metrics(drawn)
    for name in ("validation", "test"):
        metric = metrics[f"{name}_accuracy"]
        measured = Metric.measured(arrays[f"repeat_{name}_accuracy"])
        metric.values[triple_rows] = measured.values
        metric.provenance[triple_rows] = measured.provenance
    validation = metrics["validation_accuracy"]
    _place_singles(validation, metrics["training_seconds"], arrays, triple)
    runs = _mark_runs(validation, drawn.validation, known)
    singles = int((~triple[single_rows]).sum())
    means = int(((known.total >= 0) & ~triple & (known.best < 0)).sum())
    complete = (validation.provenance[:, FINAL] == Provenance.MEASURED).all(axis=1)
    return Content(
        source="measured",
        space=NB101,
        budgets=BUDGETS,
        repeats=REPEATS,
        cells=cells,
        facts={"module_hash": hashes, "trainable_parameters": parameters},
        metrics={("final", name): metric for name, metric in metrics.items()},
        means={
            ("final", "test_accuracy"): measured_test_means(total),
            ("final", "validation_accuracy"): _measured_means(known),
        },
        views={
            "measured": _MEASURED_VIEW.format(cells=int(complete.sum())),
            "completed": _COMPLETED_VIEW.format(
                cells=SPACE_SIZE, triples=len(triple_rows), singles=singles, means=means, runs=runs
            )
            + condition_note(arguments.condition),
        },
        sources={
            "measured": {
                "file": path.name,
                "sha256": digest,
                "citation": CITATION,
                "measured": "mean test accuracy of all cells at 108 epochs; validation: three "
                f"repeats of {len(triple_rows)} cells, the best of three of {singles} more, the "
                f"mean of three of {means} more, single repeats of {runs} more",
            },
            "completion": {
                "file": "nprep/data/completion.npz",
                "citation": "fitted by data/fit/fit_completion.py",
                **draw_attributes(arguments),
            },
        },
        attributes=draw_attributes(arguments),
    )
