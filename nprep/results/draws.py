"""A run on several draws of the model: how much its numbers differ between them.

The draws lie in the run's folder, each as a run folder of its own. The run itself is draw 0. Trials
of one number have the same seed on every draw, so draws differ by the modelled values alone.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import RunFolderError
from nprep.results.curves import METRICS
from nprep.results.series import Series, read_series
from nprep.runs.files import read_output

FOLDER = "draws"
CURVES_OF_DRAWS = "curves-draws.csv"
_STATISTICS = ("mean_over_draws", "std_between_draws", "least_of_draws", "most_of_draws")


def folder_of(run: Path, number: int) -> Path:
    """The run folder of a draw."""
    return run / FOLDER / f"{number:03d}"


@dataclass(frozen=True)
class Draws:
    """The outputs of a run on its draws; index 0 is the run itself.

    Attributes:
        numbers: Of the draws, ascending from 0.
        summaries: The content of each ``summary.json``, at least "run", "methods" and "needed".
        curves: The curves of each, by method.
    """

    numbers: tuple[int, ...]
    summaries: tuple[dict[str, Any], ...]
    curves: tuple[dict[str, Series], ...]


def read_draws(folder: Path, summary: dict[str, Any], curves: Sequence[Series]) -> Draws | None:
    """The finished draws of a run; None where there is none but the run itself.

    Args:
        folder: The run's folder.
        summary: The content of its ``summary.json``.
        curves: Its curves by samples.

    Raises:
        RunFolderError: If a draw's outputs are damaged, or those of another run.
    """
    numbers, summaries = [0], [summary]
    all_curves = [{series.method: series for series in curves}]
    for path in sorted((folder / FOLDER).glob("[0-9]*")):
        if not path.name.isdigit() or not (path / "summary.json").is_file():
            continue
        content = json.loads(read_output(path, "summary.json"))
        read_output(path, "curves.csv")
        if not _same_run(content["run"], summary["run"]):
            raise RunFolderError(
                f"{path} is no draw of the run in {folder}: its settings differ. Remove it."
            )
        numbers.append(int(path.name))
        summaries.append(content)
        all_curves.append({each.method: each for each in read_series(path / "curves.csv")})
    if len(numbers) == 1:
        return None
    return Draws(tuple(numbers), tuple(summaries), tuple(all_curves))


def _same_run(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two runs differ in nothing but the view's values, the trials and the machines."""
    free = {"view", "trials", "workers", "block"}
    return all(one.get(key) == other.get(key) for key in {*one, *other} - free)


def statistics(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean, sample standard deviation and range over draws; None counts as missed.

    The standard deviation holds what is left of the spread between trials, too.
    """
    known = np.array([value for value in values if value is not None], np.float64)
    return {
        "mean": float(known.mean()) if len(known) else None,
        "std": float(known.std(ddof=1)) if len(known) > 1 else math.nan,
        "least": float(known.min()) if len(known) else None,
        "most": float(known.max()) if len(known) else None,
        "missed": len(values) - len(known),
        "values": list(values),
    }


def draws_json(draws: Draws) -> dict[str, Any]:
    """What ``summary.json`` says under "draws"."""
    first = draws.summaries[0]
    content: dict[str, Any] = {
        "count": len(draws.numbers),
        "numbers": list(draws.numbers),
        "trials": [summary["run"]["trials"] for summary in draws.summaries],
        "view_digests": [summary["run"]["view"]["digest"] for summary in draws.summaries],
        "methods": {},
        "needed": None,
    }
    for name, method in first["methods"].items():
        each = [summary["methods"][name] for summary in draws.summaries]
        content["methods"][name] = {
            "final": _means([entry["final"] for entry in each]),
            "curve": [
                {"samples": row["samples"], **_means([entry["curve"][place] for entry in each])}
                for place, row in enumerate(method["curve"])
            ],
        }
    if all(summary.get("needed") for summary in draws.summaries):
        needed = [summary["needed"] for summary in draws.summaries]
        content["needed"] = {
            "reference": needed[0]["reference"],
            "samples": needed[0]["samples"],
            **{
                metric: {
                    name: {
                        key: statistics([each[metric]["methods"][name][key] for each in needed])
                        for key in ("samples", "paper_ratio", "first_reach_ratio")
                    }
                    for name in needed[0][metric]["methods"]
                }
                for metric in METRICS
            },
        }
    return content


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The statistics over draws of the means in rows of a curve."""
    return {
        f"{metric}_mean": statistics([row[f"{metric}_mean"] for row in rows]) for metric in METRICS
    }


def with_draws(series: Series, draws: Draws | None) -> Series:
    """A curve by samples with the statistics over draws as further columns.

    Args:
        series: Of the run itself.
        draws: None leaves it as it is.
    """
    if draws is None or series.axis != "samples":
        return series
    columns = dict(series.columns)
    for metric in METRICS:
        values = np.array(
            [
                [each.columns[f"{metric}_mean"][each.at(x)] for x in series.x]
                for each in (curves[series.method] for curves in draws.curves)
            ]
        )
        for name, column in zip(
            _STATISTICS,
            (
                values.mean(axis=0),
                values.std(axis=0, ddof=1),
                values.min(axis=0),
                values.max(axis=0),
            ),
            strict=True,
        ):
            columns[f"{metric}_{name}"] = column
    return dataclasses.replace(series, columns=columns)


def draws_csv(draws: Draws) -> bytes:
    """``curves-draws.csv``: statistics over draws of the mean curves, in percent, six decimals."""
    names = [f"{metric}_{name}" for metric in METRICS for name in _STATISTICS]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("method", "samples", "draws", *names))
    for series in draws.curves[0].values():
        full = with_draws(series, draws)
        for place, samples in enumerate(full.samples.tolist()):
            cells = [f"{full.columns[name][place]:.6f}" for name in names]
            writer.writerow((full.method, samples, len(draws.numbers), *cells))
    return text.getvalue().encode()


def with_columns(all_series: Sequence[Series], path: Path) -> tuple[Series, ...]:
    """Curves by samples with the columns of their ``curves-draws.csv``.

    Args:
        all_series: Of ``curves.csv``.
        path: The file; has the same methods and numbers of samples.

    Raises:
        RunFolderError: If it has others, or cannot be read.
    """
    columns: dict[str, dict[str, list[float]]] = {}
    names = [f"{metric}_{name}" for metric in METRICS for name in _STATISTICS]
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                method = columns.setdefault(row["method"], {name: [] for name in names})
                for name in names:
                    method[name].append(float(row[name]))
        return tuple(
            dataclasses.replace(
                series,
                columns={
                    **series.columns,
                    **{name: _as_long(columns[series.method][name], series) for name in names},
                },
            )
            for series in all_series
        )
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}): python -m nprep.replay with --resume writes a run's "
            "outputs again."
        ) from error


def _as_long(values: list[float], series: Series) -> NDArray[np.float64]:
    """A column that has a value for each point of a curve.

    Raises:
        ValueError: If it has another number of them.
    """
    if len(values) != len(series.x):
        raise ValueError(f"{series.method} has {len(values)} rows for {len(series.x)} points")
    return np.array(values, np.float64)
