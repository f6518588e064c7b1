"""A finished run, as the report, the plots and a notebook read it.

Everything here reads; nothing writes into a run's folder.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nprep.errors import RunFolderError, TableError
from nprep.results.curves import Curves, curves_of
from nprep.results.draws import CURVES_OF_DRAWS, with_columns
from nprep.results.json_files import damaged, read_json
from nprep.results.series import Series, read_series
from nprep.results.trials import StoredTrials
from nprep.runs.blocks import Results, run_digest
from nprep.runs.draws import source_of
from nprep.runs.files import SETTINGS, SUMS, read_output
from nprep.runs.predictions import read_predictions
from nprep.runs.protocols import in_words, label, with_rules
from nprep.runs.settings import view_digest
from nprep.search.rules import ReplayProtocol
from nprep.search.trace import Predictions
from nprep.table.view import View

CURVES = "curves.csv"
TIMED = "curves-seconds.csv"
CLOCK = "clock.csv"
QUALITY = "quality.json"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Run:
    """What a finished run left in its folder, the trials apart.

    Attributes:
        folder: The folder, or that of a lone ``curves.csv``.
        content: Of ``settings.json``; empty for a lone ``curves.csv``.
        summary: Content of ``summary.json``; empty likewise.
        series: One curve for each method, by samples.
        timed: Likewise by training time; empty where it is not known.
        clock: Likewise by the clock of a number of machines; empty where it was not simulated.
    """

    folder: Path
    content: dict[str, Any]
    summary: dict[str, Any]
    series: tuple[Series, ...]
    timed: tuple[Series, ...] = ()
    clock: tuple[Series, ...] = ()

    @property
    def name(self) -> str:
        """What to call the run."""
        return self.folder.resolve().name

    @property
    def run(self) -> dict[str, Any]:
        """What the results depend on: the settings, the methods' settings, the view."""
        return dict(self.content.get("run", {}))

    @property
    def protocol(self) -> dict[str, Any]:
        """The rules; empty where they are not known."""
        return dict(self.run.get("protocol", {}))

    @property
    def rules(self) -> ReplayProtocol:
        """The protocol; rules that an older version did not know are as they were then."""
        known = {field.name for field in dataclasses.fields(ReplayProtocol)}
        return ReplayProtocol(**{k: v for k, v in self.protocol.items() if k in known})

    @property
    def view(self) -> dict[str, Any]:
        """Name, description, number of cells, digest and provenance of the view."""
        return dict(self.run.get("view", {}))

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods."""
        return tuple(series.method for series in self.series)

    def by(self, axis: str) -> tuple[Series, ...]:
        """The curves by "samples" or by "seconds".

        Without curves by training time, those by samples are handed out, which know the mean time
        after each number of samples.
        """
        return self.timed if axis == "seconds" and self.timed else self.series

    @property
    def best(self) -> dict[str, float]:
        """The accuracy of the best cell in percent, by metric, that regret is the distance to."""
        return dict(self.summary.get("best_percent", {}))

    def modelled(self, timed: bool = True) -> str:
        """A sentence on what is modelled, for captions; empty where nothing is, or is known.

        Args:
            timed: Whether training times are shown.
        """
        ignored = set() if timed else {"training_seconds"}
        if self.rules.report != "run":
            ignored.add("test_accuracy_of_runs")
        shares = []
        for metric, counts in self.view.get("provenance", {}).items():
            total = sum(counts.values())
            for kind in ("modelled", "fitted", "drawn"):
                if counts.get(kind) and metric not in ignored:
                    share = f"{counts[kind] / total:.1%}".replace("100.0%", "100%")
                    how = "" if kind == "modelled" else f" ({kind})"
                    shares.append(f"{share} of {metric.replace('_', ' ')}{how}")
        return f"Modelled, not measured: {', '.join(shares)}." if shares else ""

    def captions(self, modelled: bool = True) -> list[str]:
        """What a reader of a figure must know: the view, what is modelled, the rules.

        Args:
            modelled: Whether to name what is modelled, which a caption may do already.
        """
        if not self.content:
            return [f"{self.name}: view and protocol unknown, {SETTINGS} does not lie beside it."]
        view = self.view
        return [
            f"View {view.get('name')}: {view.get('description')}. "
            f"{self.modelled() if modelled else ''}".strip(),
            f"Protocol {label(self.rules)}: {in_words(self.rules)}. {self.run.get('trials')} "
            f"trials, seed {self.run.get('seed')}, nprep {self.run.get('nprep')}.",
        ]

    def open_view(self, table: Path | None = None) -> View:
        """The view that was searched.

        Args:
            table: A table file, where the one that ``settings.json`` names has moved.

        Raises:
            TableError: If it cannot be had, or is not the one that was searched.
        """
        source = self.content.get("source", {})
        path = Path(source["table"]) if table is None and "table" in source else table
        if path is None:
            raise TableError(
                f"{self.folder / SETTINGS} names no table file: name the one that was searched "
                "with --table."
            )
        described = {**source, "view": self.view.get("name")}
        view = with_rules(source_of(described, path).load(), self.rules)
        if view_digest(view) != self.view.get("digest"):
            raise TableError(
                f"{path} holds other values than those that {self.folder} was searched on: name "
                "the right table with --table."
            )
        return view

    def results(self, method: str, view: View) -> Results:
        """The stored queries of all trials of a method.

        Raises:
            RunFolderError: If a block of trials is missing or damaged.
        """
        return self.trials(view).results(method)

    def trials(self, view: View) -> StoredTrials:
        """The trials in the run's folder."""
        horizons = {name: int(each["horizon"]) for name, each in self.summary["methods"].items()}
        return StoredTrials(self.folder, self.run, horizons, view.validation.shape, view.budgets)

    def predictions(self, method: str) -> Predictions | None:
        """What the predictor of a method's first trial predicts; None if that is not stored.

        Raises:
            RunFolderError: If the file is damaged.
        """
        try:
            return read_predictions(
                self.folder, method, int(self.view["cells"]), run_digest(self.run)
            )
        except ValueError as error:
            raise RunFolderError(
                f"{error}: python -m nprep.replay with --resume runs that trial again."
            ) from error

    def curves(self, method: str, view: View) -> Curves:
        """The curves of all trials of a method.

        Raises:
            RunFolderError: If a block of trials is missing or damaged.
        """
        entry = self.summary["methods"][method]
        results = self.results(method, view)
        return curves_of(
            method,
            entry["train_samples"],
            entry["horizon"],
            results,
            view,
            self.rules,
            str(entry.get("kind", "")),
        )


def read_run(path: Path) -> Run:
    """Reads a run.

    Args:
        path: The folder that ``python -m nprep.replay --out`` wrote, or its ``curves.csv``.

    Raises:
        RunFolderError: If there is no finished run, or a file of it is damaged.
    """
    if not path.exists():
        raise RunFolderError(
            f"{path} does not exist: name a folder that python -m nprep.replay --out wrote."
        )
    lone = path.is_file()
    folder = path.parent if lone else path
    curves = path if lone else folder / CURVES
    if not lone and (not curves.is_file() or _goes_on(folder)):
        if (folder / "splits").is_dir():
            raise RunFolderError(
                f"{folder} holds the quality of predictors, unfinished: continue it with python -m "
                "nprep.quality --resume."
            )
        if (folder / SETTINGS).is_file():
            raise RunFolderError(
                f"{folder} holds a run that has not finished: continue it with python -m "
                "nprep.replay --resume, or join its shards with python -m nprep.replay merge."
            )
        raise RunFolderError(
            f"{folder} is no run, it holds no {CURVES}: name a folder that python -m nprep.replay "
            "--out wrote."
        )
    if not lone or (folder / SUMS).is_file():
        for name in (curves.name, SETTINGS, SUMMARY, TIMED, CLOCK):
            if (folder / name).is_file():
                read_output(folder, name)
    content = read_json(folder / SETTINGS, ("run",), missing_ok=lone)
    summary = read_json(folder / SUMMARY, ("methods", "speedups"), missing_ok=lone)
    train_samples: dict[str, int] = {}
    for method, entry in summary.get("methods", {}).items():
        n = entry.get("train_samples") if isinstance(entry, dict) else None
        if not isinstance(n, int) or not isinstance(entry.get("horizon"), int):
            raise damaged(folder / SUMMARY, f"method {method!r} has no train_samples and horizon")
        train_samples[method] = n
    kinds = {m: str(entry.get("kind", "")) for m, entry in summary.get("methods", {}).items()}
    series = tuple(
        dataclasses.replace(each, kind=kinds.get(each.method, ""))
        for each in read_series(curves, train_samples)
    )
    if "draws" in summary:
        read_output(folder, CURVES_OF_DRAWS)
        series = with_columns(series, folder / CURVES_OF_DRAWS)
    timed: tuple[Series, ...] = ()
    clock: tuple[Series, ...] = ()
    if not lone and (folder / TIMED).is_file():
        trained = {
            each.method: float(each.columns["seconds_mean"][each.at(each.train_samples)])
            for each in series
            if each.train_samples
        }
        timed = tuple(
            dataclasses.replace(each, trained=trained.get(each.method, 0.0))
            for each in read_series(folder / TIMED, train_samples, "seconds")
        )
    if not lone and (folder / CLOCK).is_file():
        clock = read_series(folder / CLOCK, train_samples, "seconds")
    return Run(folder, content, summary, series, timed, clock)


def _goes_on(folder: Path) -> bool:
    """Whether a folder's outputs are those of a run that has not ended."""
    try:
        summary = json.loads((folder / SUMMARY).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(summary, dict) and "unfinished" in summary


def read_quality(folder: Path) -> Run:
    """What ``python -m nprep.quality`` wrote: no curves, the numbers as the summary.

    Raises:
        RunFolderError: If the file is damaged.
    """
    content = read_json(folder / QUALITY, ("run", "mean_over_splits"), missing_ok=False)
    if not content["mean_over_splits"]:
        raise damaged(folder / QUALITY, "it measures nothing")
    return Run(folder, {"run": content["run"]}, content, ())
