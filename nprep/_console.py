"""What every command line shares: the parser, the exit status, messages and progress.

Messages go through ``logging`` under the name ``nprep``. Command lines, and calls from a
notebook, show them on standard error; a program that has set up logging itself gets them there.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from nprep._files import reason
from nprep.errors import NprepError, SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

log = logging.getLogger("nprep")

# What a shell reports of a program that ended since nobody read its output: 128 + SIGPIPE.
_NOBODY_READS = 141
_LINE_EVERY_SECONDS = 10.0


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments as every other error: in one sentence, with exit status 2."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Takes what ``argparse.ArgumentParser`` takes; options are not abbreviated."""
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(*args, **options)
        self._former_names: dict[str, str] = {}

    def error(self, message: str) -> NoReturn:
        """Refuses the arguments."""
        raise SettingsError(f"{message}; see --help.")

    def also_accept(self, former: str, option: str) -> None:
        """Takes a former name of an option, which the help does not show."""
        self._former_names[former] = option

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Converts the text of an argument; a conversion may refuse it in its own words."""
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            if isinstance(error.__context__, NprepError):
                raise error.__context__ from None
            raise

    def defaults(self) -> dict[str, Any]:
        """The values of all arguments that are not given."""
        return {
            action.dest: action.default
            for action in self._actions
            if action.default is not argparse.SUPPRESS
        }

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses arguments, former names of options among them."""
        given = sys.argv[1:] if args is None else list(args)
        end = given.index("--") if "--" in given else len(given)
        for position, text in enumerate(given[:end]):
            name, equals, value = text.partition("=")
            if name in self._former_names:
                given[position] = f"{self._former_names[name]}{equals}{value}"
        return super().parse_known_args(given, namespace)


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds ``--out`` for the file to write, which may also stand after all inputs.

    The values are ``out`` and ``output``; the first counts.
    """
    parser.add_argument("--out", type=Path, help=what)
    parser.add_argument("output", type=Path, nargs="?", help=argparse.SUPPRESS)


def duration(seconds: float) -> str:
    """A duration for people: "4 s", "2 min 05 s", "3 h 07 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def discard(stream: TextIO) -> None:
    """Sends what is still written to a stream nowhere, since nobody reads it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _ToStandardError(logging.Handler):
    """Writes messages to standard error, as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:
            # A program without a console.
            return
        try:
            kind = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
            print(f"{kind}{record.getMessage()}", file=sys.stderr, flush=True)
        except OSError:
            # Nobody reads it, or its disk is full: what is being done matters more.
            discard(sys.stderr)
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def messages(quiet: bool = False, as_guest: bool = False) -> Iterator[None]:
    """Shows messages on standard error.

    Args:
        quiet: Whether to show none but errors.
        as_guest: Whether to leave them to the program around, if that has set up logging.
    """
    before = log.level
    handlers: list[logging.Handler] = []
    if not any(isinstance(handler, _ToStandardError) for handler in log.handlers) and not (
        as_guest and log.hasHandlers()
    ):
        handlers.append(_ToStandardError())
    for handler in handlers:
        log.addHandler(handler)
    if quiet:
        log.setLevel(logging.ERROR)
    elif handlers:
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
        log.setLevel(before)


def _is_live() -> bool:
    """Whether messages go to a terminal that can be drawn on."""
    shown = any(isinstance(handler, _ToStandardError) for handler in log.handlers)
    return shown and sys.stderr is not None and sys.stderr.isatty()


class Display:
    """How far something is: drawn on a terminal, elsewhere a line now and then; quiet if asked."""

    def __init__(
        self,
        text: Callable[[], str],
        drawn: Callable[[], RenderableType] | None = None,
        every: float = _LINE_EVERY_SECONDS,
    ) -> None:
        """Shows the beginning.

        Args:
            text: Gives the state in a line.
            drawn: Gives what a terminal shows instead of that line.
            every: Seconds between lines where there is no terminal.
        """
        self._text, self._every = text, every
        self._live: Any = None
        self._shown = time.monotonic()
        if log.isEnabledFor(logging.INFO) and _is_live():
            with contextlib.suppress(ImportError):
                from rich.console import Console
                from rich.live import Live
                from rich.text import Text

                self._live = Live(
                    get_renderable=drawn or (lambda: Text(text())),
                    console=Console(file=sys.stderr),
                    refresh_per_second=4,
                    # Messages go above what is drawn.
                    redirect_stderr=True,
                    redirect_stdout=False,
                )
                self._live.start()
        if self._live is None:
            log.info(text())

    @property
    def visible(self) -> bool:
        """Whether anybody sees it."""
        return self._live is not None or log.isEnabledFor(logging.INFO)

    def update(self, force: bool = False) -> None:
        """Shows the state, if it is time for that.

        Args:
            force: Whether it is time in any case.
        """
        now = time.monotonic()
        if self._live is None and (force or now - self._shown >= self._every):
            self._shown = now
            log.info(self._text())

    def close(self) -> None:
        """Ends what is drawn; the last state stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _make_encodable(stream: TextIO) -> None:
    """Lets a stream replace what its encoding lacks, such as dashes where it is ASCII."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def _fill_in_streams() -> None:
    """Gives a process whose standard streams are closed such that lead nowhere.

    Else the next file that is opened, of results perhaps, takes the number of standard output, and
    whatever a library prints goes into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - stays open
            # For the processes that are started from here, too.
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def run(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Runs a command line and turns expected failures into an exit status.

    Args:
        main: The command; takes the arguments without the program name (None: ``sys.argv``) and
            returns the exit status.
        argv: The arguments, or None.

    Returns:
        The status of ``main``; 2 after an ``NprepError`` or where the system refuses a file, 130
        after Ctrl-C, 141 if nobody reads what it prints.
    """
    _fill_in_streams()
    for stream in (sys.stdout, sys.stderr):
        _make_encodable(stream)
    try:
        status = main(argv)
        sys.stdout.flush()
        return status
    except NprepError as error:
        _say_last(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        _say_last("interrupted")
        return 130
    except BrokenPipeError:
        discard(sys.stdout)
        return _NOBODY_READS
    except OSError as error:
        # Whatever looks at a path before it is used: a folder that may not be entered, a name that
        # is too long. What is no matter of a file is a fault of this program.
        if isinstance(error.filename, str | bytes | os.PathLike):
            place = os.fsdecode(error.filename)
            _say_last(f"error: {place} cannot be used ({reason(error)}): name another.")
        elif not _takes_more(sys.stdout):
            discard(sys.stdout)
            _say_last(f"error: standard output cannot be written ({reason(error)}): make room.")
        else:
            raise
        return 2


def _takes_more(stream: TextIO) -> bool:
    """Whether something can still be written; a failed write leaves no other trace."""
    try:
        stream.write("\n")
        stream.flush()
    except OSError:
        return False
    return True


def _say_last(text: str) -> None:
    """Prints why a command ends, to whoever still reads."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)
