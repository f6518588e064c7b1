"""All sections of the page, in order."""

from __future__ import annotations

from collections.abc import Sequence

from nprep.plot.data import BANDS
from nprep.report.context import Context
from nprep.report.html import Section
from nprep.report.sections.accuracy import accuracies, speedups
from nprep.report.sections.answer import answer
from nprep.report.sections.cells import cells
from nprep.report.sections.curves import curves
from nprep.report.sections.machines import machines
from nprep.report.sections.predictors import predictions, quality, sample_map
from nprep.report.sections.run import overview
from nprep.results.comparable import differences
from nprep.results.reading import Run

SECTIONS = (
    answer,
    accuracies,
    speedups,
    curves,
    machines,
    cells,
    predictions,
    sample_map,
    quality,
    overview,
)


def make_sections(context: Context) -> list[Section]:
    """All sections, in order."""
    assert context.band in BANDS
    return [make(context) for make in SECTIONS]


def warnings(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before comparing the runs."""
    rules, views = differences(runs)
    told = [f"{sentence}; they are shown apart." for sentence in (*rules, *views)]
    return [sentence[0].upper() + sentence[1:] for sentence in told]
