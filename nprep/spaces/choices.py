"""Spaces whose architectures are rows of choices: one value for each of W places."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError, SettingsError
from nprep.spaces.base import Space

# More architectures than this are not enumerated.
MOST_ENUMERATED = 1 << 22


@dataclass(frozen=True)
class Codes:
    """Rows of choices.

    Attributes:
        values: (N, W) uint8.
    """

    values: NDArray[np.uint8]

    def __len__(self) -> int:
        """The number of architectures N."""
        return len(self.values)

    def take(self, positions: NDArray[np.integer]) -> Codes:
        """Those at some positions, in that order."""
        return Codes(self.values[positions])

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """The rows."""
        return iter(self.values)


def mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spreads distinct numbers over 64 bits; distinct numbers stay distinct, 0 is avoided.

    The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
    Generators", OOPSLA 2014), a bijection.

    Args:
        numbers: (N,) uint64 below 2^64 - 1.

    Returns:
        (N,) uint64, none of them 0.
    """
    # The bijection maps 0 to 0, so numbers are counted from 1.
    z = numbers.astype(np.uint64) + np.uint64(1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class ChoiceSpace(Space):
    """A space of rows of choices; a subclass adds names, graphs and texts.

    Two rows are the same architecture only if they are equal.

    Attributes:
        allowed: For each of the W places the values that it may have, ascending.
    """

    allowed: tuple[tuple[int, ...], ...]

    @property
    def code_width(self) -> int:
        """The number of places W."""
        return len(self.allowed)

    @cached_property
    def size(self) -> int:
        """The number of rows."""
        return math.prod(len(values) for values in self.allowed)

    @cached_property
    def _free(self) -> NDArray[np.int64]:
        """The places that have a choice."""
        return np.array([w for w, values in enumerate(self.allowed) if len(values) > 1], np.int64)

    @cached_property
    def _ranks(self) -> NDArray[np.int64]:
        """(W, 256): the place of a value among those allowed, -1 if it is not."""
        table = np.full((len(self.allowed), 256), -1, np.int64)
        for row, values in zip(table, self.allowed, strict=True):
            row[list(values)] = np.arange(len(values))
        return table

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """(W,): how many values each place may have."""
        return np.array([len(values) for values in self.allowed], np.int64)

    @cached_property
    def _values(self) -> NDArray[np.uint8]:
        """(W, largest count): the values allowed; rows are filled up with 0."""
        table = np.zeros((len(self.allowed), int(self._counts.max())), np.uint8)
        for row, values in zip(table, self.allowed, strict=True):
            row[: len(values)] = values
        return table

    def ranks(self, batch: Codes) -> NDArray[np.int64]:
        """(N, W): the place of each choice among those allowed."""
        return self._ranks[np.arange(len(self.allowed)), batch.values]

    def from_ranks(self, ranks: NDArray[np.integer]) -> Codes:
        """The rows of (N, W) places among the choices allowed."""
        return Codes(self._values[np.arange(len(self.allowed)), ranks])

    def enumerate(self) -> Codes:
        """All rows in lexical order.

        Raises:
            SettingsError: If there are more than 2^22.
        """
        if self.size > MOST_ENUMERATED:
            raise SettingsError(
                f"the space {self.name} has {self.size:,} architectures, too many to enumerate: "
                "use a method that draws architectures."
            )
        numbers = np.arange(self.size)
        ranks = np.empty((self.size, len(self.allowed)), np.int64)
        for place in reversed(range(len(self.allowed))):
            numbers, ranks[:, place] = np.divmod(numbers, self._counts[place])
        return self.from_ranks(ranks)

    def sample(self, count: int, rng: np.random.Generator) -> Codes:
        """Uniformly random rows, with repetition."""
        return self.from_ranks(rng.integers(self._counts, size=(count, len(self.allowed))))

    def mutate(self, batch: Codes, rng: np.random.Generator) -> Codes:
        """Children in which one random place has another choice, uniformly."""
        ranks = self.ranks(batch)
        places = self._free[rng.integers(len(self._free), size=len(batch))]
        steps = rng.integers(1, self._counts[places])
        rows = np.arange(len(batch))
        ranks[rows, places] = (ranks[rows, places] + steps) % self._counts[places]
        return self.from_ranks(ranks)

    def neighbours(self, batch: Codes) -> Codes:
        """All rows that differ from a batch of one in one place, by place, then by choice."""
        rows = []
        for place in self._free:
            for value in self.allowed[place]:
                if value != batch.values[0, place]:
                    row = batch.values[0].copy()
                    row[place] = value
                    rows.append(row)
        return Codes(np.array(rows, np.uint8).reshape(-1, len(self.allowed)))

    def numbers(self, batch: Codes) -> NDArray[np.uint64]:
        """(N,) uint64; the places of rows in the lexical order of all, where these fit 64 bits."""
        total = np.zeros(len(batch), np.uint64)
        for count, ranks in zip(self._counts.tolist(), self.ranks(batch).T, strict=True):
            total = total * np.uint64(count) + ranks.astype(np.uint64)
        return total

    def keys(self, batch: Codes) -> NDArray[np.uint64]:
        """(N,) uint64, none of them 0; a hash of the row where the space exceeds 64 bits."""
        if self.size < 1 << 63:
            return mix(self.numbers(batch))
        hashed = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in batch.values]
        return np.maximum(np.frombuffer(b"".join(hashed), "<u8").astype(np.uint64), np.uint64(1))

    def encode_flat(self, batch: Codes) -> NDArray[np.float32]:
        """One-hot choices of all places that have one: (N, F) float32."""
        ranks = self.ranks(batch)
        hot = [ranks[:, w, None] == np.arange(self._counts[w]) for w in self._free]
        return np.concatenate(hot, axis=1).astype(np.float32)

    def to_codes(self, batch: Codes) -> NDArray[np.uint8]:
        """(N, W) uint8; the rows."""
        return batch.values

    def from_codes(self, codes: NDArray[np.uint8]) -> Codes:
        """The batch of some rows.

        Raises:
            InvalidSpecError: If their width or a choice is not of this space.
        """
        rows = np.asarray(codes)
        if rows.ndim != 2 or rows.shape[1] != len(self.allowed) or rows.dtype != np.uint8:
            raise InvalidSpecError(
                f"codes of the space {self.name} are (N, {len(self.allowed)}) uint8, and these are "
                f"{rows.shape} {rows.dtype}."
            )
        wrong = self._ranks[np.arange(len(self.allowed)), rows] < 0
        if wrong.any():
            row, place = (int(part) for part in np.argwhere(wrong)[0])
            known = ", ".join(map(str, self.allowed[place]))
            raise InvalidSpecError(
                f"row {row} is no architecture of the space {self.name}: place {place} has choice "
                f"{int(rows[row, place])}, and may have {known}."
            )
        return Codes(rows)
