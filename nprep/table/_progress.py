"""How far the reading or fetching of a file is and how long it will take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nprep._console import Display, duration

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDTH = 28


class ByteProgress:
    """A bar on a terminal, a line now and then elsewhere, nothing if messages are not shown."""

    def __init__(self, label: str) -> None:
        """Shows nothing before the first byte.

        Args:
            label: What is going on.
        """
        self._label = label
        self._start = time.perf_counter()
        self._first = self._done = 0
        self._total: int | None = None
        self._display: Display | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Reports progress.

        Args:
            done: Bytes done, also those of an earlier attempt.
            total: Bytes in all, or None if unknown.
        """
        self._done, self._total = done, total
        if self._display is None:
            self._first = done
            self._display = Display(self._text, self._bar)
        else:
            self._display.update(force=done == total)

    def _text(self) -> str:
        text = f"{self._label}: {self._done / 1e6:,.0f} MB"
        if self._total:
            share = self._done / self._total
            text = f"{self._label}: {share:4.0%} of {self._total / 1e6:,.0f} MB"
        rate = (self._done - self._first) / max(time.perf_counter() - self._start, 1e-9)
        if rate > 0:
            text += f", {rate / 1e6:,.0f} MB/s"
            if self._total and self._done < self._total:
                text += f", about {duration((self._total - self._done) / rate)} left"
        return text

    def _bar(self) -> RenderableType:
        from rich.columns import Columns
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        bar = ProgressBar(total=self._total or None, completed=self._done, width=_WIDTH)
        return Columns([bar, Text(self._text())])

    def close(self) -> None:
        """Ends the bar."""
        if self._display is not None:
            self._display.close()
