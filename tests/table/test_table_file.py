"""The file: round trip, determinism, and every way in which a file can be wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import nprep
from nprep.errors import TableError
from nprep.spaces.nb101.cells import cell_keys
from nprep.table._seal import seal
from nprep.table.cli import main
from nprep.table.schema import Content, Metric
from nprep.table.table import Table
from nprep.table.writer import write_table
from nprep.testing.sources import SourceSuite
from tests.table.small import small_content


@pytest.fixture(scope="module")
def content() -> Content:
    return small_content()


@pytest.fixture(scope="module")
def original(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "small.h5"
    write_table(path, content)
    return path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "copy.h5"))


def test_everything_comes_back(content: Content, original: Path) -> None:
    table = Table.open(original)
    assert len(table) == len(content.cells)
    for name in ("adjacency_bits", "operations", "num_vertices"):
        np.testing.assert_array_equal(getattr(table.cells, name), getattr(content.cells, name))
    np.testing.assert_array_equal(table.module_hash, content.facts["module_hash"])
    np.testing.assert_array_equal(table.key, cell_keys(content.cells))
    np.testing.assert_array_equal(table.trainable_parameters, content.facts["trainable_parameters"])
    assert set(table.metrics) == set(content.metrics)
    assert set(table.means) == set(content.means)
    for mine, theirs in ((table.metrics, content.metrics), (table.means, content.means)):
        for name, metric in theirs.items():
            np.testing.assert_array_equal(mine[name].values, metric.values)
            np.testing.assert_array_equal(mine[name].provenance, metric.provenance)
    assert table.views == content.views
    assert table.sources == {"made-up": dict(content.sources["made-up"])}
    assert table.attributes["build_seed"] == 0


def test_maps_equal_what_h5py_reads(original: Path) -> None:
    table = Table.open(original)
    with h5py.File(original) as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        assert sorted(names) == sorted(table.arrays)
        for name in names:
            np.testing.assert_array_equal(table.arrays[name], file[name][...])
            assert file[name].chunks is None
            assert file[name].attrs["axes"]


def test_writing_to_a_map_leaves_the_file_alone(copy: Path) -> None:
    table = Table.open(copy)
    before = int(table.trainable_parameters[0])
    table.trainable_parameters[0] = 1
    assert Table.open(copy).trainable_parameters[0] == before


def test_the_same_content_gives_the_same_bytes(content: Content, tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_table(tmp_path / name, content)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_nothing_is_left_of_a_failed_write(content: Content, tmp_path: Path) -> None:
    path = tmp_path / "table.h5"
    path.write_text("precious")
    broken = small_content()
    metric = next(iter(broken.metrics.values()))
    bad = Metric(metric.values, np.zeros_like(metric.provenance))
    broken = Content(**{**broken.__dict__, "metrics": {("final", "test_accuracy"): bad}})
    with pytest.raises(ValueError, match="provenance"):
        write_table(path, broken)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_exist(content: Content, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be written"):
        write_table(tmp_path / "missing" / "table.h5", content)


# What follows is sealed again: the reader's second line, for files that were written wrong.


def _damage_attribute(name: str, value: object) -> object:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            if value is None:
                del file.attrs[name]
            else:
                file.attrs[name] = value
        seal(path)

    return damage


def _replace_dataset(name: str, **options: object) -> object:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            array = file[name][...]
            del file[name]
            if options.get("shorter"):
                file.create_dataset(name, data=array[:-1])
            elif options.get("absent"):
                pass
            elif options.get("scalar"):
                file.create_dataset(name, data=array.flat[0])
            elif options.get("dtype"):
                file.create_dataset(name, data=array.astype(options["dtype"]))
            else:
                file.create_dataset(name, data=array, **options)
        seal(path)

    return damage


def _cut(share: float) -> object:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return damage


def _overwrite(data: bytes) -> object:
    return lambda path: path.write_bytes(data)


def _foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["metrics"] = np.zeros(3)


def _sealed(foreign: object) -> object:
    def damage(path: Path) -> None:
        foreign(path)  # type: ignore[operator]
        seal(path)

    return damage


def _flip_bits(path: Path, place: int, bits: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= bits
    path.write_bytes(data)


def _flip(place: int) -> object:
    return lambda path: _flip_bits(path, place, 1)


def _change_with_h5py(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["source"] = "somebody else"


def _fill(name: str, value: int) -> object:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[name][...] = value
        seal(path)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda path: path.unlink(), "cannot be read", id="missing"),
        pytest.param(_overwrite(b""), "is empty", id="empty"),
        pytest.param(_overwrite(b"\x0a\x00" * 500), "no HDF5 file", id="no HDF5"),
        pytest.param(_overwrite(b"\x89HDF\r\n\x1a\n"), "truncated or damaged", id="signature"),
        pytest.param(_cut(0.001), "truncated or damaged", id="cut at the start"),
        pytest.param(_cut(0.5), "truncated", id="cut in half"),
        pytest.param(_cut(0.999), "truncated", id="cut at the end"),
        pytest.param(_foreign, "no nprep table", id="foreign"),
        pytest.param(_sealed(_foreign), "no nprep table", id="foreign and sealed"),
        pytest.param(_change_with_h5py, "does not end with", id="changed by another program"),
        pytest.param(_flip(-1), "does not end with", id="magic"),
        pytest.param(_flip(-20), "damaged checksums", id="footer"),
        pytest.param(_flip(-100), "damaged checksums", id="directory"),
        pytest.param(_flip(100), "damaged metadata", id="metadata"),
        pytest.param(_fill("index/slot_keys", 1), "none that could", id="full index"),
        pytest.param(_fill("index/slot_rows", 10**6), "none that could", id="rows of the index"),
        pytest.param(_fill("cells/operations", 77), "none that could", id="operations"),
        pytest.param(_fill("cells/num_vertices", 9), "none that could", id="vertices"),
        pytest.param(_damage_attribute("format", None), "no nprep table", id="no format"),
        pytest.param(_damage_attribute("schema_version", 99), "version 99", id="later version"),
        pytest.param(_damage_attribute("views", None), "attribute views", id="no views"),
        pytest.param(_damage_attribute("rows", 7), "not uint32", id="wrong number of rows"),
        pytest.param(_replace_dataset("cells/key", absent=True), "lacks", id="no keys"),
        pytest.param(_replace_dataset("cells/key", shorter=True), "cells/key is", id="short"),
        pytest.param(_replace_dataset("cells/key", dtype="int64"), "int64", id="dtype"),
        pytest.param(
            _replace_dataset("cells/key", chunks=(10,), compression="gzip"),
            "contiguous",
            id="compressed",
        ),
        pytest.param(_replace_dataset("index/slot_keys", shorter=True), "index", id="short index"),
        pytest.param(
            _replace_dataset("index/slot_keys", scalar=True), "index/slot_keys is", id="scalar"
        ),
        pytest.param(
            _replace_dataset("metrics/final/training_seconds_provenance", absent=True),
            "provenance",
            id="no provenance",
        ),
    ],
)
def test_one_clear_error(copy: Path, damage: object, message: str) -> None:
    damage(copy)  # type: ignore[operator]
    with pytest.raises(TableError, match=message) as caught:
        Table.open(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_in_memory_outlives_its_file(copy: Path) -> None:
    expected = {name: np.array(array) for name, array in Table.open(copy).arrays.items()}
    table, loaded = Table.open(copy, in_memory=True), nprep.load(copy, in_memory=True)
    # Pages of a mapped file would be gone now, which ends a process.
    os.truncate(copy, 100)
    assert isinstance(loaded, Table)
    for each in (table, loaded):
        assert set(each.arrays) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(each.arrays[name], array)
        np.testing.assert_array_equal(each.find(each.cells), np.arange(len(each)))


def test_damage_is_found_in_memory_too(copy: Path) -> None:
    with h5py.File(copy) as file:
        offset = file["metrics/final/training_seconds"].id.get_offset()
    data = bytearray(copy.read_bytes())
    data[offset] ^= 1
    copy.write_bytes(data)
    table = Table.open(copy, in_memory=True)
    with pytest.raises(TableError, match="checksum of its dataset metrics/final/training_seconds"):
        table.metrics["final", "training_seconds"]


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is a folder"):
        Table.open(tmp_path)


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_never_crashes(copy: Path, seed: int) -> None:
    """Bytes of the metadata are changed at random: an error or a table, never anything else."""
    rng = np.random.default_rng(seed)
    data = bytearray(copy.read_bytes())
    for place in rng.integers(0, min(len(data), 3000), size=8):
        data[place] = rng.integers(256)
    copy.write_bytes(data)
    try:
        table = Table.open(copy)
    except TableError:
        return
    assert len(table.module_hash) == len(table)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("cells/module_hash", "row 17: its module hash"),
        ("cells/adjacency_bits", "row 17"),
        ("cells/key", "row 17: its key"),
        ("cells/trainable_parameters", "row 17: its number of trainable parameters"),
        ("metrics/final/validation_accuracy_provenance", "row 17: .* unknown provenance"),
        ("metrics/final/training_seconds", "metrics/final/training_seconds"),
        ("means/final/test_accuracy", "means/final/test_accuracy"),
    ],
)
def test_check_finds_a_flipped_byte(
    copy: Path, capsys: pytest.CaptureFixture[str], dataset: str, message: str
) -> None:
    assert main(["check", str(copy)]) == 0
    with h5py.File(copy) as file:
        item = file[dataset]
        place = item.id.get_offset() + 17 * item[0].nbytes
        if dataset.startswith("means"):
            place += 12
        elif dataset.startswith("metrics") and "provenance" not in dataset:
            place += 24
    _flip_bits(copy, place, 0x40)
    with pytest.raises(TableError, match="damaged"):
        list(Table.open(copy).arrays.values())
    # As if it had been written so.
    seal(copy)
    capsys.readouterr()
    assert main(["check", str(copy)]) == 1
    out = capsys.readouterr().out
    assert pytest.importorskip("re").search(message, out), out


class TestSmallTable(SourceSuite):
    def content(self) -> Content:
        return small_content()
