"""How far the reading or fetching of a file is and how long it will take, on standard error."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_WIDTH = 28
_LINE_EVERY_SECONDS = 10.0
_BAR_EVERY_SECONDS = 0.1


class ByteProgress:
    """A bar on a terminal, a line now and then elsewhere, nothing if quiet."""

    def __init__(self, label: str, quiet: bool = False, stream: TextIO | None = None) -> None:
        """Shows nothing yet.

        Args:
            label: What is going on.
            quiet: Whether to show nothing.
            stream: Where to; standard error by default.
        """
        self._label = label
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._start = time.perf_counter()
        self._first: int | None = None
        self._shown = self._start
        self._open = False

    def __call__(self, done: int, total: int | None) -> None:
        """Reports progress.

        Args:
            done: Bytes done, also those of an earlier attempt.
            total: Bytes in all, or None if unknown.
        """
        if self._first is None:
            self._first = done
        now = time.perf_counter()
        interval = _BAR_EVERY_SECONDS if self._terminal else _LINE_EVERY_SECONDS
        if self._quiet or (now - self._shown < interval and done != total):
            return
        self._shown = now
        text = f"{done / 1e6:,.0f} MB"
        share = done / total if total else 0.0
        if total:
            text = f"{share:4.0%} of {total / 1e6:,.0f} MB"
        rate = (done - self._first) / max(now - self._start, 1e-9)
        if rate > 0:
            text += f", {rate / 1e6:,.0f} MB/s"
            if total and done < total:
                text += f", about {(total - done) / rate:,.0f} s left"
        if self._terminal:
            filled = round(share * _WIDTH)
            bar = "#" * filled + "." * (_WIDTH - filled)
            print(f"\r{self._label} [{bar}] {text}\033[K", end="", file=self._stream, flush=True)
            self._open = True
        else:
            print(f"{self._label}: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar's line."""
        if self._open:
            print(file=self._stream)
            self._open = False
