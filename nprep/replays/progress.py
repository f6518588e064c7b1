"""How far a replay is and how long it will take.

On a terminal a table that is drawn anew, elsewhere a line now and then (see
``nprep._console.Display``); on request lines of JSON on standard output.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from nprep._console import Display, discard, duration, log

if TYPE_CHECKING:
    from rich.console import RenderableType

_JSON_EVERY_SECONDS = 1.0
_BAR = 20


@dataclass
class MethodState:
    """How far a method is.

    Attributes:
        total: Number of trials to run.
        done: Of them, finished.
        seconds: Work of one process behind those that are finished.
        accuracy: Sum of the final accuracies of ``known`` trials, in percent.
        known: Trials whose final accuracy is known.
        rates: Seconds a trial, of each finished block.
    """

    total: int
    done: int = 0
    seconds: float = 0.0
    accuracy: float = 0.0
    known: int = 0
    rates: list[float] = dataclasses.field(default_factory=list)

    @property
    def seconds_per_trial(self) -> float | None:
        """What a trial takes a process, by the median block; None before the first has finished.

        A process's first block of a method also pays for what the others share, such as loading
        kernels or building the plan of a predictor.
        """
        return statistics.median_low(self.rates) if self.rates else None

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
        # When it was made, and the seconds from then on.
        self._estimate: tuple[float, float] | None = None

    @property
    def done(self) -> int:
        """The number of finished trials."""
        return sum(method.done for method in self.methods.values())

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def add(self, method: str, trials: int, seconds: float) -> None:
        """Counts a finished block of trials, which took one process so long."""
        entry = self.methods[method]
        entry.done += trials
        entry.seconds += seconds
        entry.rates.append(seconds / trials)
        # One that has not finished a block yet is taken to cost as much as the dearest known.
        known = [m.seconds_per_trial for m in self.methods.values() if m.rates]
        dearest = max(rate for rate in known if rate is not None)
        work = sum(
            (m.total - m.done) * (dearest if m.seconds_per_trial is None else m.seconds_per_trial)
            for m in self.methods.values()
        )
        self._estimate = (time.perf_counter(), work / self._jobs)

    def remaining(self) -> float | None:
        """Estimated seconds to the end; None before anything is known.

        Methods cost very different times, so each counts at its own pace.
        """
        if self._estimate is None:
            return None
        at, seconds = self._estimate
        return max(0.0, seconds - (time.perf_counter() - at))

    def text(self) -> str:
        """All of it in a line."""
        share = self.done / self.total if self.total else 1.0
        text = f"{self.done}/{self.total} trials, {share:4.0%}"
        remaining = self.remaining()
        if self.done == self.total:
            text += f", took {duration(self.elapsed)}"
        elif remaining is not None:
            text += f", about {duration(remaining)} left"
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


class JsonLines:
    """Lines of JSON, for programs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Prints to a stream; None: standard output."""
        self._stream = stream or sys.stdout

    def say(self, event: str, **content: object) -> None:
        """Prints an event; a reader that hangs up does not end the run."""
        try:
            print(json.dumps({"event": event, **content}), file=self._stream, flush=True)
        except BrokenPipeError:
            discard(self._stream)


class Progress:
    """Shows how far a replay is."""

    def __init__(
        self, trials: Mapping[str, int], jobs: int, lines: JsonLines | None = None
    ) -> None:
        """Shows that nothing is done yet.

        Args:
            trials: Number of trials to run, by method.
            jobs: Number of processes that share them.
            lines: Where events go, for a program; None: to a person, if messages are shown.
        """
        self.state = State(trials, jobs)
        self._lines = lines
        self._display = Display(self._line, lambda: table_of(self.state)) if lines is None else None
        self._shown = time.monotonic()
        if lines is not None:
            lines.say(**self.state.to_json())

    def _line(self) -> str:
        means = self.state.means()
        return f"replay: {self.state.text()}" + (
            f"; mean test accuracy (%): {means}" if means else ""
        )

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
                nobody sees it.
        """
        entry = self.state.methods[method]
        self.state.add(method, trials, seconds)
        if accuracies is not None and (self._display is None or self._display.visible):
            known = accuracies()
            entry.accuracy += float(sum(known))
            entry.known += len(known)
        over = self.state.done == self.state.total
        if self._display is not None:
            self._display.update(force=over)
        elif self._lines is not None:
            now = time.monotonic()
            if over or now - self._shown >= _JSON_EVERY_SECONDS:
                self._shown = now
                self._lines.say(**self.state.to_json())

    def notice(self, text: str) -> None:
        """Says something worth knowing."""
        if self._lines is not None:
            self._lines.say("notice", text=text)
        else:
            log.warning(text)

    def remaining(self) -> float | None:
        """Estimated seconds to the end; None before anything is known."""
        return self.state.remaining()

    def close(self) -> None:
        """Ends what is shown."""
        if self._display is not None:
            self._display.close()
