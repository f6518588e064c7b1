"""How far a replay is and how long it will take.

On a terminal a table that lives; elsewhere a line now and then on standard error; on request lines
of JSON on standard output.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

_LINE_EVERY_SECONDS = 10.0
_JSON_EVERY_SECONDS = 1.0
_DRAWN_EVERY_SECONDS = 0.1
_BAR = 20


def format_seconds(seconds: float) -> str:
    """A duration for people: "4 s", "2 min 05 s", "3 h 07 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass
class MethodState:
    """How far a method is.

    Attributes:
        total: Number of trials to run.
        done: Of them, finished.
        seconds: Work of one process behind those that are finished.
        accuracy: Sum of the final accuracies of ``known`` trials, in percent.
        known: Trials whose final accuracy is known.
    """

    total: int
    done: int = 0
    seconds: float = 0.0
    accuracy: float = 0.0
    known: int = 0

    @property
    def mean(self) -> float | None:
        """Mean accuracy in percent of what finished trials end with; None if it is not known."""
        return self.accuracy / self.known if self.known else None


class State:
    """How far a replay is."""

    def __init__(self, trials: Mapping[str, int], jobs: int) -> None:
        """Nothing is done yet.

        Args:
            trials: Number of trials to run, by method.
            jobs: Number of processes that share them.
        """
        self.methods = {name: MethodState(total) for name, total in trials.items()}
        self.total = sum(trials.values())
        self._jobs = jobs
        self._start = time.perf_counter()

    @property
    def done(self) -> int:
        """The number of finished trials."""
        return sum(method.done for method in self.methods.values())

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def remaining(self) -> float | None:
        """Estimated seconds to the end; None before anything is known.

        Methods cost very different times, so each has its own average; one that has not finished
        a block yet is taken to cost as much as the dearest known.
        """
        cost = {
            name: method.seconds / method.done
            for name, method in self.methods.items()
            if method.done
        }
        if not cost:
            return None
        dearest = max(cost.values())
        work = sum(
            (method.total - method.done) * cost.get(name, dearest)
            for name, method in self.methods.items()
        )
        return work / self._jobs

    def text(self) -> str:
        """All of it in a line."""
        share = self.done / self.total if self.total else 1.0
        text = f"{self.done}/{self.total} trials, {share:4.0%}"
        remaining = self.remaining()
        if self.done == self.total:
            text += f", took {format_seconds(self.elapsed)}"
        elif remaining is not None:
            text += f", about {format_seconds(remaining)} left"
        return text

    def means(self) -> str:
        """Mean accuracies so far in a line; empty if none is known."""
        known = {name: m.mean for name, m in self.methods.items() if m.mean is not None}
        return ", ".join(f"{name} {mean:.2f}" for name, mean in known.items())

    def to_json(self) -> dict[str, Any]:
        """All of it; null for what is not known."""
        remaining = self.remaining()
        return {
            "event": "progress",
            "done": self.done,
            "total": self.total,
            "seconds": round(self.elapsed, 3),
            "seconds_left": None if remaining is None else round(remaining, 3),
            "methods": {
                name: {"done": method.done, "total": method.total, "test_mean": method.mean}
                for name, method in self.methods.items()
            },
        }


class _View(Protocol):
    """Shows a state to somebody."""

    # Seconds between two showings that nobody asked for.
    interval: float

    def show(self, state: State) -> None:
        """Shows how far it is."""

    def notice(self, text: str) -> None:
        """Says something worth knowing."""

    def close(self, state: State) -> None:
        """Ends."""


class _Nothing:
    """Shows nothing."""

    interval = math.inf

    def show(self, state: State) -> None:
        pass

    def notice(self, text: str) -> None:
        pass

    def close(self, state: State) -> None:
        pass


class _Lines:
    """A line now and then, for logs."""

    interval = _LINE_EVERY_SECONDS

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, state: State) -> None:
        means = state.means()
        text = state.text() + (f"; mean test accuracy (%): {means}" if means else "")
        print(f"replay: {text}", file=self._stream, flush=True)

    def notice(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def close(self, state: State) -> None:
        pass


class _Bar:
    """A bar on a terminal, where rich cannot be imported."""

    interval = _DRAWN_EVERY_SECONDS

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, state: State) -> None:
        filled = round(_BAR * state.done / state.total) if state.total else _BAR
        bar = "#" * filled + "." * (_BAR - filled)
        print(f"\r[{bar}] {state.text()}\033[K", end="", file=self._stream, flush=True)

    def notice(self, text: str) -> None:
        print(f"\r\033[K{text}", file=self._stream, flush=True)

    def close(self, state: State) -> None:
        print(file=self._stream)


class _Json:
    """Lines of JSON, for programs."""

    interval = _JSON_EVERY_SECONDS

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, state: State) -> None:
        print(json.dumps(state.to_json()), file=self._stream, flush=True)

    def notice(self, text: str) -> None:
        print(json.dumps({"event": "notice", "text": text}), file=self._stream, flush=True)

    def close(self, state: State) -> None:
        pass


class _Live:
    """A table that lives on a terminal, a row for each method."""

    # It draws itself.
    interval = 0.0

    def __init__(self, stream: TextIO, state: State) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        self._state = state
        self._live = Live(
            get_renderable=lambda: table_of(self._state),
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def show(self, state: State) -> None:
        pass

    def notice(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def close(self, state: State) -> None:
        self._live.stop()


def table_of(state: State) -> RenderableType:
    """The table of the live view."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("method", no_wrap=True)
    table.add_column("", width=_BAR)
    table.add_column("trials", justify="right", no_wrap=True)
    table.add_column("test % so far", justify="right", no_wrap=True)
    table.add_column("s per trial", justify="right", no_wrap=True)
    for name, method in state.methods.items():
        table.add_row(
            Text(name),
            ProgressBar(total=max(1, method.total), completed=method.done, width=_BAR),
            f"{method.done}/{method.total}",
            "" if method.mean is None else f"{method.mean:.2f}",
            f"{method.seconds / method.done:.2f}" if method.done else "",
        )
    return Group(table, Text(state.text()))


def _view_of(mode: str, stream: TextIO | None, state: State) -> _View:
    """How to show a state."""
    if mode == "quiet":
        return _Nothing()
    if mode == "json":
        return _Json(stream or sys.stdout)
    stream = stream or sys.stderr
    if not stream.isatty():
        return _Lines(stream)
    try:
        return _Live(stream, state)
    except ImportError:
        return _Bar(stream)


class Progress:
    """Shows how far a replay is; what it shows where, its mode decides."""

    def __init__(
        self,
        trials: Mapping[str, int],
        jobs: int,
        quiet: bool = False,
        stream: TextIO | None = None,
        mode: str = "person",
    ) -> None:
        """Shows that nothing is done yet.

        Args:
            trials: Number of trials to run, by method.
            jobs: Number of processes that share them.
            quiet: Whether to show nothing, whatever the mode.
            stream: Where to; by default standard error, or standard output for JSON.
            mode: "person", "json" or "quiet".
        """
        self.state = State(trials, jobs)
        self._view = _view_of("quiet" if quiet else mode, stream, self.state)
        self._last_shown = -math.inf
        self._show(force=True)

    def add(
        self,
        method: str,
        trials: int,
        seconds: float,
        accuracies: Callable[[], Sequence[float]] | None = None,
    ) -> None:
        """Reports finished trials.

        Args:
            method: Of the trials.
            trials: How many.
            seconds: How long they took one process.
            accuracies: Gives the test accuracy in percent of what each ends with; not called if
                nobody looks.
        """
        entry = self.state.methods[method]
        entry.done += trials
        entry.seconds += seconds
        if accuracies is not None and not isinstance(self._view, _Nothing):
            known = accuracies()
            entry.accuracy += float(sum(known))
            entry.known += len(known)
        self._show(force=self.state.done == self.state.total)

    def notice(self, text: str) -> None:
        """Says something worth knowing, without spoiling what is shown."""
        self._view.notice(text)

    def remaining(self) -> float | None:
        """Estimated seconds to the end; None before anything is known."""
        return self.state.remaining()

    def close(self) -> None:
        """Ends what is shown."""
        self._view.close(self.state)

    def _show(self, force: bool) -> None:
        now = time.perf_counter()
        if now - self._last_shown >= self._view.interval or force:
            self._last_shown = now
            self._view.show(self.state)
