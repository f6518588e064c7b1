"""How far a replay is and how long it will take, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO

_WIDTH = 28
_LINE_EVERY_SECONDS = 10.0
_BAR_EVERY_SECONDS = 0.1


def format_seconds(seconds: float) -> str:
    """A duration for people: "4 s", "2 min 05 s", "3 h 07 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """A bar on a terminal, a line now and then elsewhere, nothing if quiet."""

    def __init__(
        self,
        trials: Mapping[str, int],
        jobs: int,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        """Shows that nothing is done yet.

        Args:
            trials: Number of trials to run, by method.
            jobs: Number of processes that share them.
            quiet: Whether to show nothing.
            stream: Where to; standard error by default.
        """
        self._left = dict(trials)
        self._total = sum(trials.values())
        self._jobs = jobs
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        # Seconds of work and trials behind them, by method.
        self._spent: dict[str, tuple[float, int]] = {}
        self._start = time.perf_counter()
        self._last_shown = -_LINE_EVERY_SECONDS
        self._show(force=True)

    def add(self, method: str, trials: int, seconds: float) -> None:
        """Reports finished trials and the seconds that they took one process."""
        spent, done = self._spent.get(method, (0.0, 0))
        self._spent[method] = (spent + seconds, done + trials)
        self._left[method] -= trials
        self._show(force=not any(self._left.values()))

    def remaining(self) -> float | None:
        """Estimated seconds to the end; None before anything is known.

        Methods cost very different times, so each has its own average; one that has not finished
        a block yet is taken to cost as much as the dearest known.
        """
        if not self._spent:
            return None
        cost = {name: seconds / trials for name, (seconds, trials) in self._spent.items()}
        dearest = max(cost.values())
        work = sum(left * cost.get(name, dearest) for name, left in self._left.items())
        return work / self._jobs

    def close(self) -> None:
        """Ends the bar's line."""
        if self._terminal and not self._quiet:
            print(file=self._stream)

    def _show(self, force: bool) -> None:
        now = time.perf_counter()
        interval = _BAR_EVERY_SECONDS if self._terminal else _LINE_EVERY_SECONDS
        if self._quiet or (now - self._last_shown < interval and not force):
            return
        self._last_shown = now
        done = self._total - sum(self._left.values())
        share = done / self._total if self._total else 1.0
        text = f"{done}/{self._total} trials, {share:4.0%}"
        remaining = self.remaining()
        if done == self._total:
            text += f", took {format_seconds(now - self._start)}"
        elif remaining is not None:
            text += f", about {format_seconds(remaining)} left"
        if self._terminal:
            filled = round(share * _WIDTH)
            bar = "#" * filled + "." * (_WIDTH - filled)
            print(f"\r[{bar}] {text}\033[K", end="", file=self._stream, flush=True)
        else:
            print(f"replay: {text}", file=self._stream, flush=True)
