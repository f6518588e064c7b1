"""Writes the page about runs, and its figures as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nprep import __version__
from nprep._files import write_file
from nprep.report.context import Context
from nprep.report.html import Section, page, paragraph
from nprep.report.sections.all import make_sections, warnings
from nprep.results.reading import Run


def write_report(
    runs: Sequence[Run], out: Path, context: Context | None = None, files: bool = True
) -> list[Path]:
    """Writes the page and its figures.

    Args:
        runs: Finished runs.
        out: The page.
        context: How to make it; None for the defaults.
        files: Whether to write the figures as files too, into a folder beside the page.

    Returns:
        All files written, the page first.

    Raises:
        RunFolderError: If one cannot be written.
    """
    sections = make_sections(context or Context(runs))
    names = ", ".join(run.name for run in runs)
    content = page(
        f"Replay of architecture searches: {names}",
        [paragraph(sentence, "warning") for sentence in warnings(runs)],
        sections,
        f"Written by nprep {__version__}. Accuracies in percent, times in seconds.",
        modelled_in(runs),
    )
    write_file(out, content.encode())
    return [out, *(_write_pictures(sections, out) if files else [])]


def modelled_in(runs: Sequence[Run]) -> list[str]:
    """What is modelled in the views of runs, once for all that share it."""
    views: dict[str, list[str]] = {}
    for run in runs:
        if run.modelled():
            views.setdefault(run.modelled(), []).append(str(run.view.get("name")))
    several = len({str(run.view.get("digest")) for run in runs}) > 1
    return [
        f"View {', '.join(dict.fromkeys(names))}: {sentence}" if several else sentence
        for sentence, names in views.items()
    ]


def _write_pictures(sections: Sequence[Section], out: Path) -> list[Path]:
    """Writes the figures of all sections beside the page."""
    folder = out.with_name(f"{out.stem}-figures")
    written = []
    for section in sections:
        for picture in section.pictures:
            for kind, content in picture.files().items():
                path = folder / f"{picture.name}.{kind}"
                write_file(path, content)
                written.append(path)
    return written
