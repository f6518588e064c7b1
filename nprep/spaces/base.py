"""What a search space must offer, so that tables, predictors and methods work on it.

A space is one folder under ``nprep/spaces`` or one module of another package. Architectures come in
*batches*, which nobody but their space looks into: a batch has a length, and ``take`` picks members
of it. Everything else is asked of the space. A space whose architectures are rows of choices
derives from ``nprep.spaces.choices.ChoiceSpace``, which implements nearly all of it.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.spaces.graphs import GraphBatch


class Batch(Protocol):
    """Some architectures of one space, in order."""

    def __len__(self) -> int:
        """How many there are."""

    def take(self, positions: NDArray[np.integer], /) -> Batch:
        """Those at (M,) positions, in that order, with repetitions."""


@dataclass(frozen=True)
class Stored:
    """An array by which a table file stores architectures, one row each.

    Attributes:
        dtype: Type of its values.
        shape: Of one row; () for a number.
        axes: Names of all axes, "row" first.
        meaning: One line for whoever reads the file.
    """

    dtype: type[np.generic]
    shape: tuple[int, ...]
    axes: str
    meaning: str


@dataclass(frozen=True)
class Members:
    """Some architectures together with their space, which is what predictors take.

    Attributes:
        space: The space.
        batch: N of its architectures.
    """

    space: Space
    batch: Any

    def __len__(self) -> int:
        """The number of architectures N."""
        return len(self.batch)

    def take(self, positions: NDArray[np.integer]) -> Members:
        """Those at some positions, in that order."""
        return Members(self.space, self.batch.take(positions))

    def graphs(self, normalisation: str) -> GraphBatch:
        """Their graphs; see ``Space.graphs``."""
        return self.space.graphs(self.batch, normalisation)

    def digest(self) -> str:
        """Hex characters that no other architectures have, from the space's name and the codes."""
        codes = np.ascontiguousarray(self.space.to_codes(self.batch))
        found = hashlib.sha256(f"{self.space.name} {codes.shape}".encode())
        found.update(codes.data)
        return found.hexdigest()


class Space(abc.ABC):
    """A set of architectures that can be searched.

    Batches given to a method are batches that the same space made. Whatever is random comes from
    the generator that is passed in, so that a seed decides the outcome.

    Attributes:
        name: What files, options and seeds call it: lower case, no spaces.
        title: What people read.
        node_types: Names of the operations that a graph's vertices have; their number is the length
            of a graph network's one-hot input.
    """

    name: str
    title: str
    node_types: tuple[str, ...]

    @property
    @abc.abstractmethod
    def code_width(self) -> int:
        """The number of bytes W that ``to_codes`` gives an architecture."""

    @property
    @abc.abstractmethod
    def size(self) -> int | None:
        """The number of different architectures; None where nobody has counted them."""

    def enumerate(self) -> Any:
        """All architectures, each once, in an order that never changes.

        Raises:
            SettingsError: If the space is too large for that.
        """
        raise SettingsError(
            f"the space {self.name} cannot be enumerated: use a method that draws architectures."
        )

    @abc.abstractmethod
    def sample(self, count: int, rng: np.random.Generator) -> Any:
        """Random architectures, with repetition, by the space's own sampler.

        Uniform over architectures where the space does not say otherwise.

        Args:
            count: How many.
            rng: Advanced.
        """

    @abc.abstractmethod
    def mutate(self, batch: Any, rng: np.random.Generator) -> Any:
        """One random valid child of each architecture, by the space's customary mutation.

        Args:
            batch: N parents.
            rng: Advanced.

        Returns:
            N children. A child may be the same architecture as its parent only where the customary
            mutation of the space allows that.
        """

    @abc.abstractmethod
    def neighbours(self, batch: Any) -> Any:
        """All architectures one step away from a batch of one, each once, itself left out."""

    @abc.abstractmethod
    def keys(self, batch: Any) -> NDArray[np.uint64]:
        """(N,) uint64, none of them 0: equal for the same architecture only.

        The low bits must be mixed well: look-ups use them as a hash
        (``nprep.spaces.choices.mix`` mixes plain numbers).
        """

    @abc.abstractmethod
    def encode_flat(self, batch: Any) -> NDArray[np.float32]:
        """(N, F) float32 features of equal length, for perceptrons and the like."""

    @abc.abstractmethod
    def graphs(self, batch: Any, normalisation: str = "row") -> GraphBatch:
        """The architectures as graphs whose vertices are operations.

        Args:
            batch: N architectures.
            normalisation: "row", "symmetric" or "sum"; see
                ``nprep.spaces.graphs.graphs_from_matrices``.

        Raises:
            SettingsError: If the normalisation is unknown.
        """

    @abc.abstractmethod
    def to_codes(self, batch: Any) -> NDArray[np.uint8]:
        """(N, W) uint8; sorting by them puts alike architectures side by side."""

    @abc.abstractmethod
    def from_codes(self, codes: NDArray[np.uint8]) -> Any:
        """The batch of (N, W) codes.

        Raises:
            InvalidSpecError: If one is no architecture of the space; the message gives its row.
        """

    @abc.abstractmethod
    def parse(self, text: str) -> Any:
        """The batch of one architecture that a person wrote.

        Raises:
            InvalidSpecError: If it is none of this space; the message says how to write one.
        """

    @abc.abstractmethod
    def format(self, batch: Any) -> list[str]:
        """The N texts that ``parse`` reads."""

    def describe(self, batch: Any) -> list[dict[str, object]]:
        """What a person wants to know of each architecture: names and plain values."""
        return [{"architecture": text} for text in self.format(batch)]

    def columns(self, batch: Any) -> Mapping[str, NDArray[Any]]:
        """Numbers that follow from the architecture alone, (N,) each, for exports and filters."""
        return {}

    # How a table file stores architectures; spaces with arrays of their own override all of it.

    @property
    def stored(self) -> Mapping[str, Stored]:
        """The arrays that ``to_arrays`` gives, by name."""
        meaning = "codes of the architectures, see the space's to_codes"
        return {"codes": Stored(np.uint8, (self.code_width,), "row, place", meaning)}

    @property
    def facts(self) -> Mapping[str, Stored]:
        """What a table of this space holds of each architecture beside it, whoever measured it."""
        return {}

    def to_arrays(self, batch: Any) -> dict[str, NDArray[Any]]:
        """The arrays of a batch, as ``stored`` describes them."""
        return {"codes": self.to_codes(batch)}

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Any:
        """The batch of such arrays, without a copy where that can be.

        Raises:
            InvalidSpecError: If they are none that ``to_arrays`` gives.
        """
        return self.from_codes(arrays["codes"])

    def problems(self, batch: Any, facts: Mapping[str, NDArray[Any]]) -> Iterator[str]:
        """What is wrong with a table's architectures and facts, one sentence each."""
        return iter(())

    def summary(self, batch: Any) -> dict[str, object]:
        """What a person wants to know of a whole table's architectures."""
        return {}

    def export(self, batch: Any, facts: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Columns that tell architectures in exports: arrays of (N,) or (N, W)."""
        texts = np.array([text.encode() for text in self.format(batch)], dtype=np.bytes_)
        return {"architecture": texts, **facts, **self.columns(batch)}

    def export_texts(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """The columns of ``export`` for files that hold texts: lists or arrays of (N,)."""
        return {
            name: column.astype(np.str_) if column.dtype.kind == "S" else column
            for name, column in columns.items()
        }

    def __repr__(self) -> str:
        """The space's name."""
        return f"<space {self.name}>"
