"""The figure that a run writes beside its curves."""

from __future__ import annotations

import textwrap

from nprep import __version__
from nprep.plot.data import BANDS, FigureData, figure_data
from nprep.results.outputs import Outputs
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
    data = figure_data(
        outputs.timed if axis == "seconds" else outputs.curves,
        "test",
        notes_of(settings, view),
        x_axis=axis,
        best=outputs.best["test"] if settings.protocol.shows == "regret" else None,
    )
    return data, f"{what} needed to find a good cell ({benchmark})"


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
