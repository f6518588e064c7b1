"""Fuzz targets beside damage: kinds of files, faults of the system, and places for output."""

from __future__ import annotations

import bz2
import contextlib
import errno
import fcntl
import gzip
import itertools
import os
import pickle
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from nprep import _files
from nprep.errors import NprepError
from nprep.replays import engine
from nprep.replays.engine import run_replay
from nprep.runs.files import write_file
from nprep.runs.settings import ReplaySettings
from nprep.table.export import to_npz
from nprep.table.sources.community import read_nasbench_pickle, read_neural_predictor_hdf5
from nprep.table.sources.freerea import read_test_means
from nprep.table.sources.kind import check_kind, kind_of
from nprep.table.sources.measured import _read as read_measured
from nprep.table.sources.nasbench import read_nasbench
from nprep.table.sources.nats import read_folder
from nprep.table.sources.nb201_csv import read_csv
from nprep.table.sources.nb201_naslib import read_pickle
from nprep.table.table import Table
from nprep.table.writer import write_table
from tests import tfrecord_writer
from tests.fuzz.damage import damage_bytes
from tests.synthetic import SyntheticSource
from tests.table import (
    nats_writer,
    official_small,
    test_community,
    test_freerea,
    test_nb201_csv,
    test_nb201_naslib,
)
from tests.table.small import small_content

Rng = np.random.Generator
Case = Callable[[Rng], tuple[str, str]]


class NotOneSentenceError(AssertionError):
    """A refusal that is no clear sentence."""


class ChangedError(AssertionError):
    """Something was lost or replaced that nobody asked for."""


def refused(error: NprepError, what: str) -> tuple[str, str]:
    """The end of a case that was refused in one sentence."""
    text = str(error)
    if not text or "\n" in text or len(text) > 1500:
        raise NotOneSentenceError(f"{text!r} after: {what}")
    return "refused", what


# Kinds of files.

_SPACE = official_small.small_space(20)
_READERS: dict[str, Callable[[Path], object]] = {
    "nasbench": lambda path: read_nasbench(path, _SPACE, jobs=1),
    "nasbench-pickle": lambda path: read_nasbench_pickle(path, _SPACE),
    "neuralpredictor": lambda path: read_neural_predictor_hdf5(path, _SPACE),
    "freerea": lambda path: read_test_means(path, _SPACE.module_hash),
    "measured": read_measured,
    "nb201-csv": lambda path: read_csv(path, "cifar10"),
    "nb201-naslib": lambda path: read_pickle(path, "cifar10"),
    "nats": lambda path: read_folder(path, "cifar10"),
}


_OWN = {
    "tfrecord": "nasbench",
    "hdf5": "neuralpredictor",
    "csv": "nb201-csv",
    "naslib 101": "nasbench-pickle",
    "nasbenchapi": "nasbench-pickle",
    "naslib 201": "nb201-naslib",
    "freerea": "freerea",
    "frame": "freerea",
    "npz": "measured",
}


def _sound_files(folder: Path) -> dict[str, bytes]:
    """A file of each kind, by the source that reads it or by what it is."""
    values = official_small.made_up_values(_SPACE)
    tfrecord, npz = folder / "tfrecord", folder / "npz"
    tfrecord_writer.write(tfrecord, official_small.records(_SPACE, values))
    with npz.open("wb") as file:
        np.savez(file, single_rows=np.arange(3), other=np.zeros(4))
    test_community.write_hdf5(folder / "hdf5", test_community.hdf5_content())
    test_nb201_csv.write(folder / "csv", test_nb201_csv.lines_of(20))
    write_table(folder / "table", small_content(12))
    accuracies = test_freerea.frame(np.full(30, 0.9))
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return {
        **files,
        "naslib 101": pickle.dumps(test_community.naslib_content(), 4),
        "nasbenchapi": pickle.dumps(test_community.nasbenchapi_content(), 2),
        "naslib 201": pickle.dumps(test_nb201_naslib.entries(5, ("cifar10-valid",)), 4),
        "freerea": gzip.compress(accuracies),
        "frame": accuracies,
        "packed tfrecord": gzip.compress(files["tfrecord"]),
        "bzip2": bz2.compress(files["tfrecord"]),
        "web page": b"<!doctype html><html>Not found</html>",
        "json": b'{"a": [1, 2]}',
        "text": "größer\n".encode("latin-1") * 50,
        "empty": b"",
        "zeros": bytes(4096),
    }


def file_kinds(base: Path, scratch: Path) -> Case:
    """A file of one kind, sound or damaged, is given to a reader of another, or of its own."""
    folder = base / "kinds"
    if not folder.exists():
        folder.mkdir()
        content = pickle.dumps(_sound_files(folder))
        (base / "kinds.pickle").write_bytes(content)
    files: dict[str, bytes] = pickle.loads((base / "kinds.pickle").read_bytes())
    nats = base / "nats"
    if not nats.exists():
        nats.mkdir()
        nats_writer.write_folder(nats, [0, 3])
    path = scratch / "input"

    def case(rng: Rng) -> tuple[str, str]:
        kind = str(rng.choice([*files]))
        reader = _OWN.get(kind, "") if rng.random() < 0.4 else ""
        reader = reader or str(rng.choice([*_READERS]))
        data, what = files[kind], "sound"
        if data and rng.random() < 0.6:
            data, what = damage_bytes(rng, data, [(0, min(64, len(data)))])
        what = f"{kind} for {reader}: {what}"
        if reader == "nats" and rng.random() < 0.7:
            if path.exists():
                path.unlink()
            shutil.rmtree(scratch / "folder", ignore_errors=True)
            shutil.copytree(nats, scratch / "folder")
            (next((scratch / "folder").iterdir())).write_bytes(data)
            target = scratch / "folder"
        else:
            path.write_bytes(data)
            target = path
        try:
            kind_of(target)
            check_kind(target, reader)
        except NprepError as error:
            # Whether it is read all the same, and how it is refused then, is asked as well.
            refused(error, what)
        try:
            _READERS[reader](target)
        except NprepError as error:
            return refused(error, what)
        return "same", what

    return case


# Faults of the system.

_SOURCE = SyntheticSource(cells=200)
_SETTINGS = ReplaySettings(
    methods=("random", "evolution"), trials=4, samples=15, block=2, bootstrap=10
)
_FAULTS = (
    errno.ENOSPC,
    errno.EIO,
    errno.EACCES,
    errno.EROFS,
    errno.EMFILE,
    errno.EDQUOT,
    errno.ESTALE,
    errno.ENOMEM,
)
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def _plain_figure(folder: Path, *_: object) -> list[Path]:
    """Stands in for figures, which take most of a run's time."""
    path = folder / "figure.svg"
    write_file(path, b"<svg/>")
    return [path]


def _everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".lock")
    }


def _failing(real: Callable[..., Any], at: int, times: int, number: int) -> Callable[..., Any]:
    """A function that fails with an error of the system at some of its calls."""
    calls = itertools.count()

    def call(*arguments: Any, **options: Any) -> Any:
        if at <= next(calls) < at + times:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    return call


def faults(base: Path, scratch: Path) -> Case:
    """The system fails a run now and then: refused, and resumed to the same files afterwards."""
    reference = base / "faultless"
    with mock.patch.object(engine, "save_figure", _plain_figure):
        if not reference.exists():
            run_replay(_SETTINGS, _SOURCE, reference)
    expected = _everything(reference)
    folder = scratch / "faults"
    table, content = scratch / "table.h5", small_content(12)

    def case(rng: Rng) -> tuple[str, str]:
        shutil.rmtree(folder, ignore_errors=True)
        number = int(rng.choice(_FAULTS))
        at, times = int(rng.integers(0, 14)), int(rng.choice([1, 2, 1000]))
        targets: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
            (os, "replace", os.replace),
            (Path, "write_bytes", Path.write_bytes),
            (Path, "touch", Path.touch),
            (Path, "mkdir", Path.mkdir),
            (Path, "read_bytes", Path.read_bytes),
            (Path, "iterdir", Path.iterdir),
        )
        owner, name, real = targets[rng.integers(len(targets))]
        locks = int(rng.choice([0, 0, *_NO_LOCKS]))
        what = f"{name} fails with {errno.errorcode[number]} from call {at}, {times} times"
        if locks:
            what += f"; flock with {errno.errorcode[locks]}"

        def flock(*arguments: Any) -> None:
            raise OSError(locks, os.strerror(locks))

        ended = "same"
        failing = _failing(real, at, times, number)
        replaced = failing if owner is os else lambda *a, **o: failing(*a, **o)
        with contextlib.ExitStack() as patched:
            patched.enter_context(mock.patch.object(engine, "save_figure", _plain_figure))
            if locks:
                patched.enter_context(mock.patch.object(fcntl, "flock", flock))
            with mock.patch.object(owner, name, replaced):
                try:
                    run_replay(_SETTINGS, _SOURCE, folder)
                except NprepError as error:
                    ended, _ = refused(error, what)
                if owner is os:
                    table.write_bytes(b"former")
                try:
                    write_table(table, content)
                except NprepError as error:
                    refused(error, what)
                    if owner is os and table.read_bytes() != b"former":
                        raise ChangedError(f"the former table is gone after: {what}") from None
            # Whatever was there before, the run ends when the fault is over.
            run_replay(_SETTINGS, _SOURCE, folder, resume=True)
        left = [path.name for path in folder.rglob(".*.tmp")]
        if left or _everything(folder) != expected:
            raise ChangedError(f"other files ({left}) after: {what}")
        table.unlink(missing_ok=True)
        return ended, what

    return case


# Places for output.


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        # Names of sockets are short.
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


def _file(path: Path) -> None:
    path.write_bytes(b"former")


_PLACES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "file": _file,
    "folder": Path.mkdir,
    "fifo": _fifo,
    "socket": _socket,
    "null": lambda path: path.symlink_to(os.devnull),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "dangling": lambda path: path.symlink_to(path.with_name("target")),
    "dangling into nowhere": lambda path: path.symlink_to(path.with_name("no") / "where"),
    "link to a folder": lambda path: path.symlink_to(path.parent),
}
_NAMES = (
    "out",
    "-out",
    "o u t",
    "größer",
    "new\nline",
    "x" * 200,
    "x" * 255,
    "x" * 256,
    "a/b",
    "~",
)


def places(base: Path, scratch: Path) -> Case:
    """Output goes where something lies already: written whole, or refused and nothing lost."""
    original = base / "table-of-places.h5"
    if not original.exists():
        write_table(original, small_content(12))
    table = Table.open(original)
    content = small_content(12)

    writers: dict[str, Callable[[Path], object]] = {
        "bytes": lambda path: _files.write_file(path, b"new"),
        "durable": lambda path: _files.write_file(path, lambda f: f.write(b"new"), durable=True),
        "table": lambda path: write_table(path, content),
        "npz": lambda path: to_npz(table, path),
    }

    def case(rng: Rng) -> tuple[str, str]:
        folder = scratch / "places"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        there, name = str(rng.choice([*_PLACES])), _NAMES[rng.integers(len(_NAMES))]
        writer = str(rng.choice([*writers]))
        what = f"{writer} onto {there} called {name[:20]!r}"
        path = folder / name
        try:
            _PLACES[there](path)
        except OSError:
            there = "nothing"
        before = stat.S_IFMT(os.lstat(path).st_mode) if os.path.lexists(path) else None
        try:
            writers[writer](path)
        except NprepError as error:
            # A name with line breaks is quoted as it is.
            if "\n" not in name:
                refused(error, what)
            after = stat.S_IFMT(os.lstat(path).st_mode) if os.path.lexists(path) else None
            if after != before or (there == "file" and path.read_bytes() != b"former"):
                raise ChangedError(f"what was there has changed after: {what}") from None
            ended = "refused"
        else:
            if not path.is_file() or path.read_bytes() in (b"", b"former"):
                raise ChangedError(f"nothing was written by: {what}")
            ended = "same"
        if list(folder.rglob(".*.tmp")):
            raise ChangedError(f"a temporary file is left by: {what}")
        return ended, what

    return case
