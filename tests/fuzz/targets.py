"""What is fuzzed: each target damages something and says whether the reader coped.

A case ends as "refused" (one of the project's own errors) or "same" (all data as they were). Any
other exception, and any data that differ, are failures; the caller counts crashes and hangs.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nprep.errors import NprepError, RunFolderError
from nprep.replays.engine import Prepared, blocks_of, prepare, run_replay, run_shard
from nprep.replays.merge import complete_blocks, read_parts, settings_of
from nprep.results.reading import read_run
from nprep.runs.blocks import read_block
from nprep.runs.files import SETTINGS, SUMS
from nprep.runs.folder import opened
from nprep.runs.settings import ReplaySettings
from nprep.runs.shard import Shard
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.spaces.nb101.cells import specs_from_cells
from nprep.table._seal import read_seal, seal
from nprep.table.check import mismatches
from nprep.table.table import Table
from nprep.table.writer import write_table
from tests.fuzz import environments, surroundings
from tests.fuzz.damage import damage_bytes, damage_structure
from tests.synthetic import SyntheticSource
from tests.table.small import small_content

CELLS = 40
SOURCE = SyntheticSource(cells=300)
SETTINGS_OF_RUN = ReplaySettings(
    methods=("random", "evolution"), trials=4, samples=20, block=2, bootstrap=10
)

# Damages, reads, and returns how it ended and what was done.
Case = Callable[[np.random.Generator], tuple[str, str]]


class WrongDataError(AssertionError):
    """Data differ from what was written and nobody noticed."""


def digest_of(value: Any) -> str:
    """A digest of an array, or of anything that can be pickled."""
    if isinstance(value, np.ndarray):
        header = f"{value.dtype.str} {value.shape}".encode()
        data = header + np.ascontiguousarray(value).tobytes()
    else:
        data = repr(value).encode()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def reads_of(table: Table) -> Iterator[tuple[str, str]]:
    """Whatever can be asked of a table, each answer with its name and as a digest."""
    yield "attributes", digest_of(sorted(table.attributes.items(), key=str))
    yield "sources", digest_of(sorted(table.sources.items(), key=str))
    yield "views", digest_of(table.views)
    rng = np.random.default_rng(0)
    rows = np.arange(len(table))
    yield "rows of specs", digest_of(table.find_specs(table.cells))
    yield "rows of hashes", digest_of(table.find_hashes(table.module_hash))
    for name in sorted(table.arrays):
        yield name, digest_of(table.arrays[name])
    for row in (0, len(table) - 1):
        yield f"answer {row}", digest_of(vars(table.query(row, rng=rng)))
        hashed = table.module_hash[row].tobytes()
        yield f"answer {row} by hash", digest_of(vars(table.query(hashed, repeat=0)))
    spec = specs_from_cells(table.cells.take(np.array([0])))[0]
    yield "answer by spec", digest_of(vars(table.query(spec, repeat="mean")))
    answers = table.query_batch(rows, rng=rng)
    yield "answers", digest_of([(name, digest_of(array)) for name, array in answers.items()])
    yield (
        "description",
        digest_of([(k, v) for k, v in table.describe().items() if k not in ("path", "bytes")]),
    )
    for name in ("completed", "measured"):
        view = table.view(name)
        for field in ("rows", "validation", "test", "training_seconds"):
            yield f"{name} {field}", digest_of(getattr(view, field))
        yield f"{name} provenance", digest_of(view.provenance)
        for method in ("random", "evolution"):
            made = make_method(method, 10)
            (trace,) = made.run_block(view, [trial_seed(0, method, 0)], 60, ReplayProtocol())
            yield f"{name} {method}", digest_of(trace.positions)
    yield "mismatches", digest_of(list(mismatches(table)))


def table_bytes(base: Path, scratch: Path) -> Case:
    """Bytes of a table file are changed."""
    original = base / "table.h5"
    if not original.exists():
        write_table(original, small_content(CELLS))
    data = original.read_bytes()
    expected = dict(reads_of(Table.open(original)))
    # What is no dataset's: metadata and the seal.
    hot, position = [], 0
    for piece in sorted(read_seal(original).values(), key=lambda piece: piece.offset):
        if piece.offset > position:
            hot.append((position, piece.offset))
        position = piece.offset + piece.size
    hot.append((position, len(data)))
    path = scratch / "table.h5"

    def case(rng: np.random.Generator) -> tuple[str, str]:
        damaged, what = damage_bytes(rng, data, hot)
        path.write_bytes(damaged)
        seen = 0
        try:
            for name, digest in reads_of(Table.open(path)):
                seen += 1
                if digest != expected[name]:
                    raise WrongDataError(f"{name} differs after: {what}")
        except NprepError:
            return "refused", what
        if seen != len(expected):
            raise WrongDataError(f"{len(expected) - seen} answers are missing after: {what}")
        if damaged != data:
            raise WrongDataError(f"nobody noticed: {what}")
        return "same", what

    return case


def table_structure(base: Path, scratch: Path) -> Case:
    """A table is changed with h5py; then once more sealed, as if written so."""
    original = base / "table.h5"
    if not original.exists():
        write_table(original, small_content(CELLS))
    path = scratch / "structure.h5"

    def case(rng: np.random.Generator) -> tuple[str, str]:
        shutil.copyfile(original, path)
        what = damage_structure(rng, path)
        try:
            Table.open(path)
        except NprepError:
            pass
        else:
            raise WrongDataError(f"nobody noticed: {what}")
        seal(path)
        try:
            table = Table.open(path)
            with h5py.File(path) as file:
                for name in table.arrays:
                    if digest_of(table.arrays[name]) != digest_of(file[name][...]):
                        raise WrongDataError(f"{name} differs after: {what}")
            for _ in reads_of(table):
                pass
        except NprepError:
            return "refused", what
        # Sound in itself, such as other values: what was written is what is read.
        return "same", what

    return case


def _make_run(base: Path) -> tuple[Path, Path]:
    """Two finished runs that differ in their seed."""
    run, other = base / "run", base / "other"
    if not run.exists():
        run_replay(SETTINGS_OF_RUN, SOURCE, run)
        run_replay(_reseeded(), SOURCE, other)
    return run, other


def _reseeded() -> ReplaySettings:
    return ReplaySettings(**{**vars(SETTINGS_OF_RUN), "seed": 1})


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def reads_of_run(folder: Path, prepared: Prepared) -> Iterator[tuple[str, str]]:
    """Whatever is read of a run's folder; what is refused is left out."""
    try:
        with opened(folder, prepared.content, resume=True):
            yield "settings", "accepted"
    except RunFolderError:
        pass
    for block in blocks_of(prepared.settings):
        try:
            results = read_block(folder, block, 20, prepared.view.validation.shape, prepared.run)
        except ValueError:
            continue  # It would be run again.
        arrays = (results.positions, results.repeats, results.lengths)
        yield str(block.file), digest_of([digest_of(array) for array in arrays])
    try:
        run = read_run(folder)
    except NprepError:
        return
    yield "content", digest_of(json.dumps(run.content))
    yield "summary", digest_of(json.dumps(run.summary))
    yield "curves", hashlib.blake2b(pickle.dumps(run.series)).hexdigest()


def _damage_a_file(rng: np.random.Generator, folder: Path) -> str:
    files = _files(folder)
    path = files[rng.integers(len(files))]
    data, what = damage_bytes(rng, path.read_bytes())
    path.write_bytes(data)
    return f"{path.relative_to(folder)}: {what}"


def _shuffle_files(rng: np.random.Generator, folder: Path, foreign: Path) -> str:
    """Damage by hand: files swapped, lost, or from another run."""
    files = _files(folder)
    one, two = (files[i] for i in rng.choice(len(files), 2, replace=False))
    kind = int(rng.integers(6))
    names = f"{one.relative_to(folder)} and {two.relative_to(folder)}"
    if kind == 0:
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        return f"swap {names}"
    if kind == 1:
        shutil.copyfile(two, one)
        return f"copy the second over the first: {names}"
    if kind == 2:
        one.unlink()
        return f"remove the first: {names}"
    if kind == 3:
        one.unlink()
        one.mkdir()
        return f"a folder in place of the first: {names}"
    if kind == 4:
        one.unlink()
        one.symlink_to(one.name)
        return f"a link to itself in place of the first: {names}"
    shutil.copyfile(foreign / one.relative_to(folder), one)
    return f"another run's in place of the first: {names}"


def _restored(base: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(base, folder)


def run_folder(base: Path, scratch: Path) -> Case:
    """A file of a run's folder is changed, or files are mixed up; then all of it is read."""
    run, other = _make_run(base)
    folder = scratch / "run"
    prepared = prepare(SETTINGS_OF_RUN, SOURCE)
    _restored(run, folder)
    expected = dict(reads_of_run(folder, prepared))

    def case(rng: np.random.Generator) -> tuple[str, str]:
        _restored(run, folder)
        if rng.random() < 0.8:
            what = _damage_a_file(rng, folder)
        else:
            what = _shuffle_files(rng, folder, other)
        found = dict(reads_of_run(folder, prepared))
        for name, digest in found.items():
            if digest != expected[name]:
                raise WrongDataError(f"{name} differs after: {what}")
        return "same" if len(found) == len(expected) else "refused", what

    return case


def run_resumed(base: Path, scratch: Path) -> Case:
    """A run with damage is resumed: refused, or all its files are as they were."""
    run, other = _make_run(base)
    folder = scratch / "resumed"
    prepared = prepare(SETTINGS_OF_RUN, SOURCE)
    outputs = [path.name for path in run.iterdir() if path.is_file() and path.name != ".lock"]
    expected = dict(reads_of_run(run, prepared))

    def case(rng: np.random.Generator) -> tuple[str, str]:
        _restored(run, folder)
        if rng.random() < 0.7:
            what = _damage_a_file(rng, folder)
        else:
            what = _shuffle_files(rng, folder, other)
        try:
            run_replay(SETTINGS_OF_RUN, SOURCE, folder, resume=True)
        except NprepError:
            return "refused", what
        # Some bytes of an archive, such as dates, have no effect, and what settings.json says
        # beside the settings is for people.
        found = dict(reads_of_run(folder, prepared))
        names = {name for name in expected if name != "content"}
        if any(found.get(name) != expected[name] for name in names):
            raise WrongDataError(f"what is read differs after: {what}")
        for name in set(outputs) - {SETTINGS, SUMS}:
            if (folder / name).read_bytes() != (run / name).read_bytes():
                raise WrongDataError(f"{name} differs after: {what}")
        return "same", what

    return case


def shards(base: Path, scratch: Path) -> Case:
    """A file of one of two shards is changed, or they are mixed up; then they are joined."""
    parts = [base / f"shard-{number}" for number in (1, 2)]
    other = base / "foreign-shard"
    if not other.exists():
        for number, part in enumerate(parts, 1):
            run_shard(SETTINGS_OF_RUN, SOURCE, part, Shard(number, 2))
        run_shard(_reseeded(), SOURCE, other, Shard(1, 2))
    folders = [scratch / part.name for part in parts]
    blocks = blocks_of(SETTINGS_OF_RUN)
    expected = {}
    for part in parts:
        for path in _files(part):
            if path.name != SETTINGS:
                expected[path.relative_to(part)] = path.read_bytes()
    assert len(expected) == len(blocks)
    content = json.loads((parts[0] / SETTINGS).read_bytes())

    def case(rng: np.random.Generator) -> tuple[str, str]:
        for part, folder in zip(parts, folders, strict=True):
            _restored(part, folder)
        chosen = folders[rng.integers(2)]
        if rng.random() < 0.7:
            what = _damage_a_file(rng, chosen)
        elif rng.random() < 0.5:
            what = _shuffle_files(rng, folders[0], other)
        else:
            shutil.copyfile(other / SETTINGS, chosen / SETTINGS)
            what = "settings of another run"
        try:
            found = read_parts(folders)
            settings = settings_of(found[0].content, found[0].folder)
            prepared = prepare(settings, SOURCE)
            got = {
                block: part.folder for part in found for block in complete_blocks(prepared, part)
            }
        except NprepError:
            return "refused", what
        if found[0].content["run"] != content["run"]:
            raise WrongDataError(f"the settings differ after: {what}")
        for block, folder in got.items():
            results = read_block(folder, block, 20, prepared.view.validation.shape)
            sound = read_block(
                parts[blocks.index(block) % 2], block, 20, prepared.view.validation.shape
            )
            if digest_of(results.positions) != digest_of(sound.positions):
                raise WrongDataError(f"{block.file} differs after: {what}")
        return ("same" if len(got) == len(blocks) else "refused"), what

    return case


# Each with its share of the cases. A resume draws figures, so it is slow.
TARGETS: dict[str, tuple[Callable[[Path, Path], Case], float]] = {
    "table-bytes": (table_bytes, 0.4),
    "table-structure": (table_structure, 0.13),
    "run-folder": (run_folder, 0.2),
    "shards": (shards, 0.07),
    "run-resumed": (run_resumed, 0.01),
    "file-kinds": (surroundings.file_kinds, 0.1),
    "faults": (surroundings.faults, 0.03),
    "places": (surroundings.places, 0.06),
    # A process each.
    "environments": (environments.environments, 0.003),
}
