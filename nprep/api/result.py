"""What a replay returns to Python: its curves as data frames, figures and a report."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nprep._optional import need
from nprep.errors import RunFolderError, SettingsError
from nprep.plot.data import BANDS, FigureData, figure_data
from nprep.plot.draw import draw
from nprep.plot.files import make_figure, render
from nprep.results.curves import Curves, sample_grid
from nprep.results.reading import Run
from nprep.results.series import METRICS, STATISTICS

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
