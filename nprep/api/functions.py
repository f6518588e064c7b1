"""The public functions: a replay from Python, what a name or path stands for, one's own things."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nprep import _console, _workers
from nprep.api.result import Result
from nprep.errors import SettingsError
from nprep.results.reading import read_run
from nprep.runs.settings import ReplaySettings, ViewInMemory, ViewSource
from nprep.runs.source import default_table, open_source
from nprep.search.method import Method
from nprep.search.registry import as_method, register_method
from nprep.search.rules import ReplayProtocol
from nprep.spaces.registry import register as register_space
from nprep.table.named import open_table
from nprep.table.sources import register_source
from nprep.table.table import Table
from nprep.table.view import View


def run(
    trials: int = 100,
    methods: str | Sequence[object] | None = None,
    table: str | Path | View | None = None,
    *,
    view: str | None = None,
    protocol: str = "wen2020",
    out: str | Path | None = None,
    jobs: int = 1,
    resume: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Result:
    """Replays search methods on a table, as ``nprep run`` does.

    Args:
        trials: Trials of each method.
        methods: Names as on the command line, one or many, among them objects of your own: a
            ``Method``, its class, or the class of a
            ``Searcher``. None takes those of the protocol.
        table: A table file, or a view that is at hand; None takes the built-in table.
        view: Name of the view of the file; None takes the fullest.
        protocol: Name of the rules (see ``nprep.runs.protocols``).
        out: Folder for results; None takes a temporary one that goes with the result.
        jobs: Number of processes. Above 1 a script needs ``if __name__ == "__main__":`` around
            its work, as with every use of ``multiprocessing``, and methods must be importable.
        resume: Whether to continue a run in ``out``.
        quiet: Whether to show no progress.
        options: Other settings: ``samples``, ``train_samples``, ``top_k``, ``seed``, ``block``,
            ``bootstrap``, ``workers``, and rules that differ from the protocol's, such as
            ``duplicates="free"``.

    Raises:
        NprepError: If something that was asked for cannot be done.
    """
    _workers.leave_unguarded_script()
    fields = {field.name for field in dataclasses.fields(ReplaySettings)} - {"protocol"}
    rules = {field.name for field in dataclasses.fields(ReplayProtocol)} - {"name"}
    for option in options:
        if option not in fields | rules:
            known = ", ".join(sorted(fields | rules))
            raise SettingsError(f"option {option!r} is unknown: use some of {known}.")
    chosen = _methods_of(methods)
    if chosen is not None:
        options["methods"] = chosen
    if "workers" in options:
        options["workers"] = tuple(options["workers"])
    settings = ReplaySettings.of_protocol(protocol, trials=trials, **options)
    source: ViewSource
    if isinstance(table, View):
        source = ViewInMemory(table)
    else:
        with _console.messages(quiet, as_guest=True):
            source = open_source(None if table is None else Path(table), view)
    # It loads or compiles kernels, which wrong settings need not wait for.
    from nprep.replays.engine import run_replay

    folder = Path(tempfile.mkdtemp(prefix="nprep-")) if out is None else Path(out)
    try:
        with _console.messages(quiet, as_guest=True):
            replay = run_replay(settings, source, folder, jobs=jobs, resume=resume)
        result = Result(read_run(folder), {each.method: each for each in replay.curves})
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if out is None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def load(what: str | Path = "default", in_memory: bool = False) -> Table | Result:
    """What a name or a path stands for: a table, or the result of a finished run.

    Args:
        what: "default" (the built-in table, which is built on first use), another name that
            ``nprep table list`` shows, a table file, or the folder of a finished run.
        in_memory: Whether to read a table whole instead of mapping it (see ``nprep.Table``).

    Raises:
        TableError: If it is no table.
        RunFolderError: If it is a folder without a finished run, or with a damaged one.
    """
    with _console.messages(as_guest=True):
        if what == "default":
            return Table.open(default_table(), in_memory)
        path = Path(what)
        return load_run(path) if path.is_dir() else open_table(path, in_memory)


def load_run(folder: str | Path) -> Result:
    """The result of a finished run.

    Args:
        folder: What ``nprep run --out`` wrote.

    Raises:
        RunFolderError: If it is no finished run, or damaged.
    """
    return Result(read_run(Path(folder)), {})


def register(kind: str, name: str, thing: Any) -> None:
    """Makes something of one's own known by a name, for this process and its command lines.

    Worker processes know it if they import the module that registers it. A package does the same
    for every process by an entry point of the group ``nprep.methods``, ``nprep.spaces`` or
    ``nprep.sources``.

    Args:
        kind: "method", "space" or "source".
        name: The name.
        thing: A method: an object or class derived from ``nprep.Method``, or a class with
            ``ask`` and ``tell``. A space: an object derived from ``nprep.Space``. A source of
            tables: a module, or what has its functions (see ``nprep.table.sources``).

    Raises:
        SettingsError: If it is none of these, or the name is taken.
    """
    if kind == "method":
        register_method(name, thing)
    elif kind == "space":
        if getattr(thing, "name", name) != name:
            raise SettingsError(f"space {thing.name!r} cannot be registered as {name!r}.")
        register_space(thing)
    elif kind == "source":
        register_source(name, thing)
    else:
        raise SettingsError(f"kind is {kind!r}: register a method, a space or a source.")


def _methods_of(
    methods: str | object | Sequence[object] | None,
) -> tuple[str | Method, ...] | None:
    """Names of methods, and methods of one's own among them; None for those of the protocol."""
    if methods is None:
        return None
    if isinstance(methods, str):
        return tuple(name.strip() for name in methods.split(",") if name.strip())
    given = methods if isinstance(methods, Sequence) else [methods]
    return tuple(each if isinstance(each, str) else as_method(each) for each in given)
