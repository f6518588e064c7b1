"""Replays from Python: ``nprep.run`` and what it returns, and the other public functions."""

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
from nprep.runs.source import default_table, open_source
from nprep.search.method import Method
from nprep.search.registry import as_method, register_method
from nprep.search.rules import ReplayProtocol
from nprep.spaces.registry import register as register_space
from nprep.table.named import open_table
from nprep.table.sources import register_source
from nprep.table.table import Table
from nprep.table.view import View

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    """Replays search methods on a table, as ``nprep run`` does.

    Args:
        trials: Trials of each method.
        methods: Names as on the command line, one or many, among them objects of your own: a
            ``Method``, its class, or the class of a
            ``Searcher``. None takes those of the protocol.
        table: A table file, or a view that is at hand; None takes the built-in table.
        view: Name of the view of the file; None takes the fullest.
        protocol: Name of the rules (see ``nprep.runs.protocols``).
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
    fields = {field.name for field in dataclasses.fields(ReplaySettings)} - {"protocol"}
    rules = {field.name for field in dataclasses.fields(ReplayProtocol)} - {"name"}
    for option in options:
        if option not in fields | rules:
            known = ", ".join(sorted(fields | rules))
            raise SettingsError(f"option {option!r} is unknown: use some of {known}.")
    chosen = _methods_of(methods)
    if chosen is not None:
        options["methods"] = chosen
    if "workers" in options:
        options["workers"] = tuple(options["workers"])
    settings = ReplaySettings.of_protocol(protocol, trials=trials, **options)
    source: ViewSource
    if isinstance(table, View):
        source = ViewInMemory(table)
    else:
        with _console.messages(quiet, as_guest=True):
            source = open_source(None if table is None else Path(table), view)
    # It loads or compiles kernels, which wrong settings need not wait for.
    from nprep.replays.engine import run_replay

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


def load(what: str | Path = "default", in_memory: bool = False) -> Table | Result:
    """What a name or a path stands for: a table, or the result of a finished run.

    Args:
        what: "default" (the built-in table, which is built on first use), another name that
            ``nprep table list`` shows, a table file, or the folder of a finished run.
        in_memory: Whether to read a table whole instead of mapping it (see ``nprep.Table``).

    Raises:
        TableError: If it is no table.
        RunFolderError: If it is a folder without a finished run, or with a damaged one.
    """
    with _console.messages(as_guest=True):
        if what == "default":
            return Table.open(default_table(), in_memory)
        path = Path(what)
        return load_run(path) if path.is_dir() else open_table(path, in_memory)


def load_run(folder: str | Path) -> Result:
    """The result of a finished run.

    Args:
        folder: What ``nprep run --out`` wrote.

    Raises:
        RunFolderError: If it is no finished run, or damaged.
    """
    return Result(read_run(Path(folder)), {})


def register(kind: str, name: str, thing: Any) -> None:
    """Makes something of one's own known by a name, for this process and its command lines.

    Worker processes know it if they import the module that registers it. A package does the same
    for every process by an entry point of the group ``nprep.methods``, ``nprep.spaces`` or
    ``nprep.sources``.

    Args:
        kind: "method", "space" or "source".
        name: The name.
        thing: A method: an object or class derived from ``nprep.Method``, or a class with
            ``ask`` and ``tell``. A space: an object derived from ``nprep.Space``. A source of
            tables: a module, or what has its functions (see ``nprep.table.sources``).

    Raises:
        SettingsError: If it is none of these, or the name is taken.
    """
    if kind == "method":
        register_method(name, thing)
    elif kind == "space":
        if getattr(thing, "name", name) != name:
            raise SettingsError(f"space {thing.name!r} cannot be registered as {name!r}.")
        register_space(thing)
    elif kind == "source":
        register_source(name, thing)
    else:
        raise SettingsError(f"kind is {kind!r}: register a method, a space or a source.")


def _methods_of(
    methods: str | object | Sequence[object] | None,
) -> tuple[str | Method, ...] | None:
    """Names of methods, and methods of one's own among them; None for those of the protocol."""
    if methods is None:
        return None
    if isinstance(methods, str):
        return tuple(name.strip() for name in methods.split(",") if name.strip())
    given = methods if isinstance(methods, Sequence) else [methods]
    return tuple(each if isinstance(each, str) else as_method(each) for each in given)


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
        """Draws the curves into axes of yours; the arguments are those of ``figure``."""
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
