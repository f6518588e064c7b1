"""The outputs of a replay that is still running, from the trials that are finished.

A long replay shows its figure, curves and summary within the first minutes, and anew every minute.
They are marked as unfinished, and at the end replaced by those of all trials.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from nprep._console import log
from nprep.plot.files import render_figure
from nprep.plot.run_figure import figure_of
from nprep.results.outputs import derive_outputs, write_preview
from nprep.runs.blocks import TrialBlock
from nprep.runs.files import SUMS, write_file
from nprep.table.view import View

_FIRST_AFTER_SECONDS = 20.0
_EVERY_SECONDS = 60.0
# Previews take no larger share of the time than this.
_MOST_OF_TIME = 0.05


class Preview:
    """Writes the outputs of finished trials now and then."""

    def __init__(self, folder: Path, view: View, finished: Sequence[TrialBlock]) -> None:
        """Writes nothing yet.

        Args:
            folder: The run's folder.
            view: What is searched, as the protocol shows it.
            finished: Blocks that were stored before.
        """
        self._folder, self._view = folder, view
        self._finished = list(finished)
        self._next = time.monotonic() + _FIRST_AFTER_SECONDS

    def add(self, block: TrialBlock) -> None:
        """Takes in a finished block, and writes the outputs if it is time."""
        self._finished.append(block)
        if time.monotonic() >= self._next:
            start = time.monotonic()
            self.write()
            took = time.monotonic() - start
            self._next = time.monotonic() + max(_EVERY_SECONDS, took / _MOST_OF_TIME)

    def write(self) -> None:
        """Writes the outputs of the blocks that are finished; a failure ends no run."""
        try:
            # Checksums of an earlier end would be wrong from here on.
            (self._folder / SUMS).unlink(missing_ok=True)
            outputs = derive_outputs(self._folder, self._view, self._finished)
            write_preview(self._folder, outputs)
            write_file(self._folder / "figure.png", render_figure(*figure_of(outputs), "png"))
        except Exception as error:  # The outputs at the end are what counts.
            log.warning(f"the unfinished figure could not be written ({error})")
