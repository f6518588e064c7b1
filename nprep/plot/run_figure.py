"""The figure that a run writes beside its curves."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from nprep import __version__
from nprep.plot.data import BANDS, FigureData, figure_data
from nprep.results.curves import Curves
from nprep.results.draws import with_draws
from nprep.results.outputs import Outputs
from nprep.results.series import Series, series_of
from nprep.results.text import dips_in_words
from nprep.runs.protocols import in_words, label
from nprep.runs.settings import ReplaySettings
from nprep.table.view import View


def figure_of(outputs: Outputs) -> tuple[FigureData, str]:
    """The numbers to draw of a run, and the title."""
    settings, view = outputs.settings, outputs.view
    benchmark = "NASBench-101"
    if view.name == "surrogate":
        benchmark = f"fitted surrogate of {benchmark}"
    axis = settings.protocol.axis if outputs.timed else "samples"
    what = {"samples": "Samples", "seconds": "Training time"}[axis]
    curves: Sequence[Series | Curves] = outputs.timed
    if axis == "samples":
        curves = [with_draws(series_of(each), outputs.draws) for each in outputs.curves]
    notes = notes_of(settings, view)
    title = f"{what} needed to find a good cell ({benchmark})"
    if outputs.unfinished is not None:
        counts = ", ".join(f"{name} {count}" for name, count in outputs.unfinished.items())
        notes = textwrap.wrap(f"Unfinished, trials so far: {counts}.", 130) + notes
        title = f"Unfinished: {title}"
    notes += textwrap.wrap(dips_in_words(outputs.summary), 130)
    if outputs.draws is not None and axis == "samples":
        notes.append(draws_note(len(outputs.draws.numbers)))
    data = figure_data(
        curves,
        "test",
        notes,
        x_axis=axis,
        best=outputs.best["test"] if settings.protocol.shows == "regret" else None,
    )
    return data, title


def draws_note(count: int) -> str:
    """What the second band is."""
    return (
        f"Lighter band: mean and standard deviation between {count} draws of the modelled values."
    )


def notes_of(settings: ReplaySettings, view: View) -> list[str]:
    """What a reader must know who sees nothing but the figure, line by line."""
    protocol = settings.protocol
    about = f"View {view.name}: {view.description}"
    counts = view.provenance.get("validation_accuracy", {})
    if counts.get("modelled"):
        share = counts["modelled"] / max(1, sum(counts.values()))
        about += f". Modelled, not measured: {share:.0%} of the validation accuracies."
    rules = (
        f"{BANDS['error']} over {settings.trials} trials. Protocol {label(protocol)}: "
        f"{in_words(protocol)}; seed {settings.seed}; nprep {__version__}."
    )
    return textwrap.wrap(about, 130) + textwrap.wrap(rules, 130)
