"""Reads pickles from strangers without running anything that they name.

A pickle is a program that may call any function. Here every global that it names is replaced by an
inert class which records what the pickle would have done with it: being called, instantiated, given
a state. Names that are not admitted end the reading. Nothing is imported, and NumPy arrays are
rebuilt from the recorded bytes, for numbers and booleans only.
"""

from __future__ import annotations

import io
import math
import pickle
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.table.sources._opcodes import last_memo_place

# The names under which NumPy arrays and scalars are pickled, by versions 1 and 2.
NUMPY_NAMES = frozenset(
    {
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.core.numeric._frombuffer",
        "numpy._core.numeric._frombuffer",
        "_codecs.encode",
        "__builtin__.bytes",
    }
)
_RECONSTRUCT = frozenset(name for name in NUMPY_NAMES if name.endswith("._reconstruct"))
_SCALAR = frozenset(name for name in NUMPY_NAMES if name.endswith(".scalar"))
_FROM_BUFFER = frozenset(name for name in NUMPY_NAMES if name.endswith("._frombuffer"))
_NUMBER_KINDS = "biuf"
_MAX_DIMENSIONS = 8


class Inert:
    """What a pickle made with a global: recorded, not done.

    Attributes:
        name: Module and name of the global.
        args: Positional arguments of the call.
        kwargs: Keyword arguments.
        state: What the object was given afterwards, or None.
    """

    name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Records a call or an instantiation."""
        self = object.__new__(cls)
        self.args = args
        self.kwargs = kwargs
        self.state = None
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing more."""
        self.args: tuple[Any, ...]
        self.kwargs: dict[str, Any]
        self.state: Any

    def __setstate__(self, state: Any) -> None:
        """Records the state."""
        self.state = state

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        """Records the call of an object, whose result then holds the object as first argument."""
        return _Result(self, *args, **kwargs)


class _Result(Inert):
    """The result of calling an inert object."""

    name = "(result of a call)"


# Built-in containers that a pickle may name; as plain dicts they run nothing.
_CONTAINERS: dict[str, type] = {"collections.OrderedDict": dict}


class _Unpickler(pickle.Unpickler):
    """Resolves admitted names to inert classes and refuses all others."""

    def __init__(self, file: io.BytesIO, admitted: Collection[str], path: Path) -> None:
        super().__init__(file)
        self._admitted = admitted
        self._path = path
        self._classes: dict[str, type[Inert]] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The inert class of a global."""
        name = f"{module_name}.{global_name}"
        if name not in self._admitted:
            raise TableError(
                f"{self._path}: the pickle names {name}, which a table has no use for; it was not "
                "run, and the file is refused."
            )
        if name in _CONTAINERS:
            return _CONTAINERS[name]
        if name not in self._classes:
            self._classes[name] = type("Inert", (Inert,), {"name": name})
        return self._classes[name]


def load_inert(
    file: BinaryIO | io.BytesIO, path: Path, admitted: Collection[str] = NUMPY_NAMES
) -> Any:
    """Reads a pickle.

    Args:
        file: Open for reading bytes.
        path: What to call it in messages.
        admitted: The globals ("module.name") that may be named. None of them is run.

    Returns:
        Containers, numbers, texts and bytes as they are; everything made with a global as
        ``Inert``.

    Raises:
        TableError: The file is no pickle, is damaged, or names another global.
    """
    try:
        data = file.read()
        if last_memo_place(data) >= len(data):
            raise TableError(f"{path}: this is no pickle, or a damaged one (its memo has gaps).")
        return _Unpickler(io.BytesIO(data), admitted, path).load()
    except TableError:
        raise
    except MemoryError as error:
        raise TableError(
            f"{path}: the pickle asks for more memory than there is; it is damaged, or too large "
            "for this machine."
        ) from error
    except (EOFError, zlib.error) as error:
        raise TableError(f"{path}: the file is cut off or damaged ({error}).") from error
    # A damaged pickle makes the unpickler fail in whatever way its opcodes happen to.
    except Exception as error:
        detail = " ".join(str(error).split())
        raise TableError(f"{path}: this is no pickle, or a damaged one ({detail}).") from error


def _dtype(value: Any) -> np.dtype[Any]:
    """The dtype that a pickle describes; numbers and booleans only.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(value, type) and issubclass(value, Inert):
        raise ValueError("a dtype is missing")
    if not isinstance(value, Inert) or value.name != "numpy.dtype":
        raise ValueError("an array has no dtype")
    code = value.args[0] if value.args else None
    if not isinstance(code, str) or len(code) > 3 or code[:1] not in _NUMBER_KINDS:
        raise ValueError(f"an array has the dtype {code!r}, which is no number")
    order = "<"
    if isinstance(value.state, tuple) and len(value.state) > 1:
        order = value.state[1]
    if order not in ("<", ">", "|", "="):
        raise ValueError(f"an array has the byte order {order!r}")
    try:
        return np.dtype(order + code)
    except TypeError as error:
        raise ValueError(f"an array has the dtype {code!r}") from error


def _raw_bytes(value: Any) -> bytes | bytearray:
    """Bytes, also as protocols before 3 wrote them: Latin-1 text, encoded by a call."""
    if isinstance(value, Inert) and value.name == "_codecs.encode":
        text, encoding = value.args
        if isinstance(text, str) and encoding in ("latin1", "latin-1"):
            return text.encode("latin-1")
    if isinstance(value, Inert) and value.name == "__builtin__.bytes" and not value.args:
        return b""
    if isinstance(value, (bytes, bytearray)):
        return value
    raise ValueError("an array's data are no bytes")


def _build(data: Any, dtype: Any, shape: Any, fortran: bool) -> NDArray[Any]:
    """An array from its bytes; raises ValueError if they do not fit."""
    if isinstance(shape, int):
        shape = (shape,)
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MAX_DIMENSIONS
        or not all(type(length) is int and length >= 0 for length in shape)
    ):
        raise ValueError("an array's shape is no tuple of lengths")
    kind = _dtype(dtype)
    raw = _raw_bytes(data)
    if len(raw) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"an array of shape {shape} has {len(raw)} bytes")
    return np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")


def to_array(value: Any) -> NDArray[Any]:
    """The NumPy array or scalar that an inert object stands for.

    Args:
        value: From ``load_inert``.

    Returns:
        A read-only array of numbers or booleans; no dimensions for a scalar.

    Raises:
        ValueError: It stands for something else.
    """
    try:
        if isinstance(value, Inert) and value.name in _RECONSTRUCT:
            _, shape, dtype, fortran, data = value.state
            return _build(data, dtype, shape, bool(fortran))
        if isinstance(value, Inert) and value.name in _FROM_BUFFER:
            data, dtype, shape, order = value.args
            return _build(data, dtype, shape, order == "F")
        if isinstance(value, Inert) and value.name in _SCALAR:
            dtype, data = value.args
            return _build(data, dtype, (), False)
    except TypeError as error:
        raise ValueError("an array is incomplete") from error
    raise ValueError("a value is no array")
