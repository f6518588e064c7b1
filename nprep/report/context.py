"""What the report is made of: the runs, their tables, and who is told about progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nprep.errors import NprepError
from nprep.results.comparable import differences
from nprep.results.reading import Run
from nprep.table.view import View


@dataclass
class Context:
    """What the sections are made of.

    Attributes:
        runs: The runs.
        qualities: What ``python -m nprep.quality`` wrote.
        table: Where the table is, if not where the runs say.
        band: Around the lines (see ``nprep.plot.data.BANDS``).
        say: Tells a person what is being done.
    """

    runs: Sequence[Run]
    table: Path | None = None
    band: str = "error"
    qualities: Sequence[Run] = ()
    say: Callable[[str], None] = lambda text: None
    _views: dict[tuple[str, str], View | NprepError] = field(default_factory=dict)

    def view(self, run: Run) -> View:
        """The view of a run, opened once.

        Raises:
            NprepError: If it cannot be had.
        """
        key = (str(run.view.get("digest")), str(run.content.get("source")))
        if key not in self._views:
            self.say(f"opening the table of {run.name}")
            try:
                self._views[key] = run.open_view(self.table)
            except NprepError as error:
                self._views[key] = error
        found = self._views[key]
        if isinstance(found, NprepError):
            raise found
        return found


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups that may share a figure: equal rules, equal values."""
    found: list[list[Run]] = []
    for run in runs:
        for group in found:
            if not any(differences([group[0], run])):
                group.append(run)
                break
        else:
            found.append([run])
    return found
