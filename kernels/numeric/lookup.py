"""From canonical keys to rows: a read-only hash table with open addressing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel


@kernel
def find_key(slot_keys: NDArray[np.uint64], slot_rows: NDArray[np.int32], key: Integer) -> Integer:
    """The row of ``key``, or -1.

    Args:
        slot_keys: (S,) uint64; S a power of two, 0 where a slot is empty.
        slot_rows: (S,) int32; -1 where a slot is empty.
        key: uint64; 0 is never found.
    """
    key = np.uint64(key)
    mask = np.uint64(len(slot_keys) - 1)
    # Keys are mixed already, so their low bits serve as the hash.
    slot = key & mask
    while slot_keys[slot] != key:
        if slot_keys[slot] == np.uint64(0):
            return -1
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot_rows[slot])


@kernel
def insert_key(
    slot_keys: NDArray[np.uint64], slot_rows: NDArray[np.int32], key: Integer, row: Integer
) -> bool:
    """Adds a key; the table must have an empty slot left.

    Args:
        slot_keys: (S,) uint64, changed in place.
        slot_rows: (S,) int32, changed in place.
        key: uint64, not 0.
        row: What ``find_key`` will return for it.

    Returns:
        Whether the key was new; if not, nothing is changed.
    """
    key = np.uint64(key)
    mask = np.uint64(len(slot_keys) - 1)
    slot = key & mask
    while slot_keys[slot] != np.uint64(0):
        if slot_keys[slot] == key:
            return False
        slot = (slot + np.uint64(1)) & mask
    slot_keys[slot] = key
    slot_rows[slot] = row
    return True


@kernel
def _insert_all(
    slot_keys: NDArray[np.uint64], slot_rows: NDArray[np.int32], keys: NDArray[np.uint64]
) -> Integer:
    """Inserts keys under their positions; returns the first position refused, or -1."""
    for row in range(len(keys)):
        if keys[row] == np.uint64(0) or not insert_key(slot_keys, slot_rows, keys[row], row):
            return row
    return -1


@kernel
def _find_all(
    slot_keys: NDArray[np.uint64], slot_rows: NDArray[np.int32], keys: NDArray[np.uint64]
) -> NDArray[np.int32]:
    """The row of each key, or -1."""
    rows = np.empty(len(keys), np.int32)
    for i in range(len(keys)):
        rows[i] = find_key(slot_keys, slot_rows, keys[i])
    return rows


@dataclass(frozen=True)
class KeyIndex:
    """Finds the row of a canonical key.

    Attributes:
        slot_keys: (S,) uint64; 0 marks an empty slot.
        slot_rows: (S,) int32; -1 marks an empty slot.
    """

    slot_keys: NDArray[np.uint64]
    slot_rows: NDArray[np.int32]

    @staticmethod
    def build(keys: NDArray[np.uint64]) -> KeyIndex:
        """Indexes keys under their positions.

        Args:
            keys: (N,) uint64, distinct, none of them 0.

        Raises:
            ValueError: If a key is 0 or occurs twice.
        """
        # At most half full: a search then takes 1.5 probes on average, or 2.5 for an absent key.
        size = 1 << max(1, (2 * len(keys) - 1).bit_length())
        slot_keys = np.zeros(size, np.uint64)
        slot_rows = np.full(size, -1, np.int32)
        refused = _insert_all(slot_keys, slot_rows, np.ascontiguousarray(keys, np.uint64))
        if refused >= 0:
            raise ValueError(f"key {int(keys[refused])} at position {refused} is 0 or a repetition")
        return KeyIndex(slot_keys, slot_rows)

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The row of each key, -1 where it is unknown.

        Args:
            keys: (N,) uint64.

        Returns:
            (N,) int32.
        """
        return _find_all(self.slot_keys, self.slot_rows, np.ascontiguousarray(keys, np.uint64))
