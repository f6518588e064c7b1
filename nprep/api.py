"""Replays from Python: the function behind ``from nprep import replay``, and what it returns."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
import textwrap
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nprep import _console, _workers
from nprep._optional import need
from nprep.errors import RunFolderError, SettingsError
from nprep.plot.data import BANDS, FigureData, figure_data
from nprep.plot.draw import draw
from nprep.plot.files import make_figure, render
from nprep.results.curves import Curves, sample_grid
from nprep.results.reading import Run, read_run
from nprep.results.series import METRICS, STATISTICS
from nprep.runs.settings import ReplaySettings, ViewInMemory, ViewSource
from nprep.runs.source import open_source
from nprep.search.method import Method
from nprep.search.registry import as_method
from nprep.search.rules import ReplayProtocol
from nprep.table.view import View

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _OwnSettings(ReplaySettings):
    """Settings some of whose methods are objects instead of names.

    Attributes:
        own: The objects; their names are among ``methods``.
    """

    own: tuple[Method, ...] = ()

    def make_methods(self) -> dict[str, Method]:
        """The methods by their names (see :class:`ReplaySettings`)."""
        own = {method.name: method for method in self.own}
        named = tuple(name for name in self.methods if name not in own)
        made = dataclasses.replace(_plain(self), methods=named).make_methods() if named else {}
        return {name: own[name] if name in own else made[name] for name in self.methods}

    def to_json(self) -> dict[str, object]:
        """The fields that command lines have too; the methods' own settings are beside them."""
        return _plain(self).to_json()


def _plain(settings: ReplaySettings) -> ReplaySettings:
    """The settings without objects."""
    fields = dataclasses.fields(ReplaySettings)
    return ReplaySettings(**{field.name: getattr(settings, field.name) for field in fields})


def run(
    trials: int = 100,
    methods: str | Sequence[object] | None = None,
    table: str | Path | View | None = None,
    *,
    view: str | None = None,
    protocol: str = "wen2020",
    out: str | Path | None = None,
    jobs: int = 1,
    resume: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Result:
    """Replays search methods on a table, as ``python -m nprep.replay`` does.

    Args:
        trials: Trials of each method.
        methods: Names as on the command line, one or many, among them objects of your own: a
            :class:`~nprep.search.method.Method`, its class, or the class of a
            :class:`~nprep.search.method.Searcher`. None takes those of the protocol.
        table: A table file, or a view that is at hand; None takes the built-in table.
        view: Name of the view of the file; None takes the fullest.
        protocol: Name of the rules (see :mod:`nprep.runs.protocols`).
        out: Folder for results; None takes a temporary one that goes with the result.
        jobs: Number of processes. Above 1 a script needs ``if __name__ == "__main__":`` around
            its work, as with every use of ``multiprocessing``, and methods must be importable.
        resume: Whether to continue a run in ``out``.
        quiet: Whether to show no progress.
        options: Other settings: ``samples``, ``train_samples``, ``top_k``, ``seed``, ``block``,
            ``bootstrap``, ``workers``, and rules that differ from the protocol's, such as
            ``duplicates="free"``.

    Raises:
        NprepError: If something that was asked for cannot be done.
    """
    _workers.leave_unguarded_script()
    names, own = _names_of(methods)
    fields = {field.name for field in dataclasses.fields(ReplaySettings)} - {"protocol"}
    rules = {field.name for field in dataclasses.fields(ReplayProtocol)} - {"name"}
    for option in options:
        if option not in fields | rules:
            known = ", ".join(sorted(fields | rules))
            raise SettingsError(f"option {option!r} is unknown: use some of {known}.")
    if names is not None:
        options["methods"] = names
    if "workers" in options:
        options["workers"] = tuple(options["workers"])
    settings = ReplaySettings.of_protocol(protocol, trials=trials, **options)
    if own:
        plain = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
        settings = _OwnSettings(**plain, own=own)
    source: ViewSource
    if isinstance(table, View):
        source = ViewInMemory(table)
    else:
        with _console.messages(quiet, as_guest=True):
            source = open_source(None if table is None else Path(table), view)
    # It loads or compiles kernels, which wrong settings need not wait for.
    from nprep.replay.engine import run_replay

    folder = Path(tempfile.mkdtemp(prefix="nprep-")) if out is None else Path(out)
    try:
        with _console.messages(quiet, as_guest=True):
            replay = run_replay(settings, source, folder, jobs=jobs, resume=resume)
        result = Result(read_run(folder), {each.method: each for each in replay.curves})
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if out is None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def load(folder: str | Path) -> Result:
    """The result of a finished run.

    Args:
        folder: What ``python -m nprep.replay --out`` wrote.

    Raises:
        RunFolderError: If it is no finished run, or damaged.
    """
    return Result(read_run(Path(folder)), {})


def _names_of(
    methods: str | object | Sequence[object] | None,
) -> tuple[tuple[str, ...] | None, tuple[Method, ...]]:
    """Names of all methods, and the objects among them."""
    if methods is None:
        return None, ()
    if isinstance(methods, str):
        methods = [name.strip() for name in methods.split(",") if name.strip()]
    names: list[str] = []
    own: list[Method] = []
    for method in methods if isinstance(methods, Sequence) else [methods]:
        if isinstance(method, str):
            names.append(method)
            continue
        made = as_method(method)
        names.append(made.name)
        own.append(made)
    return tuple(names), tuple(own)


def _pandas() -> Any:
    return need("pandas", "make data frames", extra="frames")


@dataclass(frozen=True, eq=False)
class Result:
    """A finished replay, for a notebook.

    Attributes:
        run: What its folder holds.
        curves: The curves of all trials by method; empty if the run was loaded.
    """

    run: Run
    curves: dict[str, Curves]

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.run.folder

    @property
    def summary(self) -> dict[str, Any]:
        """The content of ``summary.json``."""
        return self.run.summary

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods."""
        return self.run.methods

    def frame(self) -> pandas.DataFrame:
        """The curves as statistics over trials.

        Returns:
            A row for each method, number of samples and metric: method, samples, seconds, trials,
            metric, mean, std, q25, median, q75; accuracies in percent.

        Raises:
            MissingDependencyError: If pandas cannot be imported.
        """
        pd = _pandas()
        parts = [
            pd.DataFrame(
                {
                    "method": series.method,
                    "samples": series.samples,
                    "seconds": series.columns["seconds_mean"],
                    "trials": series.trials,
                    "metric": metric,
                    **{name: series.columns[f"{metric}_{name}"] for name in STATISTICS},
                }
            )
            for series in self.run.series
            for metric in METRICS
        ]
        return cast("pandas.DataFrame", pd.concat(parts, ignore_index=True))

    def trials(self) -> pandas.DataFrame:
        """The curves of single trials, at the numbers of samples of ``curves.csv``.

        Returns:
            A row for each method, trial and number of samples: method, trial, samples, seconds,
            validation, test; accuracies in percent.

        Raises:
            MissingDependencyError: If pandas cannot be imported.
            NprepError: If the run was loaded, and its trials or its table cannot be had.
        """
        pd = _pandas()
        parts = []
        for method, curves in self._all_curves().items():
            grid = sample_grid(curves.horizon, (curves.train_samples,))
            columns = [curves.column(samples) for samples in grid]
            count = len(curves.test)
            parts.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "trial": [trial for trial in range(count) for _ in grid],
                        "samples": grid * count,
                        "seconds": curves.seconds[:, columns].ravel(),
                        "validation": curves.validation[:, columns].ravel(),
                        "test": curves.test[:, columns].ravel(),
                    }
                )
            )
        return cast("pandas.DataFrame", pd.concat(parts, ignore_index=True))

    def _all_curves(self) -> dict[str, Curves]:
        if self.curves:
            return self.curves
        view = self.run.open_view()
        return {method: self.run.curves(method, view) for method in self.methods}

    def speedups(self) -> pandas.DataFrame:
        """How much sooner predictors reach accuracies than sequential methods.

        Returns:
            A row for each pair of methods, metric and target, with the fields of ``summary.json``.

        Raises:
            MissingDependencyError: If pandas cannot be imported.
        """
        rows = []
        for comparison in self.summary["speedups"]:
            pair = {key: comparison[key] for key in ("predictor", "baseline")}
            for metric in METRICS:
                for entry in comparison[metric]:
                    row = {key: v for key, v in entry.items() if not isinstance(v, list)}
                    low, high = entry["ratio_interval_95"]
                    rows.append({**pair, "metric": metric, **row, "low": low, "high": high})
        return cast("pandas.DataFrame", _pandas().DataFrame(rows))

    def _figure_data(self, metric: str, x: str, band: str, methods: Sequence[str]) -> FigureData:
        for method in methods:
            if method not in self.methods:
                raise SettingsError(
                    f"method {method!r} was not run: use some of {', '.join(self.methods)}."
                )
        everything = self.run.by(x)
        chosen = [each for each in everything if not methods or each.method in methods]
        notes = [f"{BANDS.get(band)} over trials.", *self.run.captions()]
        return figure_data(chosen, metric, notes, x_axis=x, band=band)

    def figure(
        self,
        metric: str = "test",
        x: str = "samples",
        band: str = "error",
        methods: Sequence[str] = (),
        title: str = "",
    ) -> Figure:
        """The curves as a matplotlib figure, with notes on view and protocol.

        Args:
            metric: "test" or "validation".
            x: "samples" or "seconds".
            band: "error", "deviation", "quartiles" or "none".
            methods: Those to draw; all if empty.
            title: Above the axes.
        """
        data = self._figure_data(metric, x, band, methods)
        notes = tuple(line for note in data.notes for line in textwrap.wrap(note, 130))
        figure = make_figure(dataclasses.replace(data, notes=notes), title)
        # A notebook shows it even where pyplot, which would see to that, was never imported.
        figure._repr_png_ = functools.partial(render, figure, "png")  # type: ignore[attr-defined] # IPython's hook
        return figure

    def draw(
        self,
        axes: Axes,
        metric: str = "test",
        x: str = "samples",
        band: str = "error",
        methods: Sequence[str] = (),
    ) -> None:
        """Draws the curves into axes of yours; the arguments are those of :meth:`figure`."""
        draw(axes, self._figure_data(metric, x, band, methods))

    def report(self, out: str | Path) -> Path:
        """Writes the page of ``python -m nprep.report``.

        Args:
            out: The page; its figures go into a folder beside it.

        Returns:
            The page.
        """
        from nprep.report.writing import write_report

        return write_report([self.run], Path(out))[0]

    def save(self, folder: str | Path) -> Path:
        """Copies the run's folder, a temporary one for instance.

        Args:
            folder: Must not exist.

        Raises:
            RunFolderError: If it exists, or cannot be written.
        """
        try:
            return Path(shutil.copytree(self.folder, folder))
        except OSError as error:
            raise RunFolderError(
                f"{folder} cannot be written ({error.strerror or error}): choose another folder."
            ) from error

    def __str__(self) -> str:
        """The main results, as the command line prints them."""
        from nprep.results.text import to_text

        return to_text(self.summary)

    def _repr_html_(self) -> str:
        """The main results, for a notebook."""
        from nprep.report.tables.accuracy import accuracy_table

        return accuracy_table(self.run, "test").to_html()
