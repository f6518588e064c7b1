from __future__ import annotations

import argparse
import gzip
import os
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.spaces.nb101.facts import SPACE_SIZE
from nprep.table.sources import freerea
from nprep.table.sources.freerea import MEAN_IMAGES, OPTIMUM, OPTIMUM_HASH, read_test_means

BEST_ROW = 4789


def push(value: Any) -> bytes:
    """The opcodes that push a plain value."""
    return pickle.dumps(value, 3)[2:-1]


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def array(dtype: str, shape: tuple[int, ...], data: Any) -> bytes:
    core = "numpy.core.multiarray"
    out = name(core, "_reconstruct") + b"(" + name("numpy", "ndarray") + push((0,)) + push(b"b")
    out += b"tR(" + push(1) + push(shape)
    out += name("numpy", "dtype") + b"(" + push(dtype) + push(False) + push(True) + b"tR"
    out += push((3, "<", None, None, None, -1, -1, 0)) + b"b"
    return out + push(False) + push(data) + b"tb"


def block(values: np.ndarray, places: tuple[int, int, int]) -> bytes:
    """One block: partial(new_block, ndim=2)(values, slice)."""
    new_block = name("pandas.core.internals.blocks", "new_block")
    out = name("functools", "partial") + new_block + b"\x85R"
    out += b"(" + new_block + push(()) + push({"ndim": 2}) + push(None) + b"tb"
    out += array(values.dtype.str[1:], values.shape, values.tobytes())
    return out + name("builtins", "slice") + push(places) + b"R\x86R"


def frame(accuracy: np.ndarray, columns: tuple[str, ...] = ("index", "accuracy")) -> bytes:
    """A pickled data frame as pandas 1.3 to 1.5 writes it."""
    rows = len(accuracy)
    blocks = block(np.arange(rows)[None], (0, 1, 1)) + block(accuracy[None], (1, 2, 1)) + b"\x86"
    index = name("pandas.core.indexes.base", "_new_Index")
    texts = array("O8", (len(columns),), list(columns))
    first = index + name("pandas.core.indexes.base", "Index")
    first += b"}(" + push("data") + texts + push("name") + push(None) + b"u\x86R"
    second = index + name("pandas.core.indexes.range", "RangeIndex")
    second += push({"name": None, "start": 0, "stop": rows, "step": 1}) + b"\x86R"
    manager = name("pandas.core.internals.managers", "BlockManager")
    manager += blocks + b"](" + first + second + b"e\x86R"
    out = b"\x80\x03" + name("pandas.core.frame", "DataFrame") + b")\x81"
    out += b"}(" + push("_mgr") + manager + push("_typ") + push("dataframe") + b"ub."
    return out


def accuracies() -> np.ndarray:
    rng = np.random.default_rng(0)
    correct = rng.integers(3000, OPTIMUM, SPACE_SIZE)
    correct[BEST_ROW] = OPTIMUM
    return correct / MEAN_IMAGES


def hashes() -> np.ndarray:
    out = np.zeros((SPACE_SIZE, 16), np.uint8)
    out[BEST_ROW] = list(bytes.fromhex(OPTIMUM_HASH))
    return out


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_of_the_same_form(tmp_path: Path, packed: bool) -> None:
    values = accuracies()
    # Accuracies were means of single-precision numbers.
    values += np.random.default_rng(1).uniform(-1, 1, SPACE_SIZE) * 2e-8
    path = tmp_path / "accuracies.pkl"
    data = frame(values)
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    means = read_test_means(path, hashes())
    assert np.array_equal(means.correct, np.rint(accuracies() * MEAN_IMAGES))
    assert not means.known


WRONG = (
    "a row too few",
    "outside 0 to 1",
    "not a number",
    "off the grid",
    "another order",
    "another optimum",
    "another column",
    "integers",
    "a list",
    "cut off",
    "gzip cut off",
    "gzip damaged",
    "a call",
    "an eval",
    "empty",
)


@lru_cache(maxsize=1)
def wrong_contents() -> dict[str, tuple[Any, str]]:
    good = accuracies()
    outside, off, moved, low = (good.copy() for _ in range(4))
    outside[5] = 1.5
    off[7] += 0.5 / MEAN_IMAGES
    moved[[BEST_ROW, BEST_ROW + 1]] = good[[BEST_ROW + 1, BEST_ROW]]
    low[BEST_ROW] = (OPTIMUM - 1) / MEAN_IMAGES
    missing = good.copy()
    missing[3] = np.nan
    packed = gzip.compress(frame(good), 1)
    return {
        "a row too few": (frame(good[:-1]), "423623 rows; the space has 423624"),
        "outside 0 to 1": (frame(outside), "outside 0 to 1"),
        "not a number": (frame(missing), "outside 0 to 1"),
        "off the grid": (frame(off), "row 7 is .* no multiple of 1/29952"),
        "another order": (frame(moved), "not in the order of the hashes"),
        "another optimum": (frame(low), "must be 02e5a024"),
        "another column": (frame(good, ("index", "score")), "columns index, score; one"),
        "integers": (frame(np.arange(SPACE_SIZE)), "columns index, accuracy; one of numbers"),
        "a list": (pickle.dumps([1, 2]), "no data frame"),
        "cut off": (frame(good)[:100_000], "cut off or damaged|no pickle"),
        "gzip cut off": (packed[:-9000], "gzip archive is cut off"),
        "gzip damaged": (packed[:5000] + b"??" + packed[5002:], "damaged|no pickle|not"),
        # Not print, which Ray replaces by its own.
        "a call": (pickle.dumps(eval), "names builtins.eval"),
        "an eval": (
            frame(good).replace(b"cfunctools\npartial", b"cbuiltins\neval"),
            "names builtins.eval, .* not run",
        ),
        "empty": (b"", "cut off"),
    }


@pytest.mark.parametrize("case", WRONG)
def test_files_that_are_wrong(tmp_path: Path, case: str) -> None:
    content, message = wrong_contents()[case]
    path = tmp_path / "accuracies.pkl.gz"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_test_means(path, hashes())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        read_test_means(tmp_path / "absent", hashes())


def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freerea, "_MAX_BYTES", 1 << 20)
    path = tmp_path / "accuracies.pkl.gz"
    path.write_bytes(gzip.compress(bytes(2 << 20)))
    with pytest.raises(TableError, match="unpacks to more than 1 MiB"):
        read_test_means(path, hashes())


def test_a_frame_of_the_pandas_at_hand_is_read_or_refused(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "frame.pkl"
    data = pandas.DataFrame({"accuracy": accuracies()})
    data.columns = pandas.Index(["accuracy"], dtype=object)
    for protocol in (4, 5):
        data.to_pickle(path, protocol=protocol)
        try:
            means = read_test_means(path, hashes())
        except TableError:
            continue
        assert np.array_equal(means.correct, np.rint(accuracies() * MEAN_IMAGES))


@pytest.fixture(scope="module")
def published_path() -> Path:
    folder = os.environ.get("NPREP_DATA")
    if not folder:
        pytest.skip("NPREP_DATA is not set: it names the folder that holds sources/")
    path = Path(folder) / "sources" / "freerea_accuracies.pkl.gz"
    if not path.is_file():
        pytest.skip(f"NPREP_DATA is {folder}, which holds no sources/freerea_accuracies.pkl.gz")
    return path


@pytest.mark.data
def test_the_published_file(published_path: Path, measured_path: Path) -> None:
    with np.load(measured_path) as archive:
        means = read_test_means(published_path, archive["module_hash"])
        assert means.known
        assert np.array_equal(means.correct, archive["test_correct_108_sum3"])


@pytest.mark.data
def test_a_table_of_the_published_file(published_path: Path, measured_path: Path) -> None:
    content = freerea.build(
        argparse.Namespace(input=published_path, build_seed=0, condition="none"), lambda line: None
    )
    mean = content.means["final", "test_accuracy"].values[:, 3]
    with np.load(measured_path) as archive:
        assert np.array_equal(mean, (archive["test_correct_108_sum3"] / MEAN_IMAGES).astype("f4"))
    repeats = content.metrics["final", "test_accuracy"].values[:, 3]
    assert np.allclose(repeats.mean(axis=1), mean, atol=1e-6)
    assert set(content.views) == {"completed"}
    assert content.sources["freerea"]["sha256"] == freerea.KNOWN_SHA256
