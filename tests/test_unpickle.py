from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import TableError
from nprep.table.sources._opcodes import last_memo_place
from nprep.table.sources._unpickle import Inert, load_inert, to_array

PATH = Path("file.pkl")
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def load(data: bytes) -> Any:
    return load_inert(io.BytesIO(data), PATH)


ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.arange(6.0).reshape(2, 3).T,
    np.eye(3, dtype=np.int8),
    np.zeros((0, 3)),
    np.arange(4, dtype=">i4"),
    np.array([True, False]),
    np.array(2.5),
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_back(array: np.ndarray, protocol: int) -> None:
    found = to_array(load(pickle.dumps(array, protocol)))
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_come_back(protocol: int) -> None:
    for value in (np.float32(0.5), np.int8(-3), np.bool_(True)):
        found = to_array(load(pickle.dumps(value, protocol)))
        assert found.shape == ()
        assert found == value
        assert found.dtype == value.dtype


def test_names_of_numpy_1_are_known() -> None:
    data = pickle.dumps(np.arange(3), 2).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core" in data
    assert to_array(load(data)).tolist() == [0, 1, 2]


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(plain, st.sampled_from(range(3, pickle.HIGHEST_PROTOCOL + 1)))
@settings(max_examples=100)
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol)) == value


class Command:
    """What a hostile pickle does: any call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> Any:
        return self.parts


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        Command(os.system, "touch owned"),
        Command(eval, "open('owned', 'w')"),
        Command(exec, "open('owned', 'w')"),
        Command(getattr, "a", "join"),
        Command(open, "owned", "w"),
        Command(__import__, "os"),
        Command(np.load, "owned"),
        np.array([Command(os.system, "touch owned")], object),
        collections.OrderedDict(a=1),
        collections.Counter("a"),
        Command(pickle.loads, b"x"),
        ValueError("text"),
        Path("a"),
    ],
    ids=lambda value: (
        value.parts[0].__name__ if isinstance(value, Command) else type(value).__name__
    ),
)
def test_whatever_else_is_named_is_refused_and_not_run(
    value: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(value, protocol)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TableError, match=r"the pickle names .* it was not run"):
        load(data)
    assert list(tmp_path.iterdir()) == []


def test_admitted_names_are_recorded_not_run() -> None:
    data = pickle.dumps(Command(os.getcwd), 2)
    module, name = os.getcwd.__module__, os.getcwd.__name__
    found = load_inert(io.BytesIO(data), PATH, {f"{module}.{name}"})
    assert isinstance(found, Inert)
    assert (found.name, found.args, found.state) == (f"{module}.{name}", (), None)


def test_object_arrays_are_never_built() -> None:
    found = load(pickle.dumps(np.array(["a", None], object)))
    with pytest.raises(ValueError, match="dtype 'O8'"):
        to_array(found)


def global_(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def plain_(value: Any) -> bytes:
    """The opcodes that push a plain value."""
    return pickle.dumps(value, 3)[2:-1]


def array_opcodes(dtype: str, shape: Any, data: Any, order: Any = "<") -> bytes:
    start = global_("numpy.core.multiarray._reconstruct") + b"("
    start += global_("numpy.ndarray") + plain_((0,)) + plain_(b"b") + b"tR"
    kind = global_("numpy.dtype") + b"(" + plain_(dtype) + plain_(False) + plain_(True) + b"tR"
    kind += plain_((3, order, None, None, None, -1, -1, 0)) + b"b"
    return start + b"(" + plain_(1) + plain_(shape) + kind + plain_(False) + plain_(data) + b"tb"


@pytest.mark.parametrize(
    ("dtype", "shape", "data", "order"),
    [
        ("f8", (2,), bytes(15), "<"),
        ("f8", (3,), bytes(16), "<"),
        ("f8", (-1,), bytes(16), "<"),
        ("f8", (2.0,), bytes(16), "<"),
        ("f8", "2", bytes(16), "<"),
        ("f8", (1 << 62, 1 << 62), bytes(16), "<"),
        ("f8", (2,), "text", "<"),
        ("f8", (2,), [1.0, 2.0], "<"),
        ("O8", (2,), bytes(16), "|"),
        ("V8", (2,), bytes(16), "|"),
        ("M8", (2,), bytes(16), "<"),
        ("U4", (1,), bytes(16), "<"),
        ("f9", (1,), bytes(9), "<"),
        ("f8,O", (1,), bytes(16), "<"),
        ("f8", (2,), bytes(16), "?"),
        (8, (2,), bytes(16), "<"),
        ("f8", (1,) * 40, bytes(8), "<"),
    ],
)
def test_arrays_whose_size_is_wrong_are_refused(
    dtype: Any, shape: Any, data: Any, order: str
) -> None:
    good = load(b"\x80\x03" + array_opcodes("f8", (2,), bytes(16)) + b".")
    assert to_array(good).tolist() == [0.0, 0.0]
    found = load(b"\x80\x03" + array_opcodes(dtype, shape, data, order) + b".")
    with pytest.raises(ValueError, match="array"):
        to_array(found)


@pytest.mark.parametrize("data", [b"", b"no pickle", b"\x80\x04", b"\x80\x63.", b"(lp0\n", b"K"])
def test_files_that_are_no_pickles(data: bytes) -> None:
    with pytest.raises(TableError, match=r"file\.pkl"):
        load(data)


def test_a_pickle_cut_off_anywhere_or_with_a_byte_changed_never_crashes() -> None:
    data = pickle.dumps({"a": [np.arange(5), 1.5], "b": ("c", None)}, 4)
    for size in range(len(data)):
        with pytest.raises(TableError):
            load(data[:size])
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x15
        try:
            load(bytes(changed))
        except TableError:
            continue


def slow_memo_place(data: bytes) -> int:
    """The highest place that the standard library's own walk comes to before it fails."""
    highest = -1
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                highest = max(highest, argument)
    except (ValueError, IndexError, UnicodeDecodeError):
        pass
    return highest


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=150)
@given(_VALUES, st.sampled_from(PROTOCOLS))
def test_places_in_the_memo_are_found_without_reading(value: Any, protocol: int) -> None:
    data = pickle.dumps([value, value, collections.OrderedDict], protocol)
    place = last_memo_place(data)
    assert place == slow_memo_place(data)
    assert place < len(data)


@settings(max_examples=150)
@given(_VALUES, st.sampled_from(PROTOCOLS), st.randoms(use_true_random=False))
def test_a_damaged_pickle_is_walked_as_the_standard_library_does(
    value: Any, protocol: int, random: Any
) -> None:
    data = bytearray(pickle.dumps(value, protocol))
    for _ in range(3):
        data[random.randrange(len(data))] = random.randrange(256)
    # That one also looks at what the arguments hold, and may stop earlier.
    assert last_memo_place(bytes(data)) >= min(slow_memo_place(bytes(data)), 10**17)


@pytest.mark.parametrize(
    "opcode",
    [
        pickle.LONG_BINPUT + struct.pack("<I", 2**31),
        pickle.PUT + b"4000000000\n",
        pickle.PUT + b"9" * 40 + b"\n",
    ],
)
def test_a_place_that_asks_for_gigabytes_is_refused(opcode: bytes) -> None:
    with pytest.raises(TableError, match="damaged one"):
        load(b"\x80\x02]" + opcode + b".")
