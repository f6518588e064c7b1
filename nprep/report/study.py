"""The page of a study of real trainings, from the files that the search left in its folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nprep._files import write_file
from nprep.errors import RunFolderError
from nprep.report.html import HtmlTable, Picture, Section, page, paragraph

LEDGER = "ledger.sqlite"
_COLUMNS = {
    "network": "network",
    "stage": "stage",
    "asked_by": "asked for by",
    "epochs": "epochs",
    "seed": "seed",
    "val_top1": "validation top-1",
    "test_top1": "test top-1",
    "proxy_top1": "proxy top-1",
    "predicted": "predicted",
    "parameters": "parameters",
    "train_seconds": "training (s)",
    "status": "status",
}
_PERCENT = ("val_top1", "test_top1", "proxy_top1", "predicted")


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    return (folder / LEDGER).is_file()


def write_study_page(folder: Path, out: Path) -> None:
    """Writes one self-contained page about a study.

    Args:
        folder: Of a finished study.
        out: The page.

    Raises:
        RunFolderError: If the study is not finished, or its files are damaged.
    """
    try:
        summary = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        picture = (folder / "pareto.png").read_bytes()
        sections = [_methods(summary), _trainings(rows, summary), _figure(picture)]
    except FileNotFoundError as error:
        raise RunFolderError(
            f"study {folder} has no {Path(error.filename).name} yet: let its search end first, "
            "with --resume."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"the results in study {folder} cannot be read ({error}): run its search again with "
            "--resume."
        ) from error
    best = _best(summary)
    intro = [paragraph(best)] if best else []
    content = page(
        f"Study {folder.resolve().name}",
        intro,
        sections,
        "All numbers are measured by trainings of this study; predictions are called so.",
    )
    write_file(out, content.encode())


def _best(summary: Mapping[str, Any]) -> str:
    found = [(m["val_top1"], name, m) for name, m in summary["methods"].items() if "val_top1" in m]
    if not found:
        return ""
    value, name, row = max(found, key=lambda item: item[0])
    test = "" if row["test_top1"] is None else f", test top-1 {100 * row['test_top1']:.2f} %"
    return (
        f"The best network of all methods is {row['encoding']}, found by {name}: validation top-1 "
        f"{100 * value:.2f} %{test}."
    )


def _methods(summary: Mapping[str, Any]) -> Section:
    rows = []
    for name, row in summary["methods"].items():
        fitted = row.get("predictor") or {}
        rows.append(
            (
                name,
                str(row["trainings"]),
                str(row["failed"]),
                _number(row.get("val_top1"), percent=True),
                _number(row.get("test_top1"), percent=True),
                _number(fitted.get("tau")),
                _number(row.get("tau_of_chosen")),
                row.get("encoding", ""),
            )
        )
    table = HtmlTable(
        "The best network of each method, in percent. Kendall's tau of its predictor: by nested "
        "cross-validation on the networks that it learned from, and on its last candidates.",
        ("method", "trainings", "failed", "validation top-1", "test top-1", "tau, nested",
         "tau, last candidates", "best network"),
        tuple(rows),
        (7,),
    )  # fmt: skip
    return Section("methods", "Methods", table.to_html())


def _trainings(rows: list[dict[str, str]], summary: Mapping[str, Any]) -> Section:
    both = summary["proxy_and_full"]
    said = paragraph(
        f"{summary['trainings']} trainings, {summary['train_seconds']:.0f} s of training."
    )
    if both is not None:
        said += paragraph(
            f"{both['networks']} networks were trained both ways: the proxy trainings rank them as "
            f"the full ones do with Kendall's tau {both['kendall_tau']:.3f}."
        )
    table = HtmlTable(
        "Every training of the study; accuracies in percent.",
        tuple(_COLUMNS.values()),
        tuple(tuple(_cell(row, name) for name in _COLUMNS) for row in rows),
    )
    return Section("trainings", "Trainings", said + table.to_html())


def _figure(content: bytes) -> Section:
    form = ("image/png", content)
    picture = Picture(
        "pareto",
        form,
        form,
        "Validation accuracy against cost of every network, predicted and trained, and the "
        "frontier of each method.",
        "Networks by cost and validation accuracy: predicted ones in grey, trained ones by method; "
        "steps join the networks that no other of the method beats in both.",
        dict,
    )
    return Section("cost", "Accuracy and cost", picture.to_html(), (picture,))


def _cell(row: Mapping[str, str], name: str) -> str:
    value = row[name]
    return _number(float(value), percent=True) if value and name in _PERCENT else value


def _number(value: float | None, percent: bool = False) -> str:
    if value is None:
        return ""
    return f"{100 * value:.2f}" if percent else f"{value:.3f}"
